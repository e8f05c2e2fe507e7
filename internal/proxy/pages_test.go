package proxy

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cmux.sh/edge/internal/sandbox"
)

const dashboard = "https://www.cmux.example"

// The lists of frame-ancestors, as the host grammar's specification writes
// them.
const (
	tools = "'self' https://port-39376-box.cmux.test https://port-39377-box.cmux.test https://port-39378-box.cmux.test" +
		" https://port-39379-box.cmux.test https://port-39380-box.cmux.test https://port-39381-box.cmux.test https://port-39383-box.cmux.test"
	toolsBehindProxy = " https://cmux-box-base-39376.cmux.test https://cmux-box-base-39377.cmux.test https://cmux-box-base-39378.cmux.test" +
		" https://cmux-box-base-39379.cmux.test https://cmux-box-base-39380.cmux.test https://cmux-box-base-39381.cmux.test https://cmux-box-base-39383.cmux.test"
	framed      = "Content-Security-Policy: frame-ancestors " + tools + " " + dashboard
	strictFrame = "frame-ancestors " + tools + " " + dashboard
)

// pageNames are the headers that the table below compares.
var pageNames = []string{
	"Access-Control-Allow-Credentials", "Access-Control-Allow-Headers", "Access-Control-Allow-Methods", "Access-Control-Allow-Origin",
	"Access-Control-Expose-Headers", "Access-Control-Max-Age", "Content-Location", "Content-Security-Policy", "Content-Security-Policy-Report-Only",
	"Cross-Origin-Embedder-Policy", "Cross-Origin-Opener-Policy", "Cross-Origin-Resource-Policy", "Location", "Refresh", "Vary", "X-Frame-Options",
}

