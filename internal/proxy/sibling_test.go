package proxy

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"cmux.sh/edge/internal/resolve"
	"cmux.sh/edge/internal/sandbox"
)

var grammar = resolve.NewGrammar([]string{"cmux.test", "dev.cmux.test", "cmux.app"}, true)

// exchangeAt is a request for host.
func exchangeAt(t testing.TB, scheme, host string) *Exchange {
	t.Helper()
	route, err := grammar.Parse(host)
	if err != nil {
		t.Fatalf("%s: %v", host, err)
	}
	return &Exchange{Scheme: scheme, Route: route, Upstream: sandbox.Upstream{Address: "10.0.0.5:3000"}}
}

func TestSiblingHasTheFormOfTheRequest(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 52)
	for _, tt := range []struct {
		host string
		port uint16
		want string
	}{
		{"port-3000-box.cmux.test", 80, "port-80-box.cmux.test"},
		{"PORT-3000-Box.cmux.test.:8443", 65535, "port-65535-box.cmux.test:8443"},
		{"port-1-a--b.dev.cmux.test", 2, "port-2-a--b.dev.cmux.test"},
		{"cmux-box-3000.cmux.test", 80, "cmux-box-base-80.cmux.test"},
		{"cmux-box-base-3000.cmux.test", 80, "cmux-box-base-80.cmux.test"},
		{"manaflow-box-a-b-3000.cmux.app", 80, "manaflow-box-a-b-80.cmux.app"},
		{"cmux-pvelxc-ab12-3000.cmux.test", 80, "cmux-pvelxc-ab12-base-80.cmux.test"},
		{"cmux-pvelxc-3000.cmux.test", 80, "cmux-pvelxc-80.cmux.test"},
		{"cmux-pvevm-3000.cmux.test", 80, "cmux-pvevm-80.cmux.test"},
		{"cmux-morphvm-3000.cmux.test", 80, "cmux-morphvm-80.cmux.test"},
		{"ws-1-3000-box.cmux.test", 80, "ws-1-80-box.cmux.test"},
		{"port-1-" + long + ".cmux.test", 65535, "port-65535-" + long + ".cmux.test"},
		{"port-1-" + long + "a.cmux.test", 65535, ""},
		{"cmux-" + long + "-1.cmux.test", 80, "cmux-" + long + "-80.cmux.test"},
		{"cmux.test", 80, ""},
	} {
		if got := exchangeAt(t, "http", tt.host).sibling(tt.port); got != tt.want {
			t.Errorf("port %d beside %s is %q, want %q", tt.port, tt.host, got, tt.want)
		}
	}
}

