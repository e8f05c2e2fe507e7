package proxy

import (
	"net/http"
	"strconv"
	"strings"
)

// HostHeader says which Host a sandbox on an address of its own gets.
type HostHeader uint8

// The rules for the Host header.
const (
	// HostAuto preserves the public host on the tool ports and says localhost
	// to everything else: development servers refuse hosts that they don't know.
	HostAuto HostHeader = iota
	// HostPreserve always sends the public host.
	HostPreserve
	// HostLocalhost always sends localhost:<port>.
	HostLocalhost
)

// upstreamHost is the Host for x's upstream. One that routes by authority gets
// that; it would not be found under another name.
func (rule HostHeader) upstreamHost(x *Exchange) (host string, local bool) {
	port := x.Route.Port
	switch {
	case x.Upstream.Authority != "":
		return x.Upstream.Authority, false
	case rule == HostLocalhost, rule == HostAuto && (port < firstToolPort || port > lastToolPort):
		return "localhost:" + strconv.Itoa(int(port)), true
	default:
		return x.Route.Host + x.Route.Suffix, false
	}
}

// localizeOrigin makes a request's own origin look local to a server that is
// told it is localhost; otherwise its check that both agree would fail. Other
// origins stay what they are. It tells whether it did.
func localizeOrigin(h http.Header, x *Exchange, localHost string) bool {
	if origin := h["Origin"]; len(origin) == 1 && strings.EqualFold(origin[0], x.origin()) {
		h["Origin"] = []string{"http://" + localHost}
		return true
	}
	return false
}

// publishOrigin undoes localizeOrigin in an answer that echoes the origin.
func publishOrigin(h http.Header, x *Exchange, localHost string) {
	if allow := h["Access-Control-Allow-Origin"]; len(allow) == 1 && allow[0] == "http://"+localHost {
		h["Access-Control-Allow-Origin"] = []string{x.origin()}
	}
}
