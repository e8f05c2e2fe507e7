package loopguard_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"cmux.sh/edge/internal/loopguard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func Example() {
	guard := loopguard.New(1, prometheus.NewRegistry())
	request := http.Header{}
	hops, ok := guard.Check(request)
	fmt.Println(hops, ok)

	upstream := request.Clone()
	loopguard.Stamp(upstream, hops)
	fmt.Println(upstream.Get("X-Cmux-Hops"), upstream.Get("X-Cmux-Proxied"), upstream.Get("CDN-Loop"))
	fmt.Println(guard.Check(upstream)) // it came back
	// Output:
	// 0 true
	// 1 true cmux-edge
	// 1 false
}

// header makes a header of "Name: value" lines, as net/http would read them.
func header(lines ...string) http.Header {
	h := http.Header{}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ":")
		h.Add(name, strings.TrimSpace(value))
	}
	return h
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		header   http.Header
		hops     int
		one, two bool // whether it passes with max_hops 1 and 2
	}{
		{"nothing", header(), 0, true, true},
		{"hops 0", header("X-Cmux-Hops: 0"), 0, true, true},
		{"hops 1", header("X-Cmux-Hops: 1"), 1, false, true},
		{"hops 2", header("X-Cmux-Hops: 2"), 2, false, false},
		{"hops 99", header("X-Cmux-Hops: 99"), 99, false, false},
		{"hops 100 does not count", header("X-Cmux-Hops: 100"), 0, true, true},
		{"hops that wrap do not count", header("X-Cmux-Hops: 18446744073709551617"), 0, true, true},
		{"negative hops do not count", header("X-Cmux-Hops: -1"), 0, true, true},
		{"hops with a plus sign do not count", header("X-Cmux-Hops: +1"), 0, true, true},
		{"hexadecimal hops do not count", header("X-Cmux-Hops: 0x1"), 0, true, true},
		{"broken hops do not count", header("X-Cmux-Hops: 1.0"), 0, true, true},
		{"words do not count", header("X-Cmux-Hops: one"), 0, true, true},
		{"digits that are not ASCII do not count", header("X-Cmux-Hops: \u0661"), 0, true, true},
		{"two numbers in one line do not count", header("X-Cmux-Hops: 1, 1"), 0, true, true},
		{"empty hops do not count", header("X-Cmux-Hops:"), 0, true, true},
		{"the larger of two lines counts", header("X-Cmux-Hops: 0", "X-Cmux-Hops: 2"), 2, false, false},
		{"a bad line does not hide a good one", header("X-Cmux-Hops: x", "X-Cmux-Hops: 1"), 1, false, true},

		{"proxied true", header("X-Cmux-Proxied: true"), 1, false, true},
		{"proxied TRUE", header("X-Cmux-Proxied: TRUE"), 1, false, true},
		{"proxied TrUe", header("x-cmux-proxied: TrUe"), 1, false, true},
		{"proxied false", header("X-Cmux-Proxied: false"), 0, true, true},
		{"proxied 1", header("X-Cmux-Proxied: 1"), 0, true, true},
		{"proxied yes", header("X-Cmux-Proxied: yes"), 0, true, true},
		{"proxied empty", header("X-Cmux-Proxied:"), 0, true, true},
		{"proxied true true", header("X-Cmux-Proxied: true true"), 0, true, true},
		{"proxied false then true", header("X-Cmux-Proxied: false", "X-Cmux-Proxied: true"), 1, false, true},
		{"proxied and hops 0", header("X-Cmux-Proxied: true", "X-Cmux-Hops: 0"), 1, false, true},
		{"proxied adds nothing to hops 1", header("X-Cmux-Proxied: true", "X-Cmux-Hops: 1"), 1, false, true},
		{"proxied adds nothing to hops 2", header("X-Cmux-Proxied: true", "X-Cmux-Hops: 2"), 2, false, false},
		{"proxied and hops that do not count", header("X-Cmux-Proxied: true", "X-Cmux-Hops: 100"), 1, false, true},

		{"our id", header("CDN-Loop: cmux-edge"), 0, false, true},
		{"our id in capitals", header("cdn-loop: CMUX-Edge"), 0, false, true},
		{"our id with a parameter", header("CDN-Loop: cmux-edge; v=1"), 0, false, true},
		{"our id with a quoted parameter", header(`CDN-Loop: cmux-edge;v="1"`), 0, false, true},
		{"our id behind another", header("CDN-Loop: cloudflare, cmux-edge"), 0, false, true},
		{"our id before another", header("CDN-Loop: cmux-edge,cloudflare;x=1"), 0, false, true},
		{"our id twice", header("CDN-Loop: cmux-edge, cmux-edge"), 0, false, false},
		{"our id twice, with others", header("CDN-Loop: a; b=c, cmux-edge;x, cloudflare, cmux-edge ;y"), 0, false, false},
		{"our id on two lines", header("CDN-Loop: cmux-edge", "CDN-Loop: cmux-edge"), 0, false, false},
		{"our id among empty entries", header("CDN-Loop: , ,cmux-edge,,"), 0, false, true},
		{"our id once and hops 1", header("CDN-Loop: cmux-edge", "X-Cmux-Hops: 1"), 1, false, true},
		{"our id twice and hops 1", header("CDN-Loop: cmux-edge, cmux-edge", "X-Cmux-Hops: 1"), 1, false, false},
		{"our id once and hops 2", header("CDN-Loop: cmux-edge", "X-Cmux-Hops: 2"), 2, false, false},
		{"other ids only", header("CDN-Loop: cloudflare, fastly; x=1"), 0, true, true},
		{"an id that begins like ours", header("CDN-Loop: cmux-edge2"), 0, true, true},
		{"an id that ends like ours", header("CDN-Loop: not-cmux-edge"), 0, true, true},
		{"ours as a host with a port", header("CDN-Loop: cmux-edge:8080"), 0, true, true},
		{"ours as a parameter", header("CDN-Loop: cloudflare; cmux-edge"), 0, true, true},
		{"an empty list", header("CDN-Loop:"), 0, true, true},
		// The list is cut at every comma on purpose: somebody's open quotation
		// mark must not hide the entries behind it.
		{"our id behind an open quotation mark", header(`CDN-Loop: x; a=", cmux-edge`), 0, false, true},
	} {
		for maxHops, pass := range map[int]bool{1: tt.one, 2: tt.two} {
			t.Run(fmt.Sprintf("%s, max_hops %d", tt.name, maxHops), func(t *testing.T) {
				t.Parallel()
				reg := prometheus.NewRegistry()
				before := tt.header.Clone()
				hops, ok := loopguard.New(maxHops, reg).Check(tt.header)
				if hops != tt.hops || ok != pass {
					t.Errorf("got hops %d, pass %v; want %d, %v", hops, ok, tt.hops, pass)
				}
				rejected := "0"
				if !pass {
					rejected = "1"
				}
				checkRejections(t, reg, rejected)
				if diff := cmp.Diff(before, tt.header); diff != "" {
					t.Errorf("Check changed the header (-before +after):\n%s", diff)
				}
			})
		}
	}
}