func TestSiblingOrigins(t *testing.T) {
	t.Parallel()
	const (
		never = iota
		always
		plain // only where the request came in the clear
	)
	for _, tt := range []struct {
		host, origin string
		want         int
	}{
		{"port-3000-box.cmux.test", "https://port-3000-box.cmux.test", always},
		{"port-3000-box.cmux.test", "https://port-1-box.cmux.test", always},
		{"port-3000-box.cmux.test", "https://port-65535-box.cmux.test", always},
		{"port-3000-box.cmux.test", "http://port-1-box.cmux.test", plain},
		{"port-3000-box.cmux.test", "https://cmux-box-1.cmux.test", always},
		{"port-3000-box.cmux.test", "https://cmux-box-base-1.cmux.test", always},
		{"port-3000-box.cmux.test", "https://manaflow-box-team-1.cmux.test", always},
		{"cmux-box-team-1.cmux.test", "https://port-3000-box.cmux.test", always},
		{"cmux-pvelxc-ab12-1.cmux.test", "https://port-3000-pvelxc-ab12.cmux.test", always},
		{"port-3000-pvelxc-ab12.cmux.test", "https://cmux-pvelxc-ab12-base-1.cmux.test", always},
		{"PORT-3000-BOX.CMUX.TEST.", "https://port-1-box.cmux.test", always},
		{"port-3000-box.cmux.test:8443", "https://port-1-box.cmux.test:8443", always},
		{"port-3000-box.cmux.test:8080", "http://port-1-box.cmux.test:8080", plain},
		{"port-3000-box.cmux.test:443", "https://port-1-box.cmux.test", always},
		{"port-3000-box.cmux.test:80", "http://port-1-box.cmux.test", plain},
		{"port-3000-box.cmux.test:", "https://port-1-box.cmux.test", always},
		{"ws-3000-box.cmux.test", "https://ws-1-box.cmux.test", always},
		{"port-3000-box.cmux.test", "https://ws-1-box.cmux.test", always},

		{"port-3000-box.cmux.test", "https://port-1-box.cmux.test:8443", never},
		{"port-3000-box.cmux.test:8443", "https://port-1-box.cmux.test", never},
		{"port-3000-box.cmux.test:8443", "https://port-1-box.cmux.test:8444", never},
		{"port-3000-box.cmux.test", "https://port-1-box.cmux.test:443", never},
		{"port-3000-box.cmux.test", "https://port-1-boxx.cmux.test", never},
		{"port-3000-box.cmux.test", "https://port-1-bo.cmux.test", never},
		{"port-3000-box.cmux.test", "https://port-1-box-x.cmux.test", never},
		{"port-3000-box-x.cmux.test", "https://cmux-box-x-1.cmux.test", never},
		{"port-3000-box.cmux.test", "https://port-1-box.cmux.app", never},
		{"port-3000-box.cmux.test", "https://port-1-box.dev.cmux.test", never},
		{"port-3000-box.cmux.test", "https://port-1-box.cmux.test.evil.example", never},
		{"port-3000-box.cmux.test", "https://port-1-box.evilcmux.test", never},
		{"port-3000-box.cmux.test", "https://evil.port-1-box.cmux.test", never},
		{"port-3000-box.cmux.test", "https://cmux.test", never},
		{"port-3000-box.cmux.test", "https://box.cmux.test", never},
		{"port-3000-box.cmux.test", "https://port-0-box.cmux.test", never},
		{"port-3000-box.cmux.test", "https://port-01-box.cmux.test", never},
		{"port-3000-box.cmux.test", "https://port-65536-box.cmux.test", never},
		{"port-3000-box.cmux.test", "https://port-1-box.cmux.test.", never},
		{"port-3000-box.cmux.test", "https://port-1-box.cmux.test/", never},
		{"port-3000-box.cmux.test", "https://port-1-box.cmux.test/x", never},
		{"port-3000-box.cmux.test", "https://port-1-box.cmux.test?x", never},
		{"port-3000-box.cmux.test", "https://PORT-1-box.cmux.test", never},
		{"port-3000-box.cmux.test", "HTTPS://port-1-box.cmux.test", never},
		{"port-3000-box.cmux.test", "https://a@port-1-box.cmux.test", never},
		{"port-3000-box.cmux.test", "https://port-1-box.cmux.test@evil.example", never},
		{"port-3000-box.cmux.test", "https://port-1-box.cmux.test, https://evil.example", never},
		{"port-3000-box.cmux.test", " https://port-1-box.cmux.test", never},
		{"port-3000-box.cmux.test", "https:port-1-box.cmux.test", never},
		{"port-3000-box.cmux.test", "//port-1-box.cmux.test", never},
		{"port-3000-box.cmux.test", "port-1-box.cmux.test", never},
		{"port-3000-box.cmux.test", "ws://port-1-box.cmux.test", never},
		{"port-3000-box.cmux.test", "ftp://port-1-box.cmux.test", never},
		{"port-3000-box.cmux.test", "vscode-webview://port-1-box.cmux.test", never},
		{"port-3000-box.cmux.test", "null", never},
		{"port-3000-box.cmux.test", "", never},
		{"port-3000-box.cmux.test", "*", never},
		{"port-3000-box.cmux.test", "https://", never},
		{"port-3000-box.cmux.test", "http://localhost:3000", never},
		{"port-3000-box.cmux.test", "https://%70ort-1-box.cmux.test", never},
		{"port-3000-kx.cmux.test", "https://port-1-\u212Ax.cmux.test", never},
	} {
		for scheme, want := range map[string]bool{"https": tt.want == always, "http": tt.want != never} {
			if got := exchangeAt(t, scheme, tt.host).isSibling(grammar, tt.origin); got != want {
				t.Errorf("%q is a sibling of %s://%s: %v, want %v", tt.origin, scheme, tt.host, got, want)
			}
		}
	}
}

