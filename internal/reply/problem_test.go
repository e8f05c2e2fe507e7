package reply_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/net/html"

	"cmux.sh/edge/internal/reply"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The media types of the three forms.
const (
	page  = "text/html"
	jsonp = "application/problem+json"
	plain = "text/plain"
)

func ExampleProblem_Write() {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", "4f2a")
		reply.Problem{
			Status:   http.StatusNotFound,
			Code:     reply.NotFound,
			Sentence: "No sandbox has this name",
			Detail:   "Check the link, or ask who sent it.",
		}.Write(w, r)
	})
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", http.NoBody))
	fmt.Println(w.Code, w.Header().Get("Content-Type"))
	fmt.Print(w.Body)
	// Output:
	// 404 text/plain; charset=utf-8
	// No sandbox has this name
	// Check the link, or ask who sent it.
	// Request id: 4f2a
}

// starting is a problem with everything; refused is one with nothing optional.
var (
	starting = reply.Problem{
		Status: http.StatusServiceUnavailable, Code: reply.SandboxStarting, Sentence: "The sandbox is starting",
		Detail: "It wakes up now. Try again in a moment.", State: "resuming", RetryAfter: 2 * time.Second,
	}
	refused = reply.Problem{Status: http.StatusMisdirectedRequest, Code: reply.InvalidHost, Sentence: "Not a cmux domain"}
)

