package reply_test

import (
	"encoding/json"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"cmux.sh/edge/internal/reply"
)

// FuzzWrite holds an answer to any Accept and any words to its promises: it is
// in one of the three forms, says how long it is, holds the sentence, and a
// page has no markup but its own.
func FuzzWrite(f *testing.F) {
	f.Add("text/html,*/*;q=0.8", "The sandbox is starting", "7b1c9e")
	f.Add("application/json;q=0.5, text/html;q=0.4", `"><script>alert(1)</script>`, "</code>")
	f.Add("text/html;q=", "\x00\xff\u2028", "\r\nSet-Cookie: x=y")
	f.Add(";,=", "</title><base href=//evil.test>", "")
	f.Fuzz(func(t *testing.T, accept, sentence, id string) {
		w := write(reply.Problem{Status: 400, Code: reply.BadRequest, Sentence: sentence, Detail: sentence}, id, http.MethodGet, accept)
		body := w.Body.String()
		if got := w.Header().Get("Content-Length"); got != strconv.Itoa(len(body)) {
			t.Errorf("Content-Length is %s, the body has %d bytes", got, len(body))
		}
		form, _, err := mime.ParseMediaType(w.Header().Get("Content-Type"))
		if err != nil {
			t.Fatal(err)
		}
		switch form {
		case page:
			checkHarmless(t, parse(t, w))
		case jsonp:
			var document struct{ Detail string }
			if err := json.Unmarshal([]byte(body), &document); err != nil {
				t.Fatalf("%q: %v", body, err)
			}
			if utf8.ValidString(sentence) && !strings.HasPrefix(document.Detail, sentence) {
				t.Errorf("the detail %q does not begin with %q", document.Detail, sentence)
			}
		case plain:
			if !strings.HasPrefix(body, sentence+"\n") {
				t.Errorf("the text %q does not begin with %q", body, sentence)
			}
		default:
			t.Errorf("answered with %s", form)
		}
	})
}
