package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

// page serves HTML at every path that it is not asked to treat otherwise.
func page(header http.Header, html string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		maps.Copy(w.Header(), header)
		_, _ = io.WriteString(w, html)
	}
}

// serveCode opens the sandbox's port for VS Code, which no other test may use
// meanwhile: this one is not parallel.
func serveCode(t *testing.T, handler http.Handler) {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Listener.Close()
	server.Listener = listen(t, vscodePort)
	server.Start()
	t.Cleanup(server.Close)
}

// serveOutside serves a site that has nothing to do with the edge, and returns
// its origin. Browsers find names below .localhost on this machine.
func serveOutside(t *testing.T, name string, handler http.Handler) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.Listener.Close()
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	return fmt.Sprintf("http://%s.localhost:%d", name, portOf(l))
}

// told is a page that reports to the page that frames it.
const told = `<!doctype html><title>framed</title><script>parent.postMessage(document.title + ' ' + location.host, '*')</script>`

// VS Code and an app forbid all framing by themselves. The dashboard that the
// edge is told of may frame both, VS Code may frame the app, nobody else may.
func TestDashboardFramesVSCodeAndAnApp(t *testing.T) {
	denied := http.Header{"X-Frame-Options": {"DENY"}, "Content-Security-Policy": {"object-src 'none'; frame-ancestors 'none'"}}
	app := serve(t, page(denied, told))
	outside := http.HandlerFunc(page(nil, "<!doctype html><title>outside</title>"))
	dashboard, stranger := serveOutside(t, "dashboard", outside), serveOutside(t, "stranger", outside)
	serveCode(t, page(denied, told))
	e := startEdge(t, fmt.Sprintf("cors: {dashboard_origins: [%q]}", dashboard))
	for _, domain := range []string{secureDomain, plainDomain} {
		runClient(t, "framing.mjs", dashboard, stranger, e.url(vscodePort, domain), e.url(app, domain))
	}
}

// tell answers with what the request said.
func tell(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{
		"method": r.Method, "path": r.URL.Path, "origin": r.Header.Get("Origin"), "cookie": r.Header.Get("Cookie"), "body": string(body),
	})
}

// The API knows nothing of CORS: who may read it is the edge's word.
func TestSiblingsFetchEachOtherWithCredentialsAndStrangersMayNot(t *testing.T) {
	t.Parallel()
	api := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodOptions:
			http.Error(w, "what is a preflight?", http.StatusMethodNotAllowed)
		case r.URL.Path == "/login":
			http.SetCookie(w, &http.Cookie{Name: "session", Value: "s", Path: "/"})
		default:
			tell(w, r)
		}
	}))
	blank := http.HandlerFunc(page(nil, "<!doctype html><title>blank</title>"))
	app := serve(t, blank)
	dashboard, stranger := serveOutside(t, "dashboard", blank), serveOutside(t, "stranger", blank)
	e := startEdge(t, fmt.Sprintf("cors: {dashboard_origins: [%q]}", dashboard))
	for _, domain := range []string{secureDomain, plainDomain} {
		runClient(t, "siblings.mjs", e.url(api, domain), e.url(app, domain), dashboard, stranger)
	}
}

// loopbackPage calls the API on localhost in every way that a page has, and
// shows what came back. It is the page of a developer who knows of no edge.
const loopbackPage = `<!doctype html>
<html><head><meta charset="utf-8"><title>app</title></head><body>
<a id="link" href="http://localhost:{port}/linked">a link</a>
<form id="form" method="post" action="http://localhost:{port}/form"><input name="q" value="by form"><button name="b" value="1">send</button></form>
<form id="other" method="post"><button formaction="http://127.0.0.1:{port}/formaction" name="q" value="by its button">send</button></form>
<form id="silent" method="post" action="http://[::1]:{port}/silent"><input name="q" value="by script"><input name="action" value="a"><input name="getAttribute"></form>
<script type="module">
const api = 'http://localhost:{port}'
const show = (name, value) => { document.body.dataset[name] = value }
const attempt = async (name, get) => show(name, await get().then(JSON.stringify, (error) => 'failed: ' + error))
attempt('fetch', async () => (await fetch(api + '/api')).json())
attempt('put', async () => (await fetch(new URL('/api', api), { method: 'PUT', headers: { 'content-type': 'application/json' }, body: '{}' })).json())
attempt('request', async () => (await fetch(new Request('http://0.0.0.0:{port}/api', { method: 'POST', body: 'text' }))).json())
attempt('own', async () => (await fetch('/own')).text())
attempt('xhr', () => new Promise((resolve, reject) => {
  const xhr = new XMLHttpRequest()
  xhr.open('GET', 'http://127.0.0.1:{port}/xhr?a=b')
  xhr.onload = () => resolve(JSON.parse(xhr.responseText))
  xhr.onerror = reject
  xhr.send()
}))
attempt('socket', () => new Promise((resolve, reject) => {
  const socket = new WebSocket('ws://localhost:{port}/ws', ['first'])
  socket.onopen = () => socket.send('hello')
  socket.onmessage = ({ data }) => resolve([data, socket.protocol, socket instanceof WebSocket, WebSocket.OPEN])
  socket.onerror = reject
}))
attempt('events', () => new Promise((resolve, reject) => {
  const events = new EventSource('http://localhost:{port}/events')
  events.onmessage = ({ data }) => { events.close(); resolve(data) }
  events.onerror = reject
}))
</script>
</body></html>`

