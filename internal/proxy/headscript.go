package proxy

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"cmux.sh/edge/internal/csp"
)

// headScriptPath is where documents find the script.
const headScriptPath = ownPath + "head.js"

// headElement is what a document gets.
const headElement = `<script src="` + headScriptPath + `"></script>`

// maxRecorded bounds what is kept of a compressed body while its head is
// looked for. A well-meant one decodes to more than maxBeforeHead long before.
const maxRecorded = 256 << 10

// headScript is a function of the options below.
//
//go:embed head.js
var headScript []byte

// headOptions are what the script needs to know.
type headOptions struct {
	// Before and After stand around the port in the sandbox's public hosts.
	Before string `json:"before"`
	After  string `json:"after"`
	// Retire unregisters the service workers of the router before this one.
	Retire bool `json:"retire"`
}

// serveHeadScript serves the script, with the names of x's sandbox in it.
func (p *pages) serveHeadScript(w http.ResponseWriter, r *http.Request, x *Exchange) {
	before, after := x.around()
	options, _ := json.Marshal(headOptions{before, after, p.retire}) // strings and a bool always encode
	body := fmt.Appendf(nil, "%s(%s)\n", bytes.TrimSpace(headScript), options)
	sum := sha256.Sum256(body)
	tag := `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`

	h := w.Header()
	h.Set("Content-Type", "text/javascript; charset=utf-8")
	h.Set("Cache-Control", "max-age=300")
	h.Set("Etag", tag)
	h.Set("X-Content-Type-Options", "nosniff")
	if hasToken(r.Header["If-None-Match"], tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // a client that left needs no answer
	}
}

// ofUnchangedBody are the headers that hold only for the bytes that the
// upstream sent.
var ofUnchangedBody = [...]string{
	"Accept-Ranges", "Content-Digest", "Content-Length", "Content-Md5", "Digest", "Etag", "Repr-Digest",
}

// insertHeadScript puts the script's element first into the head of a document.
// It reads the body up to that place; the rest streams on. Where there is no
// such place the body stays what it was, byte for byte.
func insertHeadScript(resp *http.Response, r *http.Request, x *Exchange) {
	proven, ok := document(resp, r)
	if !ok || !csp.AllowsScript(resp.Header["Content-Security-Policy"], headScriptURL(x)) {
		return
	}
	c, ok := codingOf(resp.Header["Content-Encoding"])
	if !ok {
		return
	}
	if r.Method == http.MethodHead {
		// What a GET would get is not known without its body; nothing is said
		// of it then (RFC 9110 section 9.3.2).
		dropBodyHeaders(resp)
		return
	}
	raw := &recorder{from: resp.Body, limit: maxRecorded}
	body := resp.Body
	plain := io.ReadCloser(reading{raw, body})
	if c.decode != nil {
		var err error
		if plain, err = c.decode(raw); err != nil {
			resp.Body = raw.replay(body)
			return
		}
	}
	f := headFinder{proven: proven}
	at, err := f.read(plain)
	if at < 0 {
		if c.decode != nil {
			_ = plain.Close() // it only decoded
		}
		resp.Body = raw.replay(body)
		return
	}
	raw.stop()
	rest := io.MultiReader(strings.NewReader(string(f.seen[:at])+headElement+string(f.seen[at:])), failing(err, plain))
	if c.decode == nil {
		resp.Body = reading{rest, body}
	} else {
		again := newRecoder(c, rest, body)
		resp.Body = reading{again, closers{again, plain, body}}
	}
	dropBodyHeaders(resp)
}

// dropBodyHeaders takes out of an answer what is true only of the body that the
// upstream sent.
func dropBodyHeaders(resp *http.Response) {
	resp.ContentLength = -1
	for _, name := range ofUnchangedBody {
		delete(resp.Header, name)
	}
}

// document tells whether an answer may be a document that a browser shows as a
// page of its own or in a frame, and whether that is proven: browsers say what
// a request is for, but only where the context is secure (W3C Fetch Metadata).
func document(resp *http.Response, r *http.Request) (proven, ok bool) {
	kind, params, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || kind != "text/html" || !asciiBased(params["charset"]) {
		return false, false
	}
	disposition, _, _ := strings.Cut(resp.Header.Get("Content-Disposition"), ";")
	switch {
	case resp.StatusCode == http.StatusPartialContent, resp.ContentLength == 0,
		strings.EqualFold(strings.TrimSpace(disposition), "attachment"),
		hasToken(resp.Header["Cache-Control"], "no-transform"):
		return false, false
	}
	switch dest := r.Header["Sec-Fetch-Dest"]; {
	case len(dest) == 0:
		return false, true
	case dest[0] == "document", dest[0] == "iframe", dest[0] == "frame":
		return true, true
	}
	return false, false
}

// asciiBased tells whether text in a charset has ASCII's bytes where it has
// ASCII's characters.
func asciiBased(charset string) bool {
	charset = strings.ToLower(charset)
	for _, other := range [...]string{"utf-16", "utf-32", "utf-7", "ucs-", "iso-10646", "unicode", "csunicode"} {
		if strings.HasPrefix(charset, other) && charset != "unicode-1-1-utf-8" {
			return false
		}
	}
	return true
}

// headScriptURL is the script's address as a policy sees it.
func headScriptURL(x *Exchange) csp.URL {
	port, _ := strconv.Atoi(strings.TrimPrefix(x.Route.Suffix, ":")) // 0 where there is none
	return csp.URL{Scheme: x.Scheme, Host: x.Route.Host, Port: port, Path: headScriptPath}
}

// read feeds the finder until it decides, and returns the place, or -1. The
// error is that which ended the text, if it did.
func (f *headFinder) read(plain io.Reader) (int, error) {
	f.seen = make([]byte, 0, 4<<10)
	for {
		if len(f.seen) == cap(f.seen) {
			f.seen = append(f.seen, make([]byte, len(f.seen))...)[:len(f.seen)]
		}
		n, err := plain.Read(f.seen[len(f.seen):cap(f.seen)])
		f.seen = f.seen[:len(f.seen)+n]
		at, verdict := f.find(errors.Is(err, io.EOF))
		switch {
		case verdict == headFound:
			return at, err
		case verdict == noHead, err != nil:
			return -1, err
		}
	}
}

// errRecorded ends the search in a body that takes too much to decode.
var errRecorded = errors.New("too much to keep")

// recorder remembers what is read through it until it is stopped.
type recorder struct {
	from  io.Reader
	limit int
	seen  []byte
	err   error
}

// Read implements io.Reader.
func (r *recorder) Read(p []byte) (int, error) {
	if r.limit == 0 {
		return r.from.Read(p)
	}
	if r.err != nil {
		return 0, r.err
	}
	if len(r.seen) >= r.limit {
		return 0, errRecorded
	}
	n, err := r.from.Read(p)
	r.seen, r.err = append(r.seen, p[:n]...), err
	return n, err
}

// stop makes it forget and only pass on.
func (r *recorder) stop() {
	r.seen, r.limit = nil, 0
	if r.err != nil {
		r.from = errorReader{r.err}
	}
}

// replay is the body as if nothing had been read of it.
func (r *recorder) replay(body io.ReadCloser) io.ReadCloser {
	return reading{io.MultiReader(bytes.NewReader(r.seen), failing(r.err, body)), body}
}

// closers closes all.
type closers []io.Closer

func (c closers) Close() error {
	var err error
	for _, each := range c {
		err = errors.Join(err, each.Close())
	}
	return err
}
