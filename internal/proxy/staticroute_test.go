package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cmux.sh/edge/internal/reply"
)

const llm = "llm.example"

// withRoute leads llm to upstreams, each an address or a URL.
func withRoute(t testing.TB, upstreams ...string) func(*Config) {
	t.Helper()
	route := StaticRoute{Host: llm}
	for _, u := range upstreams {
		if !strings.Contains(u, "://") {
			u = "http://" + u
		}
		parsed, err := url.Parse(u)
		if err != nil {
			t.Fatal(err)
		}
		route.Upstreams = append(route.Upstreams, StaticUpstream{URL: parsed})
	}
	return func(c *Config) { c.StaticRoutes = append(c.StaticRoutes, route) }
}

// answering is an upstream that reads the whole request and answers status, and
// counts.
func answering(t testing.TB, status int, count *atomic.Int64) string {
	return serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		count.Add(1)
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(status)
		fmt.Fprintf(w, "%d %d", status, len(body))
	})
}

func (e *edge) send(t testing.TB, request string) (*http.Response, string) {
	t.Helper()
	w := e.dial(t)
	w.send(request)
	resp := w.response(http.MethodGet)
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read the body: %v", err)
	}
	return resp, string(body)
}

// A model gateway: agents are given one name as their base URL. A model on the
// operator's own machines answers there, and a provider in the cloud while it
// can't; tokens stream from either.
func TestStaticRouteFallsBackFromALocalModelToTheCloud(t *testing.T) {
	t.Parallel()
	type seen struct{ path, host, key, body string }
	got := make(chan seen, 1)
	next := make(chan struct{})
	model := func(name string, up *atomic.Bool) string {
		return serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
			if !up.Load() {
				http.Error(w, "loading the model", http.StatusServiceUnavailable)
				return
			}
			body, _ := io.ReadAll(r.Body)
			got <- seen{r.URL.Path, r.Host, r.Header.Get("Authorization"), string(body)}
			w.Header().Set("Content-Type", "text/event-stream")
			for i := range 3 {
				fmt.Fprintf(w, "data: %s %d\n\n", name, i)
				_ = http.NewResponseController(w).Flush()
				<-next
			}
		})
	}
	var localUp, cloudUp atomic.Bool
	cloudUp.Store(true)
	local, cloud := model("local", &localUp), model("cloud", &cloudUp)
	e := newEdge(t, "", func(c *Config) {
		c.StaticRoutes = []StaticRoute{{Host: llm, Upstreams: []StaticUpstream{
			{URL: &url.URL{Scheme: "http", Host: local}},
			{URL: &url.URL{Scheme: "http", Host: cloud, Path: "/gateway/"}, Host: "api.cloud.example", Authorization: func() string { return "Bearer secret" }},
		}}}
	})
	ask := func(want seen, name string) {
		t.Helper()
		w := e.dial(t)
		w.send("POST /v1/messages HTTP/1.1\nHost: " + llm + "\nAuthorization: Bearer mine\nContent-Length: 9\n\n{\"q\":\"?\"}")
		resp := w.response(http.MethodPost)
		if s := <-got; s != want || resp.StatusCode != http.StatusOK {
			t.Errorf("status %d, the upstream got %+v, want %+v", resp.StatusCode, s, want)
		}
		for i := range 3 { // each token arrives before the next is made
			want := fmt.Sprintf("data: %s %d\n\n", name, i)
			token := make([]byte, len(want))
			if _, err := io.ReadFull(resp.Body, token); err != nil || string(token) != want {
				t.Fatalf("token %d is %q, want %q: %v", i, token, want, err)
			}
			next <- struct{}{}
		}
	}
	ask(seen{"/gateway/v1/messages", "api.cloud.example", "Bearer secret", `{"q":"?"}`}, "cloud")
	localUp.Store(true)
	for _, target := range e.statics.targets[llm] {
		target.failed.CompareAndSwap(target.failed.Load(), 0) // as after its pause
	}
	ask(seen{"/v1/messages", llm, "Bearer mine", `{"q":"?"}`}, "local")
}