func TestGolden(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, accept, id string
		problem          reply.Problem
	}{
		{"starting.page", "text/html,application/xhtml+xml,*/*;q=0.8", "7b1c9e", starting},
		{"starting.json", "application/json", "7b1c9e", starting},
		{"starting.text", "*/*", "7b1c9e", starting},
		{"refused.page", "text/html", "", refused},
		{"refused.json", "application/problem+json", "", refused},
		{"refused.text", "", "", refused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := write(tt.problem, tt.id, http.MethodGet, tt.accept)
			got := dump(w)
			golden := filepath.Join("testdata", tt.name+".golden")
			if *update {
				if err := os.MkdirAll("testdata", 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheFormFollowsAccept(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		accept []string
		want   string
	}{
		{"no Accept", nil, plain},
		{"an empty Accept", []string{""}, plain},
		{"anything", []string{"*/*"}, plain},
		{"anything at a weight", []string{"*/*;q=0.8"}, plain},
		{"any text", []string{"text/*"}, plain},
		{"any application", []string{"application/*"}, plain},
		{"a page", []string{"text/html"}, page},
		{"a page in capitals", []string{"TEXT/HTML"}, page},
		{"a page with a charset", []string{"text/html; charset=utf-8"}, page},
		{"an XHTML page", []string{"application/xhtml+xml"}, page},
		{"a problem document", []string{"application/problem+json"}, jsonp},
		{"JSON", []string{"application/json"}, jsonp},
		{"JSON in capitals", []string{"Application/JSON"}, jsonp},
		{"plain text", []string{"text/plain"}, plain},
		{"Firefox", []string{"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, page},
		{"Chromium", []string{"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"}, page},
		{"a script's JSON library", []string{"application/json, text/plain, */*"}, jsonp},
		{"JSON, then anything", []string{"application/json, */*;q=0.1"}, jsonp},
		{"an image", []string{"image/avif,image/webp,*/*"}, plain},
		{"a style sheet", []string{"text/css,*/*;q=0.1"}, plain},
		{"an event stream", []string{"text/event-stream"}, plain},
		{"a page liked better than JSON", []string{"application/json;q=0.4, text/html;q=0.5"}, page},
		{"JSON liked better than a page", []string{"text/html;q=0.4, application/json;q=0.5"}, jsonp},
		{"JSON liked better than a page, by default weight", []string{"text/html;q=0.9, application/json"}, jsonp},
		{"text liked better than a page", []string{"text/html;q=0.5, text/plain;q=0.9"}, plain},
		{"a page and JSON alike", []string{"application/json, text/html"}, page},
		{"a page and text alike", []string{"text/plain, text/html"}, page},
		{"a page that is not wanted", []string{"text/html;q=0"}, plain},
		{"a page that is not wanted, JSON at a weight", []string{"text/html;q=0.0, application/json;q=0.1"}, jsonp},
		{"JSON that is not wanted", []string{"application/json;q=0.000, */*"}, plain},
		{"a weight behind another parameter", []string{"text/html;level=1;q=0.2, application/json;q=0.3"}, jsonp},
		{"a weight with blanks", []string{"text/html ; q = 0.2 , application/json ; Q=0.3"}, jsonp},
		{"a weight that can't be read", []string{"text/html;q=high"}, page},
		{"a weight out of range", []string{"text/html;q=7, application/json;q=1"}, page},
		{"two lines", []string{"image/*", "application/json"}, jsonp},
		{"empty entries", []string{",, ,text/html,"}, page},
		{"rubbish", []string{"text/html/x", ";;;", "/"}, plain},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := write(starting, "id", http.MethodGet, tt.accept...)
			checkForm(t, w, tt.want)
			if !strings.Contains(w.Body.String(), starting.Sentence) {
				t.Errorf("the sentence is missing in %s", w.Body)
			}
			if got := w.Header()["Vary"]; !slices.Equal(got, []string{"Accept"}) {
				t.Errorf("Vary is %q, want Accept", got)
			}
		})
	}
}

func checkForm(t *testing.T, w *httptest.ResponseRecorder, want string) {
	t.Helper()
	got, _, err := mime.ParseMediaType(w.Header().Get("Content-Type"))
	if err != nil || got != want {
		t.Errorf("Content-Type is %q, %v, want %s", w.Header().Get("Content-Type"), err, want)
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		problem    reply.Problem
		state      string
		retryAfter string
	}{
		{"no sandbox", refused, "error", ""},
		{"a starting sandbox", starting, "resuming", "2"},
		{"a 503 that says nothing", reply.Problem{Status: 503, Code: reply.NoProvider, Sentence: "x"}, "error", "5"},
		{"less than a second", reply.Problem{Status: 503, Code: reply.SandboxStarting, Sentence: "x", RetryAfter: time.Millisecond}, "error", "1"},
		{"a second and a bit", reply.Problem{Status: 503, Code: reply.SandboxStarting, Sentence: "x", RetryAfter: 1001 * time.Millisecond}, "error", "2"},
		{"a minute", reply.Problem{Status: 503, Code: reply.CatalogUnavailable, Sentence: "x", RetryAfter: time.Minute}, "error", "60"},
		{"a 429 that knows when", reply.Problem{Status: 429, Code: reply.RateLimited, Sentence: "x", RetryAfter: 3 * time.Second}, "error", "3"},
		{"a 429 that does not", reply.Problem{Status: 429, Code: reply.RateLimited, Sentence: "x"}, "error", ""},
		{"a running sandbox", reply.Problem{Status: 502, Code: reply.UpstreamUnreachable, Sentence: "x", State: "running"}, "running", ""},
		{"a sandbox that lost its RAM", reply.Problem{Status: 504, Code: reply.UpstreamTimeout, Sentence: "x", State: "running; ram=lost"}, "running; ram=lost", ""},
	} {
		for _, accept := range []string{page, jsonp, plain} {
			t.Run(tt.name+", "+accept, func(t *testing.T) {
				t.Parallel()
				w := write(tt.problem, "id", http.MethodGet, accept)
				checkForm(t, w, accept)
				if w.Code != tt.problem.Status {
					t.Errorf("status %d, want %d", w.Code, tt.problem.Status)
				}
				for name, want := range map[string]string{
					"X-Edge-State": tt.state, "Retry-After": tt.retryAfter, "Cache-Control": "no-store",
					"X-Content-Type-Options": "nosniff", "X-Request-Id": "id", "Content-Length": strconv.Itoa(w.Body.Len()),
				} {
					if got := w.Header().Get(name); got != want {
						t.Errorf("%s is %q, want %q", name, got, want)
					}
				}
			})
		}
	}
}

func TestEvery503SaysWhenToTryAgain(t *testing.T) {
	t.Parallel()
	for _, code := range []reply.Code{
		reply.SandboxStarting, reply.SandboxStopped, reply.SandboxFailed, reply.NoProvider, reply.CatalogUnavailable,
	} {
		w := write(reply.Problem{Status: http.StatusServiceUnavailable, Code: code, Sentence: "x"}, "", http.MethodGet)
		if n, err := strconv.Atoi(w.Header().Get("Retry-After")); err != nil || n < 1 {
			t.Errorf("%s: Retry-After is %q, want seconds", code, w.Header().Get("Retry-After"))
		}
	}
}

// HEAD goes through a real server, which would complain about a body.
func TestHeadHasTheHeadersOfGetAndNoBody(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", "id")
		w.Header()["Date"] = nil
		starting.Write(w, r)
	}))
	t.Cleanup(server.Close)
	for _, accept := range []string{page, jsonp, plain} {
		get, body := request(t, server, http.MethodGet, accept)
		head, none := request(t, server, http.MethodHead, accept)
		if len(body) == 0 || len(none) != 0 {
			t.Errorf("%s: GET has %d bytes, HEAD has %d", accept, len(body), len(none))
		}
		if head.StatusCode != get.StatusCode || head.ContentLength != int64(len(body)) {
			t.Errorf("%s: HEAD answers %d with length %d, GET %d with %d", accept, head.StatusCode, head.ContentLength, get.StatusCode, len(body))
		}
		if diff := cmp.Diff(get.Header, head.Header); diff != "" {
			t.Errorf("%s: headers (-GET +HEAD):\n%s", accept, diff)
		}
	}
}