// An answer of a sandbox and what becomes of it, port by port. Requests come
// over TLS, through a proxy in front, unless the scheme says http. Headers are
// separated by " | "; what a case does not name is not there.
func TestAnswersAreTreatedByTheProfileOfTheirPort(t *testing.T) {
	t.Parallel()
	const (
		app    = "port-3000-box.cmux.test"
		code   = "port-39378-box.cmux.test"
		mine   = "Origin: https://port-5173-box.cmux.test"
		board  = "Origin: " + dashboard
		evil   = "Origin: https://evil.example"
		other  = "Origin: https://port-3000-other.cmux.test"
		vary   = "Vary: Origin"
		creds  = "Access-Control-Allow-Credentials: true"
		mineOK = creds + " | Access-Control-Allow-Origin: https://port-5173-box.cmux.test | " + vary
	)
	for _, tt := range []struct{ name, host, request, answer, want string }{
		// 39378, VS Code: CORS, CSP amended, X-Frame-Options removed.
		{"code/nothing", code, "", "", framed + " | " + vary},
		{"code/no CSP, framing denied", code, "", "X-Frame-Options: DENY", framed + " | " + vary},
		{"code/a CSP", code, "", "Content-Security-Policy: default-src 'self'", "Content-Security-Policy: default-src 'self'; " + strictFrame + " | " + vary},
		{"code/a CSP with ancestors", code, "", "Content-Security-Policy: frame-ancestors 'none'; img-src *", "Content-Security-Policy: " + strictFrame + "; img-src * | " + vary},
		{"code/two CSPs", code, "", "Content-Security-Policy: a-src x | Content-Security-Policy: frame-ancestors y", "Content-Security-Policy: a-src x; " + strictFrame + " | Content-Security-Policy: " + strictFrame + " | " + vary},
		{"code/report only", code, "", "Content-Security-Policy-Report-Only: frame-ancestors 'none'", framed + " | Content-Security-Policy-Report-Only: frame-ancestors 'none' | " + vary},
		{"code/sibling", code, mine, "", framed + " | " + mineOK},
		{"code/dashboard", code, board, "", framed + " | " + creds + " | Access-Control-Allow-Origin: " + dashboard + " | " + vary},
		{"code/stranger", code, evil, "", framed + " | " + vary},
		{"code/stranger whom the server allows", code, evil, "Access-Control-Allow-Origin: https://evil.example", framed + " | Access-Control-Allow-Origin: https://evil.example"},
		{"code/embedding headers", code, "", "Cross-Origin-Resource-Policy: same-origin | Cross-Origin-Opener-Policy: same-origin | Cross-Origin-Embedder-Policy: require-corp", framed + " | Cross-Origin-Resource-Policy: same-origin | Cross-Origin-Opener-Policy: same-origin | Cross-Origin-Embedder-Policy: require-corp | " + vary},
		{"code/in the proxy form", "cmux-box-39378.cmux.test", "", "X-Frame-Options: DENY", framed[:len(framed)-len(dashboard)-1] + toolsBehindProxy + " " + dashboard + " | " + vary},

		// 39377 and 39376, the worker.
		{"worker/nothing", "port-39377-box.cmux.test", "", "", framed + " | " + vary},
		{"worker/sibling", "port-39377-box.cmux.test", mine, "", framed + " | " + mineOK},
		{"worker/denied", "port-39377-box.cmux.test", "", "X-Frame-Options: SAMEORIGIN | Content-Security-Policy: object-src 'none'", "Content-Security-Policy: object-src 'none'; " + strictFrame + " | " + vary},
		{"node worker/nothing", "port-39376-box.cmux.test", "", "", framed + " | " + vary},
		{"node worker/sibling", "port-39376-box.cmux.test", mine, "", framed + " | " + mineOK},

		// 39379, the proxy in the sandbox.
		{"proxy/sibling", "port-39379-box.cmux.test", mine, "", framed + " | " + mineOK},
		{"proxy/stranger", "port-39379-box.cmux.test", evil, "Cross-Origin-Resource-Policy: same-origin", framed + " | Cross-Origin-Resource-Policy: same-origin | " + vary},

		// 39380, VNC: framing and CORP only.
		{"vnc/nothing", "port-39380-box.cmux.test", "", "", framed},
		{"vnc/denied", "port-39380-box.cmux.test", "", "X-Frame-Options: DENY", framed},
		{"vnc/embedding headers", "port-39380-box.cmux.test", "", "Cross-Origin-Resource-Policy: same-origin | Cross-Origin-Opener-Policy: same-origin | Cross-Origin-Embedder-Policy: require-corp", framed + " | Cross-Origin-Opener-Policy: same-origin | Cross-Origin-Embedder-Policy: require-corp"},
		{"vnc/sibling", "port-39380-box.cmux.test", mine, "", framed},
		{"vnc/CORS of its own", "port-39380-box.cmux.test", evil, "Access-Control-Allow-Origin: * | Vary: Accept", framed + " | Access-Control-Allow-Origin: * | Vary: Accept"},

		// 39381, 39382, DevTools; 39375, exec: untouched.
		{"devtools/sibling", "port-39381-box.cmux.test", mine, "X-Frame-Options: DENY | Content-Security-Policy: frame-ancestors 'none'", "X-Frame-Options: DENY | Content-Security-Policy: frame-ancestors 'none'"},
		{"devtools/dashboard", "port-39381-box.cmux.test", board, "Access-Control-Allow-Origin: *", "Access-Control-Allow-Origin: *"},
		{"devtools/CORP", "port-39381-box.cmux.test", "", "Cross-Origin-Resource-Policy: same-origin", "Cross-Origin-Resource-Policy: same-origin"},
		{"chrome/sibling", "port-39382-box.cmux.test", mine, "X-Frame-Options: DENY", "X-Frame-Options: DENY"},
		{"exec/sibling", "port-39375-box.cmux.test", mine, "X-Frame-Options: DENY", "X-Frame-Options: DENY"},
		{"exec/CORS of its own", "port-39375-box.cmux.test", evil, "Access-Control-Allow-Origin: * | Content-Security-Policy: default-src 'none'", "Access-Control-Allow-Origin: * | Content-Security-Policy: default-src 'none'"},

		// 39383, the terminal: who may frame it, and no more.
		{"terminal/sibling", "port-39383-box.cmux.test", mine, "", framed},
		{"terminal/denied", "port-39383-box.cmux.test", "", "X-Frame-Options: DENY | Access-Control-Allow-Origin: *", framed + " | Access-Control-Allow-Origin: *"},

		// Apps: framing is amended where it was restricted.
		{"app/nothing", app, "", "", vary},
		{"app/denied", app, "", "X-Frame-Options: DENY", framed + " | " + vary},
		{"app/denied twice", app, "", "X-Frame-Options: SAMEORIGIN | X-Frame-Options: DENY", framed + " | " + vary},
		{"app/a CSP", app, "", "Content-Security-Policy: default-src 'self'", "Content-Security-Policy: default-src 'self' | " + vary},
		{"app/a CSP with ancestors", app, "", "Content-Security-Policy: default-src 'self';frame-ancestors 'none'", "Content-Security-Policy: default-src 'self';" + strictFrame + " | " + vary},
		{"app/a CSP, framing denied", app, "", "Content-Security-Policy: default-src 'self' | X-Frame-Options: DENY", "Content-Security-Policy: default-src 'self'; " + strictFrame + " | " + vary},
		{"app/ancestors in the second policy", app, "", "Content-Security-Policy: default-src 'self', frame-ancestors x", "Content-Security-Policy: default-src 'self', " + strictFrame + " | " + vary},
		{"app/ancestors and X-Frame-Options", app, "", "Content-Security-Policy: frame-ancestors x | X-Frame-Options: DENY", framed + " | " + vary},
		{"app/report only, framing denied", app, "", "Content-Security-Policy-Report-Only: frame-ancestors x | X-Frame-Options: DENY", framed + " | Content-Security-Policy-Report-Only: frame-ancestors x | " + vary},
		{"app/report only", app, "", "Content-Security-Policy-Report-Only: frame-ancestors x", "Content-Security-Policy-Report-Only: frame-ancestors x | " + vary},
		{"app/CORP", app, "", "Cross-Origin-Resource-Policy: same-origin", "Cross-Origin-Resource-Policy: same-origin | " + vary},
		{"app/in the clear, with a port", app + ":8080", "X-Forwarded-Proto: http", "X-Frame-Options: DENY", strings.ReplaceAll(strings.ReplaceAll(framed, "box.cmux.test", "box.cmux.test:8080"), "https://port", "http://port") + " | " + vary},
		{"app/in a scope", "manaflow-box-team-3000.cmux.test", "", "X-Frame-Options: DENY", framed[:len(framed)-len(dashboard)-1] + strings.ReplaceAll(toolsBehindProxy, "cmux-box-base", "manaflow-box-team") + " " + dashboard + " | " + vary},

		// CORS of apps.
		{"cors/sibling", app, mine, "", mineOK},
		{"cors/sibling in the proxy form", app, "Origin: https://cmux-box-team-5173.cmux.test", "", creds + " | Access-Control-Allow-Origin: https://cmux-box-team-5173.cmux.test | " + vary},
		{"cors/sibling where the server allows all", app, mine, "Access-Control-Allow-Origin: *", mineOK},
		{"cors/stranger where the server allows all", app, evil, "Access-Control-Allow-Origin: *", "Access-Control-Allow-Origin: * | " + vary},
		{"cors/sibling where the server allows another", app, mine, "Access-Control-Allow-Origin: https://a.example", "Access-Control-Allow-Origin: https://a.example"},
		{"cors/sibling whom the server allows without credentials", app, mine, "Access-Control-Allow-Origin: https://port-5173-box.cmux.test", "Access-Control-Allow-Origin: https://port-5173-box.cmux.test"},
		{"cors/server forbids credentials", app, mine, "Access-Control-Allow-Credentials: false", mineOK},
		{"cors/stranger", app, evil, "", vary},
		{"cors/another sandbox", app, other, "", vary},
		{"cors/null", app, "Origin: null", "", vary},
		{"cors/two origins", app, mine + " | " + mine, "", vary},
		{"cors/Vary is appended", app, mine, "Vary: Accept-Encoding", creds + " | Access-Control-Allow-Origin: https://port-5173-box.cmux.test | Vary: Accept-Encoding, Origin"},
		{"cors/Vary is appended for nobody", app, "", "Vary: Accept-Encoding", "Vary: Accept-Encoding, Origin"},
		{"cors/Vary of two lines", app, "", "Vary: A | Vary: B", "Vary: A | Vary: B, Origin"},
		{"cors/Vary has it", app, "", "Vary: accept, ORIGIN", "Vary: accept, ORIGIN"},
		{"cors/Vary is all", app, mine, "Vary: *", creds + " | Access-Control-Allow-Origin: https://port-5173-box.cmux.test | Vary: *"},
		{"cors/other headers pass", app, mine, "Access-Control-Expose-Headers: X-A | Access-Control-Max-Age: 5", mineOK + " | Access-Control-Expose-Headers: X-A | Access-Control-Max-Age: 5"},
		{"cors/dashboard", app, board, "", creds + " | Access-Control-Allow-Origin: " + dashboard + " | " + vary},
		{"cors/dashboard without its scheme", app, "Origin: http://www.cmux.example", "", vary},
		{"cors/own origin of a server on localhost", app, "Origin: https://" + app, "Access-Control-Allow-Origin: http://localhost:3000", "Access-Control-Allow-Origin: https://" + app},

		// Location, on every port.
		{"location/loopback", app, "", "Location: http://localhost:3001/a", "Location: https://port-3001-box.cmux.test/a | " + vary},
		{"location/of exec", "port-39375-box.cmux.test", "", "Location: http://127.0.0.1:39375/", "Location: https://port-39375-box.cmux.test/"},
		{"location/content", app, "", "Content-Location: http://[::1]:3000/x?y#z", "Content-Location: https://port-3000-box.cmux.test/x?y#z | " + vary},
		{"location/refresh stays", app, "", "Refresh: 0; url=http://localhost:3000/", "Refresh: 0; url=http://localhost:3000/ | " + vary},
		{"location/in a scope", "cmux-box-team-3000.cmux.test", "", "Location: http://localhost:4000/", "Location: https://cmux-box-team-4000.cmux.test/ | " + vary},
		{"location/freestyle", "ws-3000-box.cmux.test", "", "Location: http://localhost:4000/", "Location: https://ws-4000-box.cmux.test/ | " + vary},
		{"location/elsewhere", app, "", "Location: https://login.example/", "Location: https://login.example/ | " + vary},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := newEdge(t, serveRaw(t, func(w *wire) {
				w.head()
				w.send("HTTP/1.1 201 Created\nContent-Length: 0\n" + lines(tt.answer) + "\n")
			}), func(c *Config) {
				c.TrustedProxies = loopback
				c.DashboardOrigins = []string{dashboard}
				c.HeadScript = true
			})
			request := lines(tt.request)
			if !strings.Contains(request, "X-Forwarded-Proto") {
				request += "X-Forwarded-Proto: https\n"
			}
			resp, _ := e.get(t, tt.host, request)
			if resp.StatusCode != http.StatusCreated {
				t.Fatalf("status %d", resp.StatusCode)
			}
			var got []string
			for _, name := range pageNames {
				for _, value := range resp.Header[name] {
					got = append(got, name+": "+value)
				}
			}
			want := strings.Split(tt.want, " | ")
			if tt.want == "" {
				want = nil
			}
			slices.Sort(got)
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("headers (-want +got):\n%s", diff)
			}
		})
	}
}

