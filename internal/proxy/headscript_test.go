package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	document1 = "<!doctype html><html><head><title>x</title></head><body>y</body></html>"
	document2 = "<!doctype html><html><head>" + headElement + "<title>x</title></head><body>y</body></html>"
)

func withHeadScript(c *Config) { c.HeadScript, c.TrustedProxies = true, loopback }

func TestHeadScriptGoesIntoDocumentsOfAppsOnly(t *testing.T) {
	t.Parallel()
	const (
		html     = "Content-Type: text/html"
		document = "Sec-Fetch-Dest: document"
	)
	for _, tt := range []struct {
		name, host, request, answer string
		want                        bool
	}{
		{"a document", appHost, document, html, true},
		{"a document in a frame", appHost, "Sec-Fetch-Dest: iframe", html, true},
		{"a document in an old frame", appHost, "Sec-Fetch-Dest: frame", html, true},
		{"a document of a browser that does not tell", appHost, "", html, true},
		{"a document with its charset", appHost, document, "Content-Type: Text/HTML; charset=\"UTF-8\"", true},
		{"a document of an old charset", appHost, document, "Content-Type: text/html; charset=shift_jis", true},
		{"in the proxy form", "cmux-box-ws-3000.cmux.test", document, html, true},
		{"in the freestyle form", "ws-3000-box.cmux.test", document, html, true},
		{"what a script fetches", appHost, "Sec-Fetch-Dest: empty", html, false},
		{"what an image shows", appHost, "Sec-Fetch-Dest: image", html, false},
		{"no HTML", appHost, document, "Content-Type: text/plain", false},
		{"XHTML", appHost, document, "Content-Type: application/xhtml+xml", false},
		{"no type", appHost, document, "X-A: b", false},
		{"a broken type", appHost, document, "Content-Type: text/html; charset", false},
		{"a charset of two bytes", appHost, document, "Content-Type: text/html; charset=UTF-16LE", false},
		{"a download", appHost, document, html + " | Content-Disposition: attachment; filename=x.html", false},
		{"shown inline", appHost, document, html + " | Content-Disposition: inline", true},
		{"not to be transformed", appHost, document, html + " | Cache-Control: no-transform", false},
		{"an unknown coding", appHost, document, html + " | Content-Encoding: deflate", false},
		{"two codings", appHost, document, html + " | Content-Encoding: gzip, br", false},
		{"a coding that it is not in", appHost, document, html + " | Content-Encoding: gzip", false},
		{"a CSP that allows it", appHost, document, html + " | Content-Security-Policy: default-src 'self'", true},
		{"a CSP with nonces", appHost, document, html + " | Content-Security-Policy: script-src 'nonce-a'", false},
		{"a CSP with strict-dynamic", appHost, document, html + " | Content-Security-Policy: script-src 'self' 'strict-dynamic'", false},
		{"a second CSP that forbids it", appHost, document, html + " | Content-Security-Policy: img-src * | Content-Security-Policy: default-src 'none'", false},
		{"a CSP that only reports", appHost, document, html + " | Content-Security-Policy-Report-Only: default-src 'none'", true},
		{"a CSP with this host and port", appHost + ":8443", document + " | X-Forwarded-Proto: https", html + " | Content-Security-Policy: script-src https://port-3000-box.cmux.test:8443", true},
		{"a CSP with this host on another port", appHost + ":8443", document + " | X-Forwarded-Proto: https", html + " | Content-Security-Policy: script-src https://port-3000-box.cmux.test", false},
		{"exec", "port-39375-box.cmux.test", document, html, false},
		{"node worker", "port-39376-box.cmux.test", document, html, false},
		{"worker", "port-39377-box.cmux.test", document, html, false},
		{"code", "port-39378-box.cmux.test", document, html, false},
		{"code in the proxy form", "cmux-box-39378.cmux.test", document, html, false},
		{"proxy", "port-39379-box.cmux.test", document, html, false},
		{"VNC", "port-39380-box.cmux.test", document, html, false},
		{"DevTools", "port-39381-box.cmux.test", document, html, false},
		{"Chrome", "port-39382-box.cmux.test", document, html, false},
		{"terminal", "port-39383-box.cmux.test", document, html, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := newEdge(t, serveRaw(t, func(w *wire) {
				w.head()
				w.send(fmt.Sprintf("HTTP/1.1 404 Not Found\nEtag: \"v\"\nDigest: x\nContent-Length: %d\n%s\n%s", len(document1), lines(tt.answer), document1))
			}), withHeadScript)
			resp, body := e.get(t, tt.host, lines(tt.request))
			want := document1
			if tt.want {
				want = document2
			}
			if body != want {
				t.Errorf("got %q, want %q", body, want)
			}
			kept := resp.Header.Get("Etag") != "" && resp.Header.Get("Digest") != "" && resp.ContentLength == int64(len(document1))
			gone := resp.Header.Get("Etag") == "" && resp.Header.Get("Digest") == "" && resp.ContentLength == -1
			if tt.want && !gone || !tt.want && !kept {
				t.Errorf("the header describes another body: %v", resp.Header)
			}
		})
	}
}