func request(t *testing.T, server *httptest.Server, method, accept string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, server.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", accept)
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, body
}

func TestHeadersOfAnotherBodyDoNotStay(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	for name, value := range map[string]string{
		"Content-Type": "image/png", "Content-Length": "7", "Content-Encoding": "gzip", "Content-Range": "bytes 0-6/9",
		"Etag": `"x"`, "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT", "Cache-Control": "public, max-age=60",
		"Content-Disposition": "attachment", "Accept-Ranges": "bytes",
		"X-Request-Id": "id", "Server-Timing": "resolve;dur=1", "Vary": "Origin",
	} {
		w.Header().Set(name, value)
	}
	starting.Write(w, httptest.NewRequest(http.MethodGet, "/", http.NoBody))
	want := http.Header{
		"Content-Type": {"text/plain; charset=utf-8"}, "Content-Length": {strconv.Itoa(w.Body.Len())}, "Cache-Control": {"no-store"},
		"Retry-After": {"2"}, "Server-Timing": {"resolve;dur=1"}, "Vary": {"Origin", "Accept"}, "X-Content-Type-Options": {"nosniff"},
		"X-Edge-State": {"resuming"}, "X-Request-Id": {"id"},
	}
	if diff := cmp.Diff(want, w.Header()); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
}

func TestThePlainTextBeginsWithTheSentence(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, id, want string
		problem        reply.Problem
	}{
		{"the sentence alone", "", "Not a cmux domain\n", refused},
		{"with a request id", "7b", "Not a cmux domain\nRequest id: 7b\n", refused},
		{"with everything", "7b", "The sandbox is starting\nIt wakes up now. Try again in a moment.\nRequest id: 7b\n", starting},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, write(tt.problem, tt.id, http.MethodGet).Body.String()); diff != "" {
				t.Errorf("text (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheDocumentIsAProblem(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, id string
		problem  reply.Problem
		want     map[string]any
	}{
		{"the least", "", refused, map[string]any{
			"title": "Misdirected Request", "status": 421.0, "detail": "Not a cmux domain", "code": "invalid_host",
		}},
		{"everything", "7b", starting, map[string]any{
			"title": "Service Unavailable", "status": 503.0, "code": "sandbox_starting", "request_id": "7b", "state": "resuming",
			"detail": "The sandbox is starting. It wakes up now. Try again in a moment.",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got map[string]any
			if err := json.Unmarshal(write(tt.problem, tt.id, http.MethodGet, jsonp).Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("document (-want +got):\n%s", diff)
			}
		})
	}
}

