package proxy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"

	"cmux.sh/edge/internal/reply"
	"cmux.sh/edge/internal/resolve"
	"cmux.sh/edge/internal/sandbox"
)

// cause is why a request ended without a whole answer of its upstream.
type cause uint8

// The causes. The table below says what each means.
const (
	causeInternal cause = iota
	causeInvalidHost
	causeForeignHost
	causeMethod
	causeNothingHere
	causeLoop
	causeLeavesPrefix
	causeUnknownSandbox
	causeGone
	causeLookup
	causeStarting
	causeStopped
	causeFailed
	causeNoPort
	causeRefusedAddress
	causeUnreachable
	causeBadAnswer
	causeTimeout
	causeServiceUnreachable
	causeServiceBadAnswer
	causeServiceTimeout
	causeRequestBody
	causeTooLarge
	causeDraining
	causeClientGone
)

// outcome is what a cause means to the client and to the log.
type outcome struct {
	status int // 0: there is nobody left to tell
	code   reply.Code
	level  slog.Level
	// sentence and detail are the client's; {port} and {sandbox} stand for
	// what was asked for. An empty sentence is that of the error itself.
	sentence, detail string
}

// outcomes is the one table from cause to answer. A client's own mistake is
// logged at debug: anybody can make any number of them.
var outcomes = [...]outcome{
	causeInternal: {
		http.StatusInternalServerError, reply.Internal, slog.LevelError,
		"The edge made a mistake", "It has been logged. Trying again may help.",
	},
	causeInvalidHost: {http.StatusBadRequest, reply.InvalidHost, slog.LevelDebug, "", ""},
	causeForeignHost: {http.StatusMisdirectedRequest, reply.InvalidHost, slog.LevelDebug, "", ""},
	causeMethod: {
		http.StatusBadRequest, reply.BadRequest, slog.LevelDebug,
		"The edge is no forward proxy", "CONNECT is not supported. Send the request to the sandbox's own host name.",
	},
	causeNothingHere: {
		http.StatusNotFound, reply.NotFound, slog.LevelDebug,
		"There is nothing here", "Paths below /.edge/ belong to the edge, not to the sandbox.",
	},
	causeLoop: {
		http.StatusLoopDetected, reply.LoopDetected, slog.LevelInfo,
		"Loop detected in proxy", "The request has been through this edge before. A sandbox or proxy sends it back to a host name of the edge.",
	},
	causeLeavesPrefix: {
		http.StatusBadRequest, reply.BadRequest, slog.LevelInfo,
		"The path leads out of the service", "It holds . or .. segments, which this host does not pass on.",
	},
	causeUnknownSandbox: {
		http.StatusNotFound, reply.NotFound, slog.LevelDebug,
		"There is no sandbox {sandbox}", "Check the host name. The sandbox may have been deleted.",
	},
	causeGone: {
		http.StatusGone, reply.Gone, slog.LevelDebug,
		"The sandbox {sandbox} was deleted", "Nothing brings it back. Start a new one.",
	},
	causeLookup: {
		http.StatusServiceUnavailable, reply.CatalogUnavailable, slog.LevelWarn,
		"The sandbox can't be looked up at the moment", "Try again in a few seconds.",
	},
	causeStarting: {
		http.StatusServiceUnavailable, reply.SandboxStarting, slog.LevelDebug,
		"The sandbox is starting", "Try again in a few seconds.",
	},
	causeStopped: {
		http.StatusServiceUnavailable, reply.SandboxStopped, slog.LevelDebug,
		"The sandbox is not running", "Start it, then reload this page.",
	},
	causeFailed: {
		http.StatusServiceUnavailable, reply.SandboxFailed, slog.LevelWarn,
		"The sandbox has failed", "Its provider could not keep it running.",
	},
	causeNoPort: {
		http.StatusBadGateway, reply.UpstreamUnreachable, slog.LevelInfo,
		"Port {port} of the sandbox is not exposed", "Check the port in the host name.",
	},
	causeRefusedAddress: {
		http.StatusBadGateway, reply.UpstreamUnreachable, slog.LevelWarn,
		"The address of the sandbox is not allowed", "Its provider names a place that the edge must not connect to. An operator can allow it with upstream.allow_cidrs.",
	},
	causeUnreachable: {
		http.StatusBadGateway, reply.UpstreamUnreachable, slog.LevelInfo,
		"Nothing answers on port {port} of the sandbox", "Start a server on that port inside the sandbox, listening on all interfaces, then reload.",
	},
	causeBadAnswer: {
		http.StatusBadGateway, reply.UpstreamUnreachable, slog.LevelInfo,
		"Port {port} of the sandbox gave no valid answer", "The server there closed the connection, or does not speak HTTP.",
	},
	causeTimeout: {
		http.StatusGatewayTimeout, reply.UpstreamTimeout, slog.LevelInfo,
		"Port {port} of the sandbox did not answer in time", "The sandbox may be overloaded or asleep. Try again.",
	},
	causeServiceUnreachable: {
		http.StatusBadGateway, reply.UpstreamUnreachable, slog.LevelWarn,
		"The service behind this name can't be reached", "Its operator has been told by the log. Try again in a few seconds.",
	},
	causeServiceBadAnswer: {
		http.StatusBadGateway, reply.UpstreamUnreachable, slog.LevelWarn,
		"The service behind this name gave no valid answer", "Its server closed the connection, or does not speak HTTP.",
	},
	causeServiceTimeout: {
		http.StatusGatewayTimeout, reply.UpstreamTimeout, slog.LevelWarn,
		"The service behind this name did not answer in time", "Try again in a few seconds.",
	},
	causeRequestBody: {
		http.StatusBadRequest, reply.BadRequest, slog.LevelDebug,
		"The request could not be read to its end", "Its body is malformed, or was broken off.",
	},
	causeTooLarge: {
		http.StatusRequestEntityTooLarge, reply.RequestTooLarge, slog.LevelDebug,
		"The request is too large", "",
	},
	causeDraining: {
		http.StatusServiceUnavailable, reply.Internal, slog.LevelWarn,
		"The edge is restarting", "Try again in a few seconds.",
	},
	causeClientGone: {0, "", slog.LevelDebug, "", ""},
}