func TestHeadScriptOffLeavesEveryByte(t *testing.T) {
	t.Parallel()
	e := newEdge(t, serveRaw(t, func(w *wire) {
		w.head()
		w.send(fmt.Sprintf("HTTP/1.1 200 OK\nEtag: x\nContent-Type: text/html\nContent-Length: %d\n\n%s", len(document1), document1))
	}))
	if resp, body := e.get(t, appHost, "Sec-Fetch-Dest: document\n"); body != document1 || resp.Header.Get("Etag") != "x" {
		t.Errorf("got %q, %v", body, resp.Header)
	}
}

func TestHeadScriptGoesIntoCompressedDocuments(t *testing.T) {
	t.Parallel()
	fragment := "<p>" + strings.Repeat("no document ", 100)
	for _, name := range []string{"gzip", "br", "zstd"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := codingOf([]string{name})
			long := document1 + strings.Repeat("<p>and more of it</p>\n", 20_000)
			for text, want := range map[string]string{
				document1: document2,
				long:      document2 + long[len(document1):],
				fragment:  "",
			} {
				sent := compress(t, c, text)
				e := newEdge(t, serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Type", "text/html")
					w.Header().Set("Content-Encoding", name)
					w.Header().Set("Trailer", "X-Sum")
					_, _ = w.Write(sent)
					w.Header().Set("X-Sum", "9")
				}), withHeadScript)
				resp, body := e.get(t, appHost, "")
				if resp.Header.Get("Content-Encoding") != name || resp.Trailer.Get("X-Sum") != "9" {
					t.Errorf("header %v, trailer %v", resp.Header, resp.Trailer)
				}
				if want == "" {
					if body != string(sent) {
						t.Error("a fragment has changed")
					}
					continue
				}
				if got := string(decompress(t, c, []byte(body))); got != want {
					t.Errorf("%d bytes became %d, want %d", len(text), len(got), len(want))
				}
			}
		})
	}
}

// The client gets each piece before the sandbox sends the next, compressed or
// not.
func TestHeadScriptHoldsNoPieceOfAStreamBack(t *testing.T) {
	t.Parallel()
	parts := []string{"<!doctype html><head>", "<title>x</title>", "<body><p>one", "<p>two"}
	for _, name := range []string{"", "gzip", "br", "zstd"} {
		t.Run("coding "+name, func(t *testing.T) {
			t.Parallel()
			c, _ := codingOf([]string{name})
			got := make(chan string)
			e := newEdge(t, serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/html")
				var out interface {
					io.Writer
					Flush() error
				} = flushing{w}
				if c.encode != nil {
					w.Header().Set("Content-Encoding", name)
					enc := c.encode(w)
					defer enc.Close()
					out = enc
				}
				for i, part := range parts {
					_, _ = io.WriteString(out, part)
					_ = out.Flush()
					_ = http.NewResponseController(w).Flush()
					want := part
					if i == 0 {
						want += headElement
					}
					for seen := ""; len(seen) < len(want); {
						select {
						case s := <-got:
							seen += s
						case <-time.After(patience):
							t.Errorf("%q was held back", want[len(seen):])
							return
						}
					}
				}
			}), withHeadScript)
			w := e.dial(t)
			w.send("GET / HTTP/1.1\nHost: " + appHost + "\n\n")
			body := io.ReadCloser(w.response(http.MethodGet).Body)
			if c.decode != nil {
				var err error
				if body, err = c.decode(body); err != nil {
					t.Fatal(err)
				}
			}
			for {
				var buf [64]byte
				n, err := body.Read(buf[:])
				if n > 0 {
					got <- string(buf[:n])
				}
				if err != nil {
					return
				}
			}
		})
	}
}

type flushing struct{ http.ResponseWriter }

func (f flushing) Flush() error { return http.NewResponseController(f.ResponseWriter).Flush() }