// What a sentence, a detail or a request id holds may come from a client.
func TestWordsOfOthersAreNoMarkup(t *testing.T) {
	t.Parallel()
	const evil = `</title></style><script>alert(1)</script><img src=//evil.test onerror="x">&amp;'"`
	p := reply.Problem{Status: 404, Code: reply.NotFound, Sentence: evil, Detail: evil + "2", State: evil + "3"}
	w := write(p, evil+"4", http.MethodGet, page)
	nodes := parse(t, w)
	checkHarmless(t, nodes)
	var text strings.Builder
	for _, n := range nodes {
		if n.Type == html.TextNode {
			text.WriteString(n.Data + "\n")
		}
	}
	for _, want := range []string{evil, evil + "2", evil + "3", evil + "4"} {
		if !strings.Contains(text.String(), want+"\n") {
			t.Errorf("%q is not shown in %s", want, w.Body)
		}
	}

	w = write(p, evil+"4", http.MethodGet, jsonp)
	var document struct {
		Detail string
		ID     string `json:"request_id"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &document); err != nil {
		t.Fatal(err)
	}
	if document.Detail != evil+". "+evil+"2" || document.ID != evil+"4" {
		t.Errorf("the document says %+v", document)
	}

	if got, want := write(p, "", http.MethodGet).Body.String(), evil+"\n"+evil+"2\n"; got != want {
		t.Errorf("the text is %q, want %q", got, want)
	}
}

func TestThePageNeedsNothingAndRunsNothing(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]reply.Problem{"starting": starting, "refused": refused} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := write(p, "7b1c9e", http.MethodGet, page)
			policy := w.Header().Get("Content-Security-Policy")
			for _, want := range []string{"default-src 'none'", "style-src 'unsafe-inline'", "img-src data:", "base-uri 'none'", "form-action 'none'"} {
				if !slices.Contains(strings.Split(policy, "; "), want) {
					t.Errorf("the policy %q lacks %s", policy, want)
				}
			}
			nodes := parse(t, w)
			checkHarmless(t, nodes)
			for _, want := range []string{p.Sentence, string(p.Code), "7b1c9e", strconv.Itoa(p.Status)} {
				if !slices.ContainsFunc(nodes, func(n *html.Node) bool {
					return n.Type == html.TextNode && strings.Contains(n.Data, want)
				}) {
					t.Errorf("%q is not shown in %s", want, w.Body)
				}
			}
		})
	}
}

func TestOnlyThePageHasAPolicy(t *testing.T) {
	t.Parallel()
	for _, accept := range []string{jsonp, plain} {
		if got := write(starting, "", http.MethodGet, accept).Header().Get("Content-Security-Policy"); got != "" {
			t.Errorf("%s has the policy %q", accept, got)
		}
	}
}

// checkHarmless fails on everything that the page's policy would block and on
// everything that leads away from it.
func checkHarmless(t *testing.T, nodes []*html.Node) {
	t.Helper()
	elements := []string{
		"html", "head", "meta", "title", "style", "body", "main", "p", "h1", "dl", "dt", "dd", "code",
	}
	attributes := []string{"lang", "charset", "name", "content", "class"}
	for _, n := range nodes {
		if n.Type == html.TextNode && n.Parent.Data == "style" && (strings.Contains(n.Data, "url(") || strings.Contains(n.Data, "@import")) {
			t.Errorf("the style refers to something: %s", n.Data)
		}
		if n.Type != html.ElementNode || isEmptyIcon(n) {
			continue
		}
		if !slices.Contains(elements, n.Data) {
			t.Errorf("a page must not have the element %s", n.Data)
		}
		for _, a := range n.Attr {
			if !slices.Contains(attributes, a.Key) || strings.Contains(a.Val, "//") {
				t.Errorf("a page must not have the attribute %s=%q", a.Key, a.Val)
			}
		}
	}
}

// isEmptyIcon tells whether n is the icon that keeps a browser from asking the
// sandbox for one.
func isEmptyIcon(n *html.Node) bool {
	return n.Data == "link" && slices.Equal(n.Attr, []html.Attribute{{Key: "rel", Val: "icon"}, {Key: "href", Val: "data:,"}})
}

func parse(t *testing.T, w *httptest.ResponseRecorder) []*html.Node {
	t.Helper()
	root, err := html.Parse(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Collect(root.Descendants())
}

// write answers a request that has these Accept lines.
func write(p reply.Problem, id, method string, accept ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/", http.NoBody)
	for _, line := range accept {
		r.Header.Add("Accept", line)
	}
	w := httptest.NewRecorder()
	if id != "" {
		w.Header().Set("X-Request-Id", id)
	}
	p.Write(w, r)
	return w
}

// dump is an answer as a golden file holds it.
func dump(w *httptest.ResponseRecorder) string {
	var b strings.Builder
	fmt.Fprintln(&b, w.Code, http.StatusText(w.Code))
	if err := w.Header().Write(&lines{&b}); err != nil {
		return err.Error()
	}
	b.WriteString("\n" + w.Body.String())
	return b.String()
}

// lines ends lines with a line feed alone.
type lines struct{ b *strings.Builder }

func (l *lines) Write(p []byte) (int, error) {
	l.b.WriteString(strings.ReplaceAll(string(p), "\r\n", "\n"))
	return len(p), nil
}
