package pve

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"cmux.sh/edge/internal/sandbox"
)

// Failure is a request or a task that went wrong, in Proxmox's own words.
type Failure struct {
	// Status is the HTTP status; 0 when there was no answer, or the answer was
	// good and the task failed.
	Status int
	// Text is the reason phrase, or a task's exit status.
	Text string
	// Params are the faults of single parameters.
	Params map[string]string
	// Lost says that the outcome is unknown: it may have happened.
	Lost bool

	slow  bool  // no answer within the request's own limit
	cause error // of the caller's context
}

// Error is the status and the text.
func (f *Failure) Error() string {
	var b strings.Builder
	if f.Status != 0 {
		fmt.Fprintf(&b, "%d ", f.Status)
	}
	b.WriteString(f.Text)
	for _, name := range slices.Sorted(maps.Keys(f.Params)) {
		fmt.Fprintf(&b, "; %s: %s", name, f.Params[name])
	}
	if f.cause != nil {
		fmt.Fprintf(&b, ": %v", f.cause)
	}
	return b.String()
}

// Unwrap is the caller's context's error, when that ended the call.
func (f *Failure) Unwrap() error { return f.cause }

func garbage(detail string) *Failure {
	return &Failure{Text: "the answer makes no sense: " + detail, Lost: true}
}

// phrases tell the kind of a failure from its text: Proxmox answers 500, or
// fails the task, for nearly everything.
var phrases = []struct {
	part string
	kind sandbox.Kind
}{
	{"is locked (", sandbox.KindBusy},
	{"can't lock file", sandbox.KindBusy},
	{"agent is not running", sandbox.KindUnavailable},
	{"already running", sandbox.KindBusy},
	{"not running", sandbox.KindBusy},
	{"is running - destroy failed", sandbox.KindBusy},
	{"container is running", sandbox.KindBusy},
	{"Permission check failed", sandbox.KindPermission},
	{"No space left", sandbox.KindQuota},
	{"not enough", sandbox.KindQuota},
	{"out of space", sandbox.KindQuota},
	{"Cannot allocate memory", sandbox.KindQuota},
	{"protection mode", sandbox.KindRefused},
	{"Cannot suspend HA managed", sandbox.KindInvalid},
	{"passed-through PCI", sandbox.KindInvalid},
	{"it's a template", sandbox.KindInvalid},
	{"is a template", sandbox.KindInvalid},
	{"No QEMU guest agent configured", sandbox.KindInvalid},
}

// kind is what a caller of the contract can do about it.
func (f *Failure) kind() sandbox.Kind {
	switch {
	case f.cause != nil || f.Lost:
		return sandbox.KindUnavailable
	case f.missing():
		return sandbox.KindNotFound
	case f.Status == http.StatusUnauthorized, f.Status == http.StatusForbidden:
		return sandbox.KindPermission
	case f.Status == http.StatusTooManyRequests:
		return sandbox.KindQuota
	case f.Status == http.StatusBadRequest, f.Status == http.StatusNotImplemented:
		return sandbox.KindInvalid
	case f.Status == 0 || f.Status == http.StatusInternalServerError:
		for _, p := range phrases {
			if strings.Contains(f.Text, p.part) {
				return p.kind
			}
		}
	}
	return sandbox.KindUnavailable
}

// missing tells whether the guest is not on the node that was asked. It may
// have moved.
func (f *Failure) missing() bool {
	return strings.Contains(f.Text, "Configuration file '") && strings.Contains(f.Text, "does not exist") ||
		strings.Contains(f.Text, "unable to find configuration file")
}

// overtaken tells whether the guest's state changed between the look and the
// action: looking again helps.
func (f *Failure) overtaken() bool {
	return f.missing() || strings.HasSuffix(f.Text, "already running") || strings.HasSuffix(f.Text, "not running") ||
		strings.Contains(f.Text, "is running - destroy failed")
}

// taken tells whether a clone's VMID belongs to somebody else.
func (f *Failure) taken() bool {
	return strings.Contains(f.Text, "config file already exists") || strings.Contains(f.Text, "already exists on node")
}

// unlinkable tells whether the template's storage can't make linked clones.
func (f *Failure) unlinkable() bool {
	return strings.Contains(strings.ToLower(f.Text), "linked clone feature")
}

// failure is the failure in err's chain; nil when there is none.
func failure(err error) *Failure {
	f, _ := errors.AsType[*Failure](err)
	return f
}

// wrap gives an error its operation, subject and kind, unless it has them.
func (p *Provider) wrap(op, subject string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*sandbox.Error](err); ok {
		return err
	}
	kind := sandbox.KindUnavailable
	if f := failure(err); f != nil {
		kind = f.kind()
	}
	return &sandbox.Error{Kind: kind, Op: op, Subject: p.Name() + " " + subject, Err: err}
}

// gaveUp tells whether the caller's context ended.
func gaveUp(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