// A sibling is a URL's origin, of the same sandbox and domain, and no more.
func FuzzOrigin(f *testing.F) {
	for _, origin := range []string{
		"https://port-1-box.cmux.test", "http://cmux-box-team-1.cmux.test:8080", "null", "https://port-1-box.cmux.test:08080", "https://[::1]:8080", "https://a@port-1-box.cmux.test",
	} {
		f.Add(origin, "port-3000-box.cmux.test:8080", true)
		f.Add(origin, "cmux-box-3000.cmux.test", false)
	}
	f.Fuzz(func(t *testing.T, origin, host string, plain bool) {
		route, err := grammar.Parse(host)
		if err != nil || route.Form == resolve.Apex {
			return
		}
		x := &Exchange{Scheme: map[bool]string{true: "http", false: "https"}[plain], Route: route}
		if !x.isSibling(grammar, x.Scheme+"://"+x.sibling(1)) && x.sibling(1) != "" && (route.Suffix == "" || len(route.Suffix) == 5) && route.Suffix != ":0443" && route.Suffix != ":0080" {
			t.Errorf("%q is no sibling of %q", x.sibling(1), host)
		}
		if !x.isSibling(grammar, origin) {
			return
		}
		u, err := url.Parse(origin)
		if err != nil || u.Scheme+"://"+u.Host != origin || u.Scheme != "https" && !plain {
			t.Fatalf("%q is a sibling of %q", origin, host)
		}
		other, err := grammar.Parse(u.Host)
		if err != nil || other.Slug != route.Slug || other.Domain != route.Domain {
			t.Errorf("%q is a sibling of %q", origin, host)
		}
	})
}

func TestLocationOfLoopbackBecomesPublic(t *testing.T) {
	t.Parallel()
	const app = "port-3000-box.cmux.test"
	for _, tt := range []struct{ host, value, want string }{
		{app, "http://localhost:3001/a", "https://port-3001-box.cmux.test/a"},
		{app, "https://localhost:3001/a", "https://port-3001-box.cmux.test/a"},
		{app, "HTTP://LocalHost:3001", "https://port-3001-box.cmux.test"},
		{app, "http://127.0.0.1:3001?q", "https://port-3001-box.cmux.test?q"},
		{app, "http://127.9.8.7:3001#f", "https://port-3001-box.cmux.test#f"},
		{app, "http://0.0.0.0:3001/", "https://port-3001-box.cmux.test/"},
		{app, "http://[::1]:3001/", "https://port-3001-box.cmux.test/"},
		{app, "http://[::]:3001/", "https://port-3001-box.cmux.test/"},
		{app, "http://localhost:1/", "https://port-1-box.cmux.test/"},
		{app, "http://localhost:65535/", "https://port-65535-box.cmux.test/"},
		{app, "http://localhost/", "https://port-80-box.cmux.test/"},
		{app, "http://localhost", "https://port-80-box.cmux.test"},
		{app, "http://localhost:/", "https://port-80-box.cmux.test/"},
		{app, "https://localhost/", "https://port-443-box.cmux.test/"},
		{app, "//localhost:3001/x", "https://port-3001-box.cmux.test/x"},
		{app, "//localhost/x", "https://port-80-box.cmux.test/x"},
		{app, "http://u:p@localhost:3001/", "https://port-3001-box.cmux.test/"},
		{app, "http://a@b@localhost:3001/", "https://port-3001-box.cmux.test/"},
		{app, "http://localhost:3001//a/../%2F?x=http://localhost:1/;y&%zz#?/ä", "https://port-3001-box.cmux.test//a/../%2F?x=http://localhost:1/;y&%zz#?/ä"},
		{app + ":8443", "http://localhost:3001/", "https://port-3001-box.cmux.test:8443/"},
		{"cmux-box-3000.cmux.test", "http://localhost:3001/", "https://cmux-box-base-3001.cmux.test/"},
		{"manaflow-box-team-3000.cmux.app", "http://localhost:3001/", "https://manaflow-box-team-3001.cmux.app/"},
		{"cmux-pvelxc-3000.cmux.test", "http://localhost:3001/", "https://cmux-pvelxc-3001.cmux.test/"},
		{"ws-3000-box.cmux.test", "http://localhost:3001/", "https://ws-3001-box.cmux.test/"},

		// The upstream's own authority, and others on its address.
		{app, "http://10.0.0.5:3000/x", "https://port-3000-box.cmux.test/x"},
		{app, "http://10.0.0.5:8080/x", "https://port-8080-box.cmux.test/x"},
		{app, "http://10.0.0.6:3000/x", ""},

		// Everything else stays.
		{app, "", ""},
		{app, "/a", ""},
		{app, "a", ""},
		{app, "?a", ""},
		{app, "//example.com/", ""},
		{app, "https://example.com/", ""},
		{app, "https://port-1-box.cmux.test/", ""},
		{app, "http://localhost.example.com:3000/", ""},
		{app, "http://notlocalhost:3000/", ""},
		{app, "http://app.localhost:3000/", ""},
		{app, "http://128.0.0.1:3000/", ""},
		{app, "http://127.0.0.1.example:3000/", ""},
		{app, "http://127.1:3000/", ""},
		{app, "http://[::2]:3000/", ""},
		{app, "http://[::1%25lo]:3000/", ""},
		{app, "http://::1:3000/", ""},
		{app, "http://[127.0.0.1]:3000/", ""},
		{app, "http://localhost:0/", ""},
		{app, "http://localhost:65536/", ""},
		{app, "http://localhost:03001/", ""},
		{app, "http://localhost:abc/", ""},
		{app, "http://localhost:-1/", ""},
		{app, "http://localhost:+1/", ""},
		{app, "http://localhost:80:80/", ""},
		{app, "http://localhost:3000\\@evil.example/", ""},
		{app, "http://localhost:3000@evil.example/", ""},
		{app, "http://evil.example/@localhost:3000/", ""},
		{app, "http:/localhost:3000/", ""},
		{app, "http:localhost:3000/", ""},
		{app, "ftp://localhost:3000/", ""},
		{app, "ws://localhost:3000/", ""},
		{app, "myapp://localhost:3000/", ""},
		{app, " http://localhost:3000/", ""},
		{app, "/login?next=http://localhost:3000/", ""},
	} {
		want := tt.want
		if want == "" {
			want = tt.value
		}
		x := exchangeAt(t, "https", tt.host)
		if got := x.publicURL(tt.value); got != want {
			t.Errorf("on %s, %q became %q, want %q", tt.host, tt.value, got, want)
		}
		x.Scheme = "http"
		if got := x.publicURL(tt.value); tt.want != "" && got != strings.Replace(want, "https", "http", 1) {
			t.Errorf("on %s in the clear, %q became %q", tt.host, tt.value, got)
		}
	}
}

