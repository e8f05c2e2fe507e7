package proxy

import (
	"bytes"
	"io"
	"strings"

	"golang.org/x/net/html"
)

// maxBeforeHead is how much of a document is looked at to find its head.
const maxBeforeHead = 16 << 10

// headFinder finds the place in a document where an element would become the
// first of its head. It is fed the document piece by piece and decides as soon
// as what it has decides it, however the pieces are cut.
type headFinder struct {
	// proven says that the text is known to be a document. Otherwise it must
	// begin as one: what a script has fetched to put into its page does not.
	proven bool

	seen []byte // all that was fed
	at   int    // behind the tokens that decided nothing
}

// verdict is what a headFinder knows.
type verdict uint8

const (
	undecided verdict = iota
	headFound
	noHead
)

// find looks at what was fed; final says that there is no more. It returns the
// offset of the place when that is found.
func (f *headFinder) find(final bool) (int, verdict) {
	if v := f.mark(final); v != headFound {
		return 0, v
	}
	text := &starving{rest: f.seen[f.at:]}
	z := html.NewTokenizer(text)
	for {
		kind := z.Next()
		raw := z.Raw()
		incomplete := text.starved && !final
		switch kind {
		case html.ErrorToken:
			return f.wait(final)
		case html.TextToken:
			if incomplete { // it may end in the beginning of a tag
				raw = bytes.TrimSuffix(bytes.TrimSuffix(raw, []byte("/")), []byte("<"))
			}
			switch {
			case len(bytes.Trim(raw, "\t\n\f\r ")) > 0:
				return f.decide("")
			case incomplete:
				return f.wait(final)
			}
		case html.CommentToken, html.DoctypeToken:
			if incomplete {
				return f.wait(final)
			}
			f.proven = f.proven || kind == html.DoctypeToken
		case html.StartTagToken, html.SelfClosingTagToken:
			switch name, _ := z.TagName(); string(name) {
			case "html":
				f.proven = true
			case "head":
				return f.at + len(raw), headFound
			default:
				return f.decide(string(name))
			}
		case html.EndTagToken:
			// Others are ignored where a head may begin.
			switch name, _ := z.TagName(); string(name) {
			case "head", "body", "html", "br":
				return f.decide("")
			}
		}
		f.at += len(raw)
	}
}

// mark skips the byte order mark of UTF-8. Any other says that the text is not
// in a superset of ASCII.
func (f *headFinder) mark(final bool) verdict {
	if f.at > 0 {
		return headFound
	}
	for _, bom := range [...]string{"\xEF\xBB\xBF", "\xFE\xFF", "\xFF\xFE"} {
		switch seen := string(f.seen[:min(len(f.seen), len(bom))]); {
		case seen == bom && bom[0] == '\xEF':
			f.at = len(bom)
		case seen == bom:
			return noHead
		case !final && strings.HasPrefix(bom, seen):
			return undecided
		}
	}
	return headFound
}

// decide takes the place before a token that makes a parser begin the head by
// itself; element is its name if it is a start tag.
func (f *headFinder) decide(element string) (int, verdict) {
	switch element {
	case "title", "meta", "base", "body", "frameset":
		f.proven = true
	}
	if !f.proven {
		return 0, noHead
	}
	return f.at, headFound
}

func (f *headFinder) wait(final bool) (int, verdict) {
	if final || len(f.seen) >= maxBeforeHead {
		return 0, noHead
	}
	return 0, undecided
}

// starving is a text that remembers whether more than all of it was wanted.
type starving struct {
	rest    []byte
	starved bool
}

func (s *starving) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		s.starved = true
		return 0, io.EOF
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}
