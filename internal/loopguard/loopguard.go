// Package loopguard tells whether a request has been through an edge before.
//
// A sandbox can call a host name of its own edge; a wrong record, or another
// proxy in front, can lead a request back to where it came from. Each edge
// counts itself into X-Cmux-Hops and CDN-Loop (RFC 8586) and refuses a request
// that was counted too often. The counts are believed from anybody: all that a
// client can do with them is to be refused.
package loopguard

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Header names of the guard.
const (
	HopsHeader    = "X-Cmux-Hops"
	ProxiedHeader = "X-Cmux-Proxied"
	loopHeader    = "Cdn-Loop" // CDN-Loop in canonical form
)

// cdnID is the edge's id in CDN-Loop.
const cdnID = "cmux-edge"

// Guard refuses requests that have been here too often. It is safe for
// concurrent use.
type Guard struct {
	maxHops    int
	rejections prometheus.Counter
}

// New makes a guard that lets a request through an edge maxHops times (at
// least once), and registers edge_loop_rejections_total.
func New(maxHops int, reg prometheus.Registerer) *Guard {
	g := &Guard{
		maxHops: max(maxHops, 1),
		rejections: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "edge_loop_rejections_total",
			Help: "Requests refused because they had been through an edge before.",
		}),
	}
	reg.MustRegister(g.rejections)
	return g
}

// Check counts how often a request with header h has been through an edge, and
// tells whether it may pass. A refusal is counted.
func (g *Guard) Check(h http.Header) (hops int, ok bool) {
	hops = Hops(h)
	if hops < g.maxHops && ownLoops(h) < g.maxHops {
		return hops, true
	}
	g.rejections.Inc()
	return hops, false
}

// Hops is the number of edges a request says it has been through. Only a
// decimal number from 0 to 99 counts; X-Cmux-Proxied alone stands for one.
func Hops(h http.Header) int {
	hops := 0
	for _, v := range h[HopsHeader] {
		if n, ok := smallNumber(v); ok {
			hops = max(hops, n)
		}
	}
	for _, v := range h[ProxiedHeader] {
		if strings.EqualFold(v, "true") {
			hops = max(hops, 1)
		}
	}
	return hops
}

// Stamp counts this edge into the header of the upstream request. Other
// parties' CDN-Loop entries stay, as RFC 8586 section 2 demands.
func Stamp(h http.Header, hops int) {
	h[HopsHeader] = []string{strconv.Itoa(hops + 1)}
	h[ProxiedHeader] = []string{"true"}
	loop := cdnID
	if others := h[loopHeader]; len(others) > 0 {
		loop = strings.Join(others, ", ") + ", " + cdnID
	}
	h[loopHeader] = []string{loop}
}

// ownLoops counts the edge's own entries in CDN-Loop; parameters after a
// semicolon do not matter.
func ownLoops(h http.Header) int {
	n := 0
	for _, line := range h[loopHeader] {
		for entry := range strings.SplitSeq(line, ",") {
			id, _, _ := strings.Cut(entry, ";")
			if strings.EqualFold(strings.TrimSpace(id), cdnID) {
				n++
			}
		}
	}
	return n
}

func smallNumber(s string) (int, bool) {
	if s == "" || len(s) > 2 {
		return 0, false
	}
	n := 0
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, true
}