// lines makes a head of headers separated by " | ".
func lines(headers string) string {
	if headers == "" {
		return ""
	}
	return strings.ReplaceAll(headers, " | ", "\n") + "\n"
}

func TestOptionsAreAnsweredAtTheEdgeOnlyWhereTheyAreItsOwn(t *testing.T) {
	t.Parallel()
	const (
		app       = "port-3000-box.cmux.test"
		code      = "port-39378-box.cmux.test"
		mine      = "https://port-5173-box.cmux.test"
		asked     = "Access-Control-Request-Method: PUT\nAccess-Control-Request-Headers: X-A, content-type\n"
		preflight = "Origin: " + mine + "\n" + asked
	)
	for _, tt := range []struct {
		name, host, request string
		edge                bool   // answers, not the sandbox
		allowed             string // origin
	}{
		{"preflight of a sibling", app, preflight, true, mine},
		{"preflight of a dashboard", app, "Origin: " + dashboard + "\n" + asked, true, dashboard},
		{"preflight for a method alone", app, "Origin: " + mine + "\nAccess-Control-Request-Method: DELETE\n", true, mine},
		{"preflight in the proxy form", "cmux-box-3000.cmux.test", preflight, true, mine},
		{"preflight of a stranger", app, "Origin: https://evil.example\n" + asked, false, ""},
		{"preflight of another sandbox", app, "Origin: https://port-5173-other.cmux.test\n" + asked, false, ""},
		{"preflight without origin", app, asked, false, ""},
		{"options of a sibling", app, "Origin: " + mine + "\n", false, mine},
		{"options of nobody", app, "", false, ""},
		{"preflight for the worker", "port-39377-box.cmux.test", preflight, true, mine},
		{"preflight for exec", "port-39375-box.cmux.test", preflight, false, ""},
		{"preflight for VNC", "port-39380-box.cmux.test", preflight, false, ""},
		{"preflight for DevTools", "port-39381-box.cmux.test", preflight, false, ""},
		{"preflight for a terminal", "port-39383-box.cmux.test", preflight, false, ""},
		{"preflight for code", code, preflight, true, mine},
		{"preflight of a stranger for code", code, "Origin: https://evil.example\n" + asked, true, ""},
		{"options of a sibling for code", code, "Origin: " + mine + "\n", true, mine},
		{"options of nobody for code", code, "", true, ""},
		{"options for code in the proxy form", "manaflow-box-39378.cmux.test", "", true, ""},
		{"preflight that has been here before", app, preflight + "X-Cmux-Hops: 3\n", true, mine},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := newEdge(t, serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }), func(c *Config) {
				c.DashboardOrigins = []string{dashboard}
			})
			if tt.edge { // then nobody is looked for
				e.box.resolve = func() { t.Error("the sandbox was looked up") }
			}
			w := e.dial(t)
			w.send("OPTIONS /x HTTP/1.1\nHost: " + tt.host + "\n" + tt.request + "Connection: close\n\n")
			resp := w.response(http.MethodOptions)
			want := http.Header{}
			if tt.allowed != "" {
				want.Set("Access-Control-Allow-Origin", tt.allowed)
				want.Set("Access-Control-Allow-Credentials", "true")
			}
			if method := requested(tt.request, "Method"); tt.edge && tt.allowed != "" && method != "" {
				want.Set("Access-Control-Allow-Methods", method)
				want.Set("Access-Control-Max-Age", "600")
				if headers := requested(tt.request, "Headers"); headers != "" {
					want.Set("Access-Control-Allow-Headers", headers)
				}
			}
			if status := map[bool]int{true: http.StatusNoContent, false: http.StatusTeapot}[tt.edge]; resp.StatusCode != status {
				t.Errorf("status %d, want %d", resp.StatusCode, status)
			}
			for name := range resp.Header {
				if !strings.HasPrefix(name, "Access-Control-") {
					delete(resp.Header, name)
				} else if !hasToken(resp.Header["Vary"], "Origin") && tt.edge && resp.Header["Vary"] != nil {
					t.Error("Vary does not name Origin")
				}
			}
			if diff := cmp.Diff(want, resp.Header); diff != "" {
				t.Errorf("headers (-want +got):\n%s", diff)
			}
		})
	}
}

