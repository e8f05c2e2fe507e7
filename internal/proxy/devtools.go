package proxy

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// maxDevToolsAnswer bounds the lists of pages and versions that are rewritten;
// the protocol's description, which has no addresses, is longer.
const maxDevToolsAnswer = 256 << 10

// Addresses in the JSON of the DevTools protocol. The second is a page's,
// which takes the address of its WebSocket as a parameter.
var (
	webSocketURL = regexp.MustCompile(`("webSocketDebuggerUrl"\s*:\s*")wss?://([^"\\/?#]+)`)
	frontendURL  = regexp.MustCompile(`("devtoolsFrontendUrl"\s*:\s*"[^"\\]*[?&])wss?=([^"\\/?#&]+)`)
)

// redirectDevTools makes the loopback addresses in an answer to /json, /json/…
// lead to the port that was asked. A Chrome that is told another Host writes
// that itself; the one in a sandbox is told localhost, because it refuses names
// that it does not know. An answer too long to be a list is passed on as it
// comes.
func redirectDevTools(resp *http.Response, r *http.Request, x *Exchange) {
	path, _, _ := strings.Cut(rawTarget(r.RequestURI), "?")
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if path != "/json" && !strings.HasPrefix(path, "/json/") || kind != "application/json" ||
		resp.Header.Get("Content-Encoding") != "" || resp.ContentLength == 0 || resp.ContentLength > maxDevToolsAnswer || resp.StatusCode == http.StatusPartialContent {
		return
	}
	if r.Method == http.MethodHead {
		dropBodyHeaders(resp)
		return
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxDevToolsAnswer+1))
	if err != nil || len(text) > maxDevToolsAnswer {
		resp.Body = reading{io.MultiReader(bytes.NewReader(text), failing(err, resp.Body)), resp.Body}
		return
	}
	mapped := mapDevTools(text, x)
	resp.Body = reading{bytes.NewReader(mapped), resp.Body}
	if bytes.Equal(mapped, text) {
		return
	}
	dropBodyHeaders(resp)
	resp.ContentLength = int64(len(mapped))
	resp.Header["Content-Length"] = []string{strconv.Itoa(len(mapped))}
}

func mapDevTools(text []byte, x *Exchange) []byte {
	scheme := map[string]string{"http": "ws", "https": "wss"}[x.Scheme]
	public := x.Route.Host + x.Route.Suffix
	for pattern, between := range map[*regexp.Regexp]string{webSocketURL: "://", frontendURL: "="} {
		text = pattern.ReplaceAllFunc(text, func(match []byte) []byte {
			part := pattern.FindSubmatch(match)
			if host, _, ok := splitAuthority(string(part[2]), "http"); !ok || !isLoopback(host) {
				return match
			}
			return append(bytes.Clone(part[1]), scheme+between+public...)
		})
	}
	return text
}

// reading is a body that is read through something else.
type reading struct {
	io.Reader
	io.Closer
}

// failing continues with rest, or ends with the error that came before it.
func failing(err error, rest io.Reader) io.Reader {
	if err == nil {
		return rest
	}
	return errorReader{err}
}

// errorReader is where reading ends.
type errorReader struct{ err error }

func (e errorReader) Read([]byte) (int, error) { return 0, e.err }