func TestStaticRouteTriesTheNextUpstream(t *testing.T) {
	t.Parallel()
	post := "POST / HTTP/1.1\nHost: " + llm + "\nContent-Length: 5\n\n12345"
	for _, tt := range []struct {
		name      string
		first     func(*testing.T, *atomic.Int64) string
		request   string
		want      string
		tries     int64 // of the first, where it counts
		lastTried int64
	}{
		{name: "Refused", first: func(t *testing.T, _ *atomic.Int64) string { return deadEnd(t) }, request: post, want: "200 5", lastTried: 1},
		{name: "BlackHole", first: func(t *testing.T, _ *atomic.Int64) string { return blackHole(t) }, request: post, want: "200 5", lastTried: 1},
		{name: "NoTLS", first: func(t *testing.T, n *atomic.Int64) string { return "https://" + answering(t, 200, n) }, request: post, want: "200 5", lastTried: 1},
		{name: "502", first: func(t *testing.T, n *atomic.Int64) string { return answering(t, 502, n) }, request: post, want: "200 5", tries: 1, lastTried: 1},
		{name: "503", first: func(t *testing.T, n *atomic.Int64) string { return answering(t, 503, n) }, request: post, want: "200 5", tries: 1, lastTried: 1},
		{name: "504InChunks", first: func(t *testing.T, n *atomic.Int64) string { return answering(t, 504, n) }, request: "POST / HTTP/1.1\nHost: " + llm + "\nTransfer-Encoding: chunked\n\n3\nabc\n2\nde\n0\n\n", want: "200 5", tries: 1, lastTried: 1},
		{name: "NotAfter500", first: func(t *testing.T, n *atomic.Int64) string { return answering(t, 500, n) }, request: post, want: "500 5", tries: 1},
		{name: "NotAfter429", first: func(t *testing.T, n *atomic.Int64) string { return answering(t, 429, n) }, request: post, want: "429 5", tries: 1},
		{name: "NotAfter404", first: func(t *testing.T, n *atomic.Int64) string { return answering(t, 404, n) }, request: post, want: "404 5", tries: 1},
		{
			name: "NotAfterItMayHaveActed",
			first: func(t *testing.T, n *atomic.Int64) string {
				return serveRaw(t, func(w *wire) { n.Add(1); w.head() })
			}, request: post, want: "The service behind this name gave no valid answer", tries: 1,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var first, last atomic.Int64
			e := newEdge(t, "", withRoute(t, tt.first(t, &first), answering(t, http.StatusOK, &last)), func(c *Config) { c.DialTimeout = 200 * time.Millisecond })
			_, body := e.send(t, tt.request)
			if line, _, _ := strings.Cut(body, "\n"); line != tt.want {
				t.Errorf("got %q, want %q", line, tt.want)
			}
			if first.Load() != tt.tries || last.Load() != tt.lastTried {
				t.Errorf("%d requests for the first and %d for the last, want %d and %d", first.Load(), last.Load(), tt.tries, tt.lastTried)
			}
		})
	}
}

func TestStaticRoutePassesTheLastRefusalOn(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	e := newEdge(t, "", withRoute(t, deadEnd(t), answering(t, 503, &n), answering(t, 502, &n)))
	if resp, body := e.send(t, "GET / HTTP/1.1\nHost: "+llm+"\n\n"); resp.StatusCode != 502 || body != "502 0" || n.Load() != 2 {
		t.Errorf("got %d %q after %d requests", resp.StatusCode, body, n.Load())
	}
}

func TestStaticRouteTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	slow := serveRaw(t, func(w *wire) { w.head(); w.head() })
	broken := serveRaw(t, func(w *wire) { w.head(); w.send("what?\n\n") })
	for _, tt := range []struct {
		upstream string
		status   int
		code     reply.Code
		sentence string
	}{
		{deadEnd(t), 502, reply.UpstreamUnreachable, "The service behind this name can't be reached"},
		{broken, 502, reply.UpstreamUnreachable, "The service behind this name gave no valid answer"},
		{slow, 504, reply.UpstreamTimeout, "The service behind this name did not answer in time"},
	} {
		e := newEdge(t, "", withRoute(t, deadEnd(t), tt.upstream), func(c *Config) { c.ResponseHeaderTimeout = 50 * time.Millisecond })
		resp, body := e.send(t, "GET / HTTP/1.1\nHost: "+llm+"\nAccept: application/problem+json\n\n")
		if resp.StatusCode != tt.status || !strings.Contains(body, string(tt.code)) || !strings.Contains(body, tt.sentence) {
			t.Errorf("got %d %s, want %d %s", resp.StatusCode, body, tt.status, tt.sentence)
		}
	}
}

// A body that is kept is sent again; one that is too long ends the trying.
func TestStaticRouteKeepsBodiesUpToALimit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		size   int
		again  bool
		chunks bool
	}{{maxKept, true, false}, {maxKept + 1, false, false}, {maxKept, true, true}, {maxKept + 1<<20, false, true}} {
		t.Run(fmt.Sprint(tt.size, tt.chunks), func(t *testing.T) {
			t.Parallel()
			var first, last atomic.Int64
			e := newEdge(t, "", withRoute(t, answering(t, 503, &first), answering(t, 200, &last)))
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+e.addr, bytes.NewReader(make([]byte, tt.size)))
			req.Host = llm
			if tt.chunks {
				req.ContentLength = -1
			}
			transport := &http.Transport{DisableKeepAlives: true}
			resp, err := transport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			want := fmt.Sprint("503 ", tt.size)
			if tt.again {
				want = fmt.Sprint("200 ", tt.size)
			}
			if string(body) != want {
				t.Errorf("got %q, want %q", body, want)
			}
		})
	}
}