// refusal is an error that the handler itself makes.
type refusal struct {
	cause cause
	text  string
}

func (e *refusal) Error() string { return e.text }

// What the handler refuses by itself.
var (
	errMethod      = &refusal{causeMethod, "CONNECT"}
	errNothingHere = &refusal{causeNothingHere, "no such path of the edge"}
	errLoop        = &refusal{causeLoop, "loop detected"}

	errLeavesPrefix = &refusal{causeLeavesPrefix, "the path leads out of the upstream's prefix"}
)

// stateError refuses a request for a sandbox that does not run.
type stateError struct {
	state  sandbox.State
	reason string
}

func (e *stateError) Error() string {
	if e.reason == "" {
		return "the sandbox is " + e.state.String()
	}
	return "the sandbox is " + e.state.String() + ": " + e.reason
}

// lookupError is a failed search for a sandbox.
type lookupError struct{ err error }

func (e *lookupError) Error() string { return "look up: " + e.err.Error() }
func (e *lookupError) Unwrap() error { return e.err }

// serviceError is a failure of a static route: no sandbox is concerned.
type serviceError struct{ err error }

func (e *serviceError) Error() string { return "static route: " + e.err.Error() }
func (e *serviceError) Unwrap() error { return e.err }

func isConnectError(err error) bool {
	_, ok := errors.AsType[*connectError](err)
	return ok
}

func isBrokenOff(err error) bool {
	_, ok := errors.AsType[*BrokenOff](err)
	return ok
}

// ErrDraining says, as the cause of a request's context (see context.Cause),
// that the edge cut the request because it shuts down.
var ErrDraining = errors.New("the edge is shutting down")