func TestLocationOfTheUpstreamsOwnAuthorityBecomesPublic(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		host        string
		upstream    sandbox.Upstream
		value, want string
	}{
		{"port-3000-abc.cmux.test", sandbox.Upstream{TLS: true, Address: "port-3000-morphvm-abc.http.cloud.morph.so:443", Authority: "port-3000-morphvm-abc.http.cloud.morph.so"}, "https://port-3000-morphvm-abc.http.cloud.morph.so/a", "https://port-3000-abc.cmux.test/a"},
		{"port-3000-abc.cmux.test", sandbox.Upstream{TLS: true, Authority: "port-3000-morphvm-abc.http.cloud.morph.so"}, "//PORT-3000-morphvm-abc.http.cloud.morph.so:443/a", "https://port-3000-abc.cmux.test/a"},
		{"cmux-abc-ws-3000.cmux.test", sandbox.Upstream{TLS: true, Authority: "port-39379-morphvm-abc.http.cloud.morph.so"}, "https://port-39379-morphvm-abc.http.cloud.morph.so/", "https://cmux-abc-ws-3000.cmux.test/"},
		{"port-3000-abc.cmux.test", sandbox.Upstream{TLS: true, Authority: "port-3000-morphvm-abc.http.cloud.morph.so"}, "https://port-3001-morphvm-abc.http.cloud.morph.so/", ""},
		{"cmux-box-3000.cmux.test", sandbox.Upstream{Address: "10.0.0.5:39379"}, "http://10.0.0.5:39379/", "https://cmux-box-3000.cmux.test/"},
		{"port-80-box.cmux.test", sandbox.Upstream{Address: "10.0.0.5:80"}, "http://10.0.0.5/x", "https://port-80-box.cmux.test/x"},
		{"port-3000-box.cmux.test", sandbox.Upstream{Address: "[fd00::5]:3000"}, "http://[fd00::5]:3000/x", "https://port-3000-box.cmux.test/x"},
		{"port-39378-box.cmux.test", sandbox.Upstream{Address: "127.0.0.1:40001", Named: true}, "http://127.0.0.1:40001/x", "https://port-39378-box.cmux.test/x"},
		{"port-39378-box.cmux.test", sandbox.Upstream{Address: "db.internal:40001", Named: true}, "http://db.internal:40002/x", ""},
	} {
		x := exchangeAt(t, "https", tt.host)
		x.Upstream = tt.upstream
		want := tt.want
		if want == "" {
			want = tt.value
		}
		if got := x.publicURL(tt.value); got != want {
			t.Errorf("on %s, %q became %q, want %q", tt.host, tt.value, got, want)
		}
	}
}