func checkRejections(t *testing.T, reg *prometheus.Registry, want string) {
	t.Helper()
	err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP edge_loop_rejections_total Requests refused because they had been through an edge before.
# TYPE edge_loop_rejections_total counter
edge_loop_rejections_total `+want+"\n"))
	if err != nil {
		t.Error(err)
	}
}

func TestEveryRefusalIsCounted(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	g := loopguard.New(1, reg)
	for _, h := range []http.Header{
		header("X-Cmux-Hops: 1"), header(), header("CDN-Loop: cmux-edge"), header("X-Cmux-Proxied: true"), header(),
	} {
		g.Check(h)
	}
	checkRejections(t, reg, "3")
}

func TestAGuardLetsARequestInOnce(t *testing.T) {
	t.Parallel()
	for _, maxHops := range []int{0, -1} {
		if _, ok := loopguard.New(maxHops, prometheus.NewRegistry()).Check(header()); !ok {
			t.Errorf("max hops %d refuses what was never here", maxHops)
		}
	}
}

func TestStamp(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		hops       int
		have, want http.Header
	}{
		{
			"a first visit", 0, header("Accept: */*"),
			header("Accept: */*", "X-Cmux-Hops: 1", "X-Cmux-Proxied: true", "CDN-Loop: cmux-edge"),
		},
		{
			"a second visit", 1, header("X-Cmux-Hops: 1", "X-Cmux-Proxied: true", "CDN-Loop: cmux-edge"),
			header("X-Cmux-Hops: 2", "X-Cmux-Proxied: true", "CDN-Loop: cmux-edge, cmux-edge"),
		},
		{
			"values that did not count are replaced", 0, header("X-Cmux-Hops: x", "X-Cmux-Hops: 100", "X-Cmux-Proxied: no"),
			header("X-Cmux-Hops: 1", "X-Cmux-Proxied: true", "CDN-Loop: cmux-edge"),
		},
		{
			"other ids are kept", 0, header("CDN-Loop: cloudflare; loops=1, fastly"),
			header("X-Cmux-Hops: 1", "X-Cmux-Proxied: true", "CDN-Loop: cloudflare; loops=1, fastly, cmux-edge"),
		},
		{
			"other ids on several lines are kept in order", 0, header("CDN-Loop: cloudflare", `CDN-Loop: fastly; v="1"`),
			header("X-Cmux-Hops: 1", "X-Cmux-Proxied: true", `CDN-Loop: cloudflare, fastly; v="1", cmux-edge`),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := tt.have.Clone()
			loopguard.Stamp(got, tt.hops)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("header (-want +got):\n%s", diff)
			}
		})
	}
}

// With max_hops 2 a request may pass an edge twice, and a third time it may
// not, however it came back.
func TestALoopEndsAfterMaxHops(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		keep func(http.Header) http.Header
	}{
		{"with every header", func(h http.Header) http.Header { return h }},
		{"with the hops alone", func(h http.Header) http.Header { return header("X-Cmux-Hops: " + h.Get("X-Cmux-Hops")) }},
		{"with CDN-Loop alone", func(h http.Header) http.Header { return header("CDN-Loop: " + h.Get("CDN-Loop")) }},
	} {
		for maxHops := 1; maxHops <= 10; maxHops++ {
			t.Run(tt.name+" "+strconv.Itoa(maxHops), func(t *testing.T) {
				t.Parallel()
				g := loopguard.New(maxHops, prometheus.NewRegistry())
				h := header()
				for visit := range maxHops {
					hops, ok := g.Check(h)
					if !ok {
						t.Fatalf("refused at visit %d of %d", visit+1, maxHops)
					}
					loopguard.Stamp(h, hops)
					h = tt.keep(h)
				}
				if _, ok := g.Check(h); ok {
					t.Errorf("let in a time more than %d: %v", maxHops, h)
				}
			})
		}
	}
}

// FuzzCheck holds every header to the promises of the guard: hops lie in 0..99,
// a stamp adds one and keeps what others wrote, and what an edge with max_hops
// 1 stamped never passes again.
func FuzzCheck(f *testing.F) {
	f.Add("0", "true", "cloudflare, cmux-edge; v=1")
	f.Add("99", "TRUE", `x; a=", cmux-edge`)
	f.Add("", "", "")
	f.Add("100", "false", ",,;")
	guard := loopguard.New(1, prometheus.NewRegistry())
	f.Fuzz(func(t *testing.T, hopsValue, proxied, cdnLoop string) {
		h := http.Header{"X-Cmux-Hops": {hopsValue}, "X-Cmux-Proxied": {proxied}, "Cdn-Loop": {cdnLoop}}
		hops, ok := guard.Check(h)
		if hops < 0 || hops > 99 || ok && hops > 0 {
			t.Errorf("%v: hops %d, pass %v", h, hops, ok)
		}
		if n, err := strconv.Atoi(hopsValue); err == nil && n > 0 && n <= 99 && hopsValue[0] != '+' && len(hopsValue) < 3 && hops < n {
			t.Errorf("%v: hops %d", h, hops)
		}
		loopguard.Stamp(h, hops)
		if !strings.HasPrefix(h.Get("CDN-Loop"), cdnLoop) {
			t.Errorf("CDN-Loop %q lost %q", h.Get("CDN-Loop"), cdnLoop)
		}
		if after := loopguard.Hops(h); hops < 99 && after != hops+1 {
			t.Errorf("a stamp made %d hops %d", hops, after)
		}
		delete(h, "X-Cmux-Hops")
		delete(h, "X-Cmux-Proxied")
		if _, ok := guard.Check(h); ok {
			t.Errorf("passes again with CDN-Loop %q", h.Get("CDN-Loop"))
		}
	})
}