func TestAPageThatCallsLoopbackWorks(t *testing.T) {
	t.Parallel()
	api := serveWebSocketAnd(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/events" {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: an event\n\n")
			return
		}
		tell(w, r)
	}))
	html := strings.ReplaceAll(loopbackPage, "{port}", fmt.Sprint(api))
	app := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/own":
			_, _ = io.WriteString(w, "own")
		case "/redirect":
			http.Redirect(w, r, fmt.Sprintf("http://localhost:%d/redirected?to=here", api), http.StatusFound)
		default:
			page(nil, html)(w, r)
		}
	}))
	e := startEdge(t)
	for _, domain := range []string{secureDomain, plainDomain} {
		runClient(t, "loopback.mjs", e.url(app, domain), e.url(api, domain))
	}
}

// serveWebSocketAnd serves an echo at /ws, and handler elsewhere.
func serveWebSocketAnd(t *testing.T, handler http.Handler) int {
	t.Helper()
	upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }, Subprotocols: []string{"first"}}
	return serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ws" {
			handler.ServeHTTP(w, r)
			return
		}
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return // the client was told
		}
		defer conn.Close()
		for {
			kind, message, err := conn.ReadMessage()
			if err != nil || conn.WriteMessage(kind, message) != nil {
				return
			}
		}
	}))
}

// One policy lets the edge's script in, the others do not; none must be violated.
func TestAnAppWithAStrictCSPStillRuns(t *testing.T) {
	t.Parallel()
	args := []string{"strict.mjs"}
	var ports []int
	for _, policy := range []string{
		"default-src 'self'; script-src 'self' 'nonce-abc'; style-src 'none'; object-src 'none'; base-uri 'none'",
		"script-src 'nonce-abc' 'strict-dynamic'; object-src 'none'; base-uri 'none'; require-trusted-types-for 'script'",
		"default-src 'none'; script-src 'nonce-abc'",
	} {
		ports = append(ports, serve(t, page(http.Header{"Content-Security-Policy": {policy}},
			`<!doctype html><html><head><script nonce="abc">
addEventListener('securitypolicyviolation', (event) => { document.documentElement.dataset.violated = event.violatedDirective + ' ' + event.blockedURI })
addEventListener('load', () => { document.documentElement.dataset.ran = 'yes' })
</script></head><body>strict</body></html>`)))
	}
	e := startEdge(t)
	for i, port := range ports {
		args = append(args, e.url(port, secureDomain), map[bool]string{true: "script", false: "none"}[i == 0])
	}
	runClient(t, args[0], args[1:]...)
}

// The router before this one put a worker on every host. The first visit through
// the edge ends it; a worker that the app itself registered goes on.
func TestTheOldRoutersServiceWorkerIsRetired(t *testing.T) {
	t.Parallel()
	const worker = `addEventListener('install', () => skipWaiting())
addEventListener('activate', (event) => event.waitUntil(clients.claim()))
addEventListener('fetch', (event) => { if (new URL(event.request.url).pathname.endsWith('/answered')) event.respondWith(new Response(%q)) })`
	app := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/proxy-sw.js", "/app/sw.js":
			w.Header().Set("Content-Type", "text/javascript")
			fmt.Fprintf(w, worker, r.URL.Path)
		case "/answered", "/app/answered":
			_, _ = io.WriteString(w, "the server")
		default:
			page(nil, "<!doctype html><html><head><title>app</title></head><body></body></html>")(w, r)
		}
	}))
	retiring, sparing := startEdge(t), startEdge(t, "compat: {service_worker: off}")
	runClient(t, "workers.mjs", retiring.url(app, secureDomain), "retire", sparing.url(app, secureDomain), "off")
}