// What an upstream that refuses early has not read yet is the next one's.
func TestStaticRouteContinuesAnUploadThatWasRefusedEarly(t *testing.T) {
	t.Parallel()
	refused := make(chan struct{})
	first := serveRaw(t, func(w *wire) {
		w.head()
		w.bytes(3)
		w.send("HTTP/1.1 503 Busy\nContent-Length: 0\n\n")
		close(refused)
		w.head() // until the end
	})
	var n atomic.Int64
	e := newEdge(t, "", withRoute(t, first, answering(t, 200, &n)))
	w := e.dial(t)
	w.send("POST / HTTP/1.1\nHost: " + llm + "\nContent-Length: 9\n\nabc")
	<-refused
	for _, piece := range []string{"de", "fg", "hi"} {
		time.Sleep(5 * time.Millisecond) // so that each is read apart
		w.send(piece)
	}
	if body, _ := io.ReadAll(w.response(http.MethodPost).Body); string(body) != "200 9" {
		t.Errorf("got %q, want the whole upload at the second", body)
	}
}

// An upload that nobody reads to its end must not hold the exchange.
func TestStaticRouteEndsARefusedUploadThatStalls(t *testing.T) {
	t.Parallel()
	refusing := func() string {
		return serveRaw(t, func(w *wire) {
			w.head()
			w.send("HTTP/1.1 503 Busy\nContent-Length: 4\n\nbusy")
			w.head()
		})
	}
	e := newEdge(t, "", withRoute(t, refusing(), refusing()))
	w := e.dial(t)
	w.send("POST / HTTP/1.1\nHost: " + llm + "\nContent-Length: 9\n\nabc")
	resp := w.response(http.MethodPost)
	if body, err := io.ReadAll(resp.Body); resp.StatusCode != 503 || string(body) != "busy" || err != nil {
		t.Errorf("got %d %q, %v", resp.StatusCode, body, err)
	}
	if rest, _ := w.rest(); rest != "" {
		t.Errorf("the rest of the upload was taken for a request: %q", rest)
	}
}

func TestStaticTargetThatFailedIsAskedLastForAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStaticRoutes([]StaticRoute{{Host: llm, Upstreams: []StaticUpstream{
			{URL: &url.URL{Scheme: "http", Host: "a"}}, {URL: &url.URL{Scheme: "https", Host: "b"}}, {URL: &url.URL{Scheme: "http", Host: "c:8"}},
		}}})
		order := func() (hosts string) {
			for _, target := range s.order(llm, time.Now()) {
				hosts += target.URL.Host
			}
			return hosts
		}
		want := func(want string) {
			t.Helper()
			if got := order(); got != want {
				t.Errorf("tried in the order %s, want %s", got, want)
			}
		}
		want("abc:8")
		s.targets[llm][0].fail(time.Now())
		want("bc:8a")
		time.Sleep(failurePause - time.Nanosecond)
		want("bc:8a")
		time.Sleep(time.Nanosecond)
		want("abc:8") // one finds out
		want("bc:8a") // and nobody else
		s.targets[llm][0].failed.Store(0)
		want("abc:8")
		for _, target := range s.targets[llm] {
			target.fail(time.Now())
		}
		want("abc:8") // better than none
		if a, b := s.targets[llm][0].upstream.Address, s.targets[llm][1].upstream.Address; a != "a:80" || b != "b:443" {
			t.Errorf("dials %s and %s", a, b)
		}
	})
}

func TestStaticRouteStopsAskingWhatFailed(t *testing.T) {
	t.Parallel()
	var first, last atomic.Int64
	e := newEdge(t, "", withRoute(t, answering(t, 503, &first), answering(t, 200, &last)))
	for range 5 {
		if _, body := e.send(t, "GET / HTTP/1.1\nHost: "+llm+"\n\n"); body != "200 0" {
			t.Errorf("got %q", body)
		}
	}
	if first.Load() != 1 || last.Load() != 5 {
		t.Errorf("%d requests for the one that failed, %d for the other", first.Load(), last.Load())
	}
}

