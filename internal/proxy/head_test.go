package proxy

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"cmux.sh/edge/internal/resolve"
)

// In each document | is where the script goes; without one it goes nowhere.
func TestHeadFinder(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, text       string
		proven, unproven bool
	}{
		{"a head", "<!doctype html><html><head>|<title>x</title>", true, true},
		{"a head in capitals with attributes", "<HTML lang=en>\n<HEAD data-x='>'>|<meta charset=utf-8>", true, true},
		{"a head closed like XML", "<html><head/>|<title>x", true, true},
		{"comments first", "<!-- <head> --><!doctype html><!-- > --><html><!----><head>|", true, true},
		{"an XML declaration", "<?xml version='1.0'?><!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0\" \"x\"><html xmlns='x'><head>|", true, true},
		{"a byte order mark", "\xEF\xBB\xBF<!doctype html><head>|", true, true},
		{"a byte order mark and text", "\xEF\xBB\xBF|text", true, false},
		{"a byte order mark of UTF-16", "\xFF\xFE<\x00h\x00t\x00m\x00l\x00>\x00", false, false},
		{"the other byte order mark of UTF-16", "\xFE\xFF\x00<\x00h", false, false},
		{"no head, a title", "<!doctype html>\n|<title>x</title>", true, true},
		{"no head, a link after html", "<!doctype html><html>\n|<link rel=icon>", true, true},
		{"no head, a body", "<html>|<body>x", true, true},
		{"no head, text", "<!doctype html>|hello <b>x</b>", true, true},
		{"no head, its end", "<html>|</head><body>", true, true},
		{"no head, a frameset", "|<frameset><frame></frameset>", true, true},
		{"only a title", "|<title>x</title>", true, true},
		{"only a meta", " |<meta charset=utf-8>", true, true},
		{"a stray end tag", "<!doctype html></p></div><html><head>|", true, true},
		{"a fragment", "|<div>x</div>", true, false},
		{"text", "|hello", true, false},
		{"text with a <", "|a < b", true, false},
		{"a head inside a fragment", "|<p>x</p><head>", true, false},
		{"a head in a comment that never ends", "<!doctype html><!-- <head>", false, false},
		{"a tag that never ends", "<!doctype html><head", false, false},
		{"nothing", "", false, false},
		{"space", " \n", false, false},
		{"a doctype alone", "<!doctype html>", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			before, after, _ := strings.Cut(tt.text, "|")
			for proven, found := range map[bool]bool{true: tt.proven, false: tt.unproven} {
				want := -1
				if found {
					want = len(before)
				}
				for how, r := range map[string]io.Reader{
					"at once":         strings.NewReader(before + after),
					"byte by byte":    iotest.OneByteReader(strings.NewReader(before + after)),
					"with its end":    iotest.DataErrReader(strings.NewReader(before + after)),
					"in halves of it": iotest.HalfReader(strings.NewReader(before + after)),
				} {
					f := headFinder{proven: proven}
					if got, _ := f.read(r); got != want {
						t.Errorf("proven %v, %s: found at %d, want %d", proven, how, got, want)
					}
				}
			}
		})
	}
}

// A stream is not held back longer than it takes to know where the head is.
func TestHeadFinderDecidesAsSoonAsItCan(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"<!doctype html><head>", "<head>", "h", "<b>", " x", "<!doctype html>text", "<html></body>",
	} {
		f := headFinder{proven: true, seen: []byte(text)}
		if _, v := f.find(false); v != headFound {
			t.Errorf("%q: not decided", text)
		}
		for n := range len(text) - 1 {
			f := headFinder{proven: true, seen: []byte(text[:n])}
			if at, v := f.find(false); v == noHead || v == headFound && !strings.Contains(text[:n], "html>t") {
				t.Errorf("%q: decided %v at %d after %d bytes", text, v, at, n)
			}
		}
	}
	long := headFinder{proven: true, seen: []byte("<!--" + strings.Repeat(" ", maxBeforeHead))}
	if _, v := long.find(false); v != noHead {
		t.Errorf("after %d bytes of a comment: %v, want to give up", len(long.seen), v)
	}
}

// Taking the element out gives the original back; it is the first of the head
// as a browser's parser sees it; and how the text is cut means nothing.
func FuzzInsertHeadScript(f *testing.F) {
	for _, seed := range []string{
		"<!doctype html><html><head><title>x</title></head><body>y</body></html>", "<html><!-- --><head a='>'>x", "</p><head>", "text",
		"<b>x</b>", "\xEF\xBB\xBF<head>", "<?xml?><html>", "<!doctype><title>", "<frameset>", "</br>x", "<html/><head/><", "</ x><head>", "<!><html></>",
	} {
		f.Add(seed, true, 3, "")
		f.Add(seed, false, 1, "gzip")
		f.Add(seed, true, 7, "br")
		f.Add(seed, true, 100, "zstd")
	}
	x := &Exchange{Scheme: "http", Route: resolve.Route{Form: resolve.Port, Prefix: "port-", Host: appHost, Domain: "cmux.test", Slug: "box", Port: 3000}}
	f.Fuzz(func(t *testing.T, text string, proven bool, piece int, coding string) {
		c, ok := codingOf([]string{coding})
		if !ok {
			return
		}
		sent := []byte(text)
		if c.encode != nil {
			sent = compress(t, c, text)
		}
		r := &http.Request{Method: http.MethodGet, Header: http.Header{}}
		if proven {
			r.Header["Sec-Fetch-Dest"] = []string{"document"}
		}
		resp := &http.Response{
			StatusCode: 200, ContentLength: int64(len(sent)),
			Header: http.Header{"Content-Type": {"text/html"}, "Content-Encoding": {coding}, "Etag": {"x"}},
			Body:   io.NopCloser(&pieces{bytes.NewReader(sent), max(piece%64, 1)}),
		}
		insertHeadScript(resp, r, x)
		got, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		whole := headFinder{proven: proven, seen: []byte(text)}
		at, verdict := whole.find(true)
		if changed := resp.Header.Get("Etag") == ""; changed != (verdict == headFound) {
			t.Fatalf("%q: the header says that it changed: %v; the whole text: %v", text, changed, verdict)
		} else if !changed {
			if !bytes.Equal(got, sent) {
				t.Errorf("%q in %q became %q", text, coding, got)
			}
			return
		}
		if c.decode != nil {
			got = decompress(t, c, got)
		}
		if want := text[:at] + headElement + text[at:]; string(got) != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
		checkFirstInHead(t, string(got))
	})
}

func checkFirstInHead(t *testing.T, text string) {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(strings.TrimPrefix(text, "\xEF\xBB\xBF"))) // a browser has taken it off by then
	if err != nil {
		return // too deep for it
	}
	for n := range doc.Descendants() {
		if n.DataAtom != atom.Head {
			continue
		}
		for child := range n.ChildNodes() {
			if child.Type == html.ElementNode {
				if child.DataAtom != atom.Script || len(child.Attr) != 1 || child.Attr[0].Val != headScriptPath {
					t.Errorf("%q: the head begins with %s", text, child.Data)
				}
				return
			}
		}
	}
	t.Errorf("%q has nothing in its head", text)
}

// pieces reads at most size bytes at a time.
type pieces struct {
	io.Reader
	size int
}

func (p *pieces) Read(b []byte) (int, error) { return p.Reader.Read(b[:min(len(b), p.size)]) }

func compress(t testing.TB, c coding, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	e := c.encode(&b)
	if _, err := io.WriteString(e, text); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func decompress(t testing.TB, c coding, data []byte) []byte {
	t.Helper()
	r, err := c.decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("decode: %v", err)
	}
	return text
}