// causeOf finds the cause of err. ctx is the request's: an error after it
// ended is the client's leaving, unless the edge ended it, whatever the error
// looks like.
func causeOf(ctx context.Context, err error) cause {
	if ctx.Err() != nil {
		if errors.Is(context.Cause(ctx), ErrDraining) {
			return causeDraining
		}
		return causeClientGone
	}
	if refused, ok := errors.AsType[*refusal](err); ok {
		return refused.cause
	}
	if host, ok := errors.AsType[*resolve.HostError](err); ok {
		if host.Foreign() {
			return causeForeignHost
		}
		return causeInvalidHost
	}
	if state, ok := errors.AsType[*stateError](err); ok {
		return causeOfState(state.state)
	}
	if _, ok := errors.AsType[*lookupError](err); ok {
		switch {
		case errors.Is(err, sandbox.ErrGone):
			return causeGone
		case sandbox.KindOf(err) == sandbox.KindNotFound:
			return causeUnknownSandbox
		}
		return causeLookup
	}
	c := causeOfUpstream(err)
	if _, ok := errors.AsType[*serviceError](err); ok {
		return causeOfService(c, err)
	}
	return c
}

// causeOfService says of a static route what c says of a sandbox.
func causeOfService(c cause, err error) cause {
	switch {
	case c == causeTimeout:
		return causeServiceTimeout
	case isConnectError(err):
		return causeServiceUnreachable
	case c == causeBadAnswer:
		return causeServiceBadAnswer
	}
	return c
}

func causeOfState(s sandbox.State) cause {
	switch s {
	case sandbox.Starting, sandbox.Resuming, sandbox.Unknown:
		return causeStarting
	case sandbox.Failed:
		return causeFailed
	default:
		return causeStopped
	}
}

// causeOfUpstream tells failures to forward apart.
func causeOfUpstream(err error) cause {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return causeTooLarge
	}
	if _, ok := errors.AsType[*requestBodyError](err); ok {
		return causeRequestBody
	}
	if e, ok := errors.AsType[*sandbox.Error](err); ok {
		switch e.Kind {
		case sandbox.KindRefused:
			return causeRefusedAddress
		case sandbox.KindNotFound:
			return causeNoPort
		}
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() ||
		errors.Is(err, syscall.ETIMEDOUT) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return causeTimeout
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return causeUnreachable
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return causeUnreachable
	}
	return causeBadAnswer
}

// loggable is err for the log. net/http quotes what it could not parse, which
// may be a cookie or a query that a sandbox echoed; only errors of the network
// and of our own are known to quote nothing.
func loggable(err error) string {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Error()
	}
	for _, plain := range []error{io.EOF, io.ErrUnexpectedEOF, http.ErrBodyReadAfterClose, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, plain) {
			return plain.Error()
		}
	}
	switch causeOfUpstream(err) {
	case causeBadAnswer:
		if isOwn(err) {
			return err.Error()
		}
		return "not understood as HTTP"
	case causeRequestBody:
		return "the body is malformed"
	}
	return err.Error()
}

// isOwn tells whether err is one that this package made.
func isOwn(err error) bool {
	if errors.Is(err, errUnasked) {
		return true
	}
	for _, own := range []func(error) bool{
		func(err error) bool { _, ok := errors.AsType[*refusal](err); return ok },
		func(err error) bool { _, ok := errors.AsType[*resolve.HostError](err); return ok },
		func(err error) bool { _, ok := errors.AsType[*stateError](err); return ok },
		func(err error) bool { _, ok := errors.AsType[*lookupError](err); return ok },
		func(err error) bool { _, ok := errors.AsType[*connectError](err); return ok },
	} {
		if own(err) {
			return true
		}
	}
	return false
}

// problem puts the outcome of c into words for a client.
func (c cause) problem(x *Exchange, err error) reply.Problem {
	o := outcomes[c]
	sentence := o.sentence
	if host, ok := errors.AsType[*resolve.HostError](err); ok {
		sentence = host.Error()
	}
	fill := strings.NewReplacer("{port}", strconv.Itoa(int(x.Route.Port)), "{sandbox}", x.Route.Slug)
	p := reply.Problem{Status: o.status, Code: o.code, Sentence: fill.Replace(sentence), Detail: fill.Replace(o.detail)}
	if x.Instance.Slug != "" {
		p.State = x.Instance.State.String()
	}
	return p
}