// An answer that breaks off must not look whole, with the script in it or not.
func TestHeadScriptTruncatesWhatTheSandboxTruncates(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "gzip", "br", "zstd"} {
		for _, text := range []string{"<p", document1 + strings.Repeat("y", 1<<16)} {
			c, _ := codingOf([]string{name})
			sent := []byte(text)
			if c.encode != nil {
				sent = compress(t, c, text)
			}
			e := newEdge(t, serveRaw(t, func(w *wire) {
				w.head()
				w.send(fmt.Sprintf("HTTP/1.1 200 OK\nContent-Type: text/html\nContent-Encoding: %s\nContent-Length: %d\n\n", name, len(sent)+1))
				_, _ = w.Write(sent)
			}), withHeadScript)
			w := e.dial(t)
			w.send("GET / HTTP/1.1\nHost: " + appHost + "\nSec-Fetch-Dest: document\n\n")
			if body, err := io.ReadAll(w.response(http.MethodGet).Body); err == nil {
				t.Errorf("%d bytes in %q arrived as %d, and whole", len(text), name, len(body))
			}
		}
	}
}

func TestHeadScriptNeedsNoMoreMemoryForMore(t *testing.T) {
	if testing.Short() {
		t.Skip("200 MB are not short")
	}
	block := []byte(strings.Repeat("<p>one paragraph of very many</p>\n", 1000))
	for name, size := range map[string]int{"": 200 << 20, "gzip": 40 << 20} {
		c, _ := codingOf([]string{name})
		e := newEdge(t, serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			var out io.Writer = w
			if c.encode != nil {
				w.Header().Set("Content-Encoding", name)
				enc := c.encode(w)
				defer enc.Close()
				out = enc
			}
			_, _ = io.WriteString(out, "<!doctype html><head>")
			for sent := 0; sent < size; sent += len(block) {
				_, _ = out.Write(block)
			}
		}), withHeadScript)
		w := e.dial(t)
		_ = w.SetDeadline(time.Now().Add(10 * patience))
		w.send("GET / HTTP/1.1\nHost: " + appHost + "\n\n")
		body := io.Reader(w.response(http.MethodGet).Body)
		if c.decode != nil {
			var err error
			if body, err = c.decode(body); err != nil {
				t.Fatal(err)
			}
		}
		head := make([]byte, len("<!doctype html><head>"+headElement))
		if _, err := io.ReadFull(body, head); err != nil || !bytes.HasSuffix(head, []byte(headElement)) {
			t.Fatalf("it begins with %q: %v", head, err)
		}
		var total, growth int
		for before := heap(); ; {
			n, err := io.CopyN(io.Discard, body, 20<<20)
			total += int(n)
			growth = max(growth, heap()-before)
			if err != nil {
				break
			}
		}
		if total < size {
			t.Errorf("%d bytes arrived in %q, want %d", total, name, size)
		}
		if growth > 4<<20 {
			t.Errorf("the heap grew by %d bytes in %q", growth, name)
		}
	}
}

// heap is what is in use.
func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

func TestDevToolsAnswersAreMappedOnTheirPortOnly(t *testing.T) {
	t.Parallel()
	const text = `{"webSocketDebuggerUrl": "ws://localhost:39382/devtools/browser/1"}`
	const mapped = `{"webSocketDebuggerUrl": "ws://port-39381-box.cmux.test/devtools/browser/1"}`
	long := strings.Repeat(" ", maxDevToolsAnswer) + text
	for _, tt := range []struct{ name, host, path, kind, text, want string }{
		{"version", "port-39381-box.cmux.test", "/json/version", "application/json; charset=UTF-8", text, mapped},
		{"list", "port-39381-box.cmux.test", "/json", "application/json", text, mapped},
		{"new page", "port-39381-box.cmux.test", "/json/new?about:blank", "application/json", text, mapped},
		{"in the proxy form", "cmux-box-39381.cmux.test", "/json", "application/json", text, strings.Replace(mapped, "port-39381-box", "cmux-box-39381", 1)},
		{"too long for a list", "port-39381-box.cmux.test", "/json", "application/json", long, long},
		{"another path", "port-39381-box.cmux.test", "/jsonx", "application/json", text, text},
		{"another type", "port-39381-box.cmux.test", "/json", "text/html", text, text},
		{"another port", "port-39378-box.cmux.test", "/json", "application/json", text, text},
		{"an app", appHost, "/json", "application/json", text, text},
	} {
		for _, length := range []bool{true, false} {
			e := newEdge(t, serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", tt.kind)
				if length {
					w.Header().Set("Content-Length", fmt.Sprint(len(tt.text)))
				}
				_, _ = io.WriteString(w, tt.text)
			}))
			w := e.dial(t)
			w.send("GET " + tt.path + " HTTP/1.1\nHost: " + tt.host + "\n\n")
			got, err := io.ReadAll(w.response(http.MethodGet).Body)
			if diff := cmp.Diff(tt.want, string(got)); diff != "" || err != nil {
				t.Errorf("%s: %v (-want +got):\n%s", tt.name, err, diff)
			}
		}
	}
}