// requested is what a preflight asks for.
func requested(request, what string) string {
	_, rest, _ := strings.Cut(request, "Access-Control-Request-"+what+": ")
	value, _, _ := strings.Cut(rest, "\n")
	return value
}

// A dashboard that watches a sandbox must be able to read why it can't be had.
func TestErrorsCanBeReadByThoseWhoMayReadAnswers(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "")
	e.box.set(func(in *sandbox.Instance) { in.State = sandbox.Resuming })
	sibling := "https://port-5173-box.cmux.test"
	for host, want := range map[string]string{"port-3000-box.cmux.test": sibling, "port-39375-box.cmux.test": ""} {
		resp, _ := e.get(t, host, "Origin: "+sibling+"\n")
		if got := resp.Header.Get("Access-Control-Allow-Origin"); resp.StatusCode != http.StatusServiceUnavailable || got != want {
			t.Errorf("%s: status %d, allowed %q, want %q", host, resp.StatusCode, got, want)
		}
	}
}

func TestHeadScriptIsServedToSandboxesOnly(t *testing.T) {
	t.Parallel()
	configure := func(c *Config) { c.HeadScript, c.RetireServiceWorker = true, true }
	e := newEdge(t, "", configure)
	get := func(e *edge, method, host, extra string) (*http.Response, string) {
		w := e.dial(t)
		w.send(method + " /.edge/head.js HTTP/1.1\nHost: " + host + "\n" + extra + "Connection: close\n\n")
		resp := w.response(method)
		body, _ := io.ReadAll(resp.Body)
		return resp, string(body)
	}
	for host, options := range map[string]string{
		"port-3000-box.cmux.test:8080":   `({"before":"port-","after":"-box.cmux.test:8080","retire":true})`,
		"cmux-box-3000.cmux.test":        `({"before":"cmux-box-base-","after":".cmux.test","retire":true})`,
		"manaflow-box-ws-3000.cmux.test": `({"before":"manaflow-box-ws-","after":".cmux.test","retire":true})`,
		"cmux-pvelxc-3000.cmux.test":     `({"before":"cmux-pvelxc-","after":".cmux.test","retire":true})`,
		"ws-3000-box.cmux.test":          `({"before":"ws-","after":"-box.cmux.test","retire":true})`,
	} {
		resp, body := get(e, http.MethodGet, host, "")
		if resp.StatusCode != http.StatusOK || !strings.HasSuffix(body, options+"\n") {
			t.Errorf("%s: status %d, ending in %q, want %q", host, resp.StatusCode, body[max(0, len(body)-100):], options)
		}
		again, _ := get(e, http.MethodGet, host, "If-None-Match: "+resp.Header.Get("Etag")+"\n")
		if again.StatusCode != http.StatusNotModified {
			t.Errorf("%s: status %d for the tag that it sent", host, again.StatusCode)
		}
	}
	if resp, body := get(e, http.MethodHead, appHost, ""); resp.StatusCode != http.StatusOK || body != "" || resp.ContentLength <= 0 {
		t.Errorf("HEAD: status %d, length %d, body %q", resp.StatusCode, resp.ContentLength, body)
	}
	off := newEdge(t, "")
	for _, refused := range []struct {
		e            *edge
		method, host string
	}{{e, http.MethodGet, "cmux.test"}, {e, http.MethodPost, appHost}, {off, http.MethodGet, appHost}} {
		if resp, _ := get(refused.e, refused.method, refused.host, ""); resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s on %s: status %d, want 404", refused.method, refused.host, resp.StatusCode)
		}
	}
}