func TestStaticRoutesAreExactHostsBeforeAllOthers(t *testing.T) {
	t.Parallel()
	upstream := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s", r.Host, r.RequestURI, r.Header.Get("X-Forwarded-Host"))
	})
	e := newEdge(t, "", func(c *Config) {
		for _, host := range []string{"www.cmux.test", "cmux.test", llm} {
			c.StaticRoutes = append(c.StaticRoutes, StaticRoute{Host: host, Upstreams: []StaticUpstream{{URL: &url.URL{Scheme: "http", Host: upstream}}}})
		}
	})
	for _, tt := range []struct{ host, target, want string }{
		{"www.cmux.test", "/a%2Fb//c?d;e", "www.cmux.test /a%2Fb//c?d;e www.cmux.test"},
		{"WWW.cmux.test.:8080", "/", "www.cmux.test:8080 / www.cmux.test:8080"},
		{"cmux.test", "/x", "cmux.test /x cmux.test"},
		{llm, "//x", llm + " //x " + llm},
		{"x.www.cmux.test", "/", "Invalid cmux subdomain"},
		{"www2.cmux.test", "/", "Invalid cmux subdomain"},
		{"x." + llm, "/", "Not a cmux domain"},
		{"port-1-box." + llm, "/", "Not a cmux domain"},
		{"cmux.test", "/.edge/x", "There is nothing here"},
	} {
		_, body := e.send(t, "GET "+tt.target+" HTTP/1.1\nHost: "+tt.host+"\n\n")
		// A target that begins with // may come in the absolute form.
		body = strings.ReplaceAll(body, "http://"+tt.host+"//", "//")
		if line, _, _ := strings.Cut(body, "\n"); line != tt.want {
			t.Errorf("%s%s: got %q, want %q", tt.host, tt.target, line, tt.want)
		}
	}
}

func TestStaticRouteKeepsTheTargetBehindItsPrefix(t *testing.T) {
	t.Parallel()
	upstream := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RequestURI) })
	e := newEdge(t, "", withRoute(t, upstream+"/a%2Fb/"))
	for _, target := range []string{"/", "/v1?x;y", "/c%2Fd", "//e", "/..f/.g", "/v1?../x"} {
		if _, body := e.send(t, "GET "+target+" HTTP/1.1\nHost: "+llm+"\n\n"); body != "/a%2Fb"+target {
			t.Errorf("%q became %q", target, body)
		}
	}
	// What would lead out of the prefix goes nowhere: the operator's key is sent
	// along.
	for _, line := range []string{"GET /../f", "GET /v1/..", "GET /%2e%2e/f", "GET /a/%2E./b", "GET /a\\..\\b", "GET /..%2ff", "OPTIONS *"} {
		if resp, body := e.send(t, line+" HTTP/1.1\nHost: "+llm+"\n\n"); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: got %s: %s", line, resp.Status, body)
		}
	}
}

func TestHeadSaysNothingOfABodyThatAGetWouldChange(t *testing.T) {
	t.Parallel()
	e := newEdge(t, serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h["Content-Type"], h["Etag"], h["Content-Length"] = []string{"text/html"}, []string{`"a"`}, []string{"19"}
		_, _ = io.WriteString(w, "<html><head></head>")
	}), func(c *Config) { c.HeadScript = true })
	for host, changed := range map[string]bool{appHost: true, testHost: false} {
		w := e.dial(t)
		w.send("HEAD / HTTP/1.1\nHost: " + host + "\n\n")
		resp := w.response(http.MethodHead)
		if got := resp.Header.Get("Etag") == "" && resp.ContentLength < 0; got != changed {
			t.Errorf("%s: %d bytes, %v", host, resp.ContentLength, resp.Header)
		}
	}
}

func TestStaticRouteCarriesWebSockets(t *testing.T) {
	t.Parallel()
	upstream := serveRaw(t, func(w *wire) {
		w.head()
		w.send(switching + "hello")
		w.send(w.bytes(4))
	})
	e := newEdge(t, "", withRoute(t, deadEnd(t), upstream))
	w := e.dial(t)
	w.send(strings.Replace(handshake, testHost, llm, 1))
	if head := w.head(); !strings.HasPrefix(head, "HTTP/1.1 101 ") {
		t.Fatalf("got %q", head)
	}
	w.send("ping")
	if got := w.bytes(9); got != "helloping" {
		t.Errorf("got %q", got)
	}
}

func TestStaticRouteNeverLeadsToTheEdgeItself(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	own := answering(t, 200, &n)
	e := newEdge(t, "", withRoute(t, own), func(c *Config) {
		c.Addresses.Never = []netip.AddrPort{netip.MustParseAddrPort(own)}
	})
	if resp, _ := e.send(t, "GET / HTTP/1.1\nHost: "+llm+"\n\n"); resp.StatusCode != http.StatusBadGateway || n.Load() != 0 {
		t.Errorf("status %d after %d requests", resp.StatusCode, n.Load())
	}
}

func TestStaticRouteRefusesALoop(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	e := newEdge(t, "", withRoute(t, answering(t, 200, &n)))
	if resp, _ := e.send(t, "GET / HTTP/1.1\nHost: "+llm+"\nX-Cmux-Hops: 1\n\n"); resp.StatusCode != http.StatusLoopDetected || n.Load() != 0 {
		t.Errorf("status %d after %d requests", resp.StatusCode, n.Load())
	}
}