// What is mapped leads to the same sandbox, and keeps what stands behind the
// authority byte for byte; nothing else changes.
func FuzzLocation(f *testing.F) {
	for _, value := range []string{
		"http://localhost:3001/a?b#c", "//[::1]:80", "http://u@127.0.0.1:99999/", "https://10.0.0.5:3000/\x80", "/x", "http://localhost:1\\@x/", "//0.0.0.0:01", "http://localhost:3001@x",
	} {
		f.Add(value, "port-3000-box.cmux.test:8080")
		f.Add(value, "cmux-box-ws-1.cmux.test")
		f.Add(value, "a-1-box.cmux.test")
	}
	f.Fuzz(func(t *testing.T, value, host string) {
		route, err := grammar.Parse(host)
		if err != nil || route.Form == resolve.Apex {
			return
		}
		x := &Exchange{Scheme: "https", Route: route, Upstream: sandbox.Upstream{Address: "10.0.0.5:3000"}}
		got := x.publicURL(value)
		if got == value {
			return
		}
		rest, ok := strings.CutPrefix(got, "https://")
		if !ok {
			t.Fatalf("%q became %q", value, got)
		}
		end := strings.IndexAny(rest, "/?#")
		if end < 0 {
			end = len(rest)
		}
		to, err := grammar.Parse(rest[:end])
		if err != nil || to.Slug != route.Slug || to.Domain != route.Domain || to.Suffix != route.Suffix || to.Scope != route.Scope || to.Workspace != route.Workspace {
			t.Errorf("%q became %q, which is not beside %q: %v", value, got, host, err)
		}
		if !strings.HasSuffix(value, rest[end:]) {
			t.Errorf("%q became %q", value, got)
		}
		if again := x.publicURL(got); again != got {
			t.Errorf("%q became %q, and that %q", value, got, again)
		}
	})
}

func TestDevToolsLeadBackThroughTheEdge(t *testing.T) {
	t.Parallel()
	const page = `[ {
   "description": "http://localhost:39382/ stays",
   "devtoolsFrontendUrl": "https://chrome-devtools-frontend.appspot.com/serve_rev/@1/inspector.html?ws=%[1]s/devtools/page/A",
   "url": "ws://localhost:1/",
   "webSocketDebuggerUrl": "%[2]s%[1]s/devtools/page/A"
}, {"devtoolsFrontendUrl":"/devtools/inspector.html?a=1&ws=%[1]s/devtools/page/B", "webSocketDebuggerUrl":"%[2]s%[1]s/devtools/page/B"} ]`
	for _, tt := range []struct{ authority, scheme, want, param, wants string }{
		{"localhost:39382", "http", "port-39381-box.cmux.test", "ws", "ws://"},
		{"127.0.0.1:9222", "https", "port-39381-box.cmux.test", "wss", "wss://"},
		{"[::1]", "https", "port-39381-box.cmux.test", "wss", "wss://"},
		{"port-39381-box.cmux.test", "https", "port-39381-box.cmux.test", "ws", "ws://"},
		{"chrome.example:9222", "https", "chrome.example:9222", "ws", "ws://"},
	} {
		x := exchangeAt(t, tt.scheme, "port-39381-box.cmux.test")
		got := string(mapDevTools(fmt.Appendf(nil, page, tt.authority, "ws://"), x))
		want := strings.ReplaceAll(fmt.Sprintf(page, tt.want, tt.wants), "?ws=", "?"+tt.param+"=")
		want = strings.ReplaceAll(want, "&ws=", "&"+tt.param+"=")
		if got != want {
			t.Errorf("%s over %s: got\n%s\nwant\n%s", tt.authority, tt.scheme, got, want)
		}
	}
}
