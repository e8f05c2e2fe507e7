package proxy

import (
	"maps"
	"net/http"
	"strconv"
	"strings"

	"cmux.sh/edge/internal/loopguard"
	"cmux.sh/edge/internal/resolve"
)

// hopByHop are the headers that concern one connection only (RFC 9110 section
// 7.6.1, and two that older clients send).
var hopByHop = [...]string{
	"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// removeHopByHop takes out of h what concerns one connection only, including
// what Connection lists.
func removeHopByHop(h http.Header) {
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.TrimSpace(name); name != "" {
				h.Del(name)
			}
		}
	}
	for _, name := range hopByHop {
		delete(h, name)
	}
}

// hasToken tells whether a comma-separated header holds token, in any case.
func hasToken(values []string, token string) bool {
	for _, line := range values {
		for entry := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(entry), token) {
				return true
			}
		}
	}
	return false
}

// forwardedHeaders are what proxies tell each other about the client. From
// anybody but a trusted proxy they are a client's inventions.
var forwardedHeaders = [...]string{
	"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Proto",
	"X-Forwarded-Server", "X-Real-Ip", "Cf-Connecting-Ip", "True-Client-Ip",
}

// outgoingHeader is the header of the upstream request.
func outgoingHeader(r *http.Request, x *Exchange) http.Header {
	h := make(http.Header, len(r.Header)+8)
	for name, values := range r.Header {
		if !internalName(name) {
			h[name] = values
		}
	}
	trailers := hasToken(h["Te"], "trailers")
	removeHopByHop(h)
	if trailers {
		h["Te"] = []string{"trailers"} // gRPC servers refuse requests without it
	}
	if !x.Trusted {
		for _, name := range forwardedHeaders {
			delete(h, name)
		}
	}
	appendForwarded(h, x)

	h["X-Request-Id"] = []string{x.ID}
	h["X-Cmux-Original-Host"] = []string{x.Route.Host + x.Route.Suffix}
	loopguard.Stamp(h, x.Hops)
	switch x.Route.Form {
	case resolve.Proxy:
		h["X-Cmux-Port-Internal"] = []string{strconv.Itoa(int(x.Route.Port))}
		if x.Route.Scope != "" {
			h["X-Cmux-Workspace-Internal"] = []string{x.Route.Scope}
		}
	case resolve.Freestyle:
		h["X-Cmux-Port-Internal"] = []string{strconv.Itoa(int(x.Route.Port))}
		h["X-Cmux-Workspace-Internal"] = []string{x.Route.Workspace}
	}
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = []string{""} // keeps Go's own out
	}
	return h
}

// internalName tells whether a header is one of those that the edge and the
// proxy inside a sandbox say to each other. Programs behind CGI can't tell an
// underscore from a hyphen (RFC 3875 section 4.1.18).
func internalName(name string) bool {
	const prefix = "X-Cmux-"
	return len(name) >= len(prefix) && name[0] == 'X' && strings.EqualFold(strings.ReplaceAll(name[:len(prefix)], "_", "-"), prefix)
}

func appendForwarded(h http.Header, x *Exchange) {
	if x.Peer.IsValid() {
		chain := x.Peer.String()
		if before := h["X-Forwarded-For"]; len(before) > 0 {
			chain = strings.Join(before, ", ") + ", " + chain
		}
		h["X-Forwarded-For"] = []string{chain}
	}
	if len(h["X-Forwarded-Host"]) == 0 {
		h["X-Forwarded-Host"] = []string{x.Route.Host + x.Route.Suffix}
	}
	h["X-Forwarded-Proto"] = []string{x.Scheme}
}

// webSocketSpelling gives header names the spelling of RFC 6455. Names are
// case-insensitive, but programs that compare them exactly exist, and Go's
// canonical form Sec-Websocket-Key is written by nobody else.
func webSocketSpelling(h http.Header) {
	for name, values := range h {
		if rest, ok := strings.CutPrefix(name, "Sec-Websocket-"); ok {
			delete(h, name)
			h["Sec-WebSocket-"+rest] = values
		}
	}
}

// ownHeaders are the edge's words; an upstream's go no further.
var ownHeaders = [...]string{"X-Edge-State", "X-Request-Id"}

// copyAnswerHeader passes an upstream's header on to the client.
func copyAnswerHeader(dst, src http.Header, x *Exchange) {
	removeHopByHop(src)
	for _, name := range ownHeaders {
		delete(src, name)
	}
	maps.Copy(dst, src)
	if _, ok := src["Content-Type"]; !ok {
		dst["Content-Type"] = nil // keeps net/http from sniffing one
	}
	dst["X-Request-Id"] = []string{x.ID}
}
