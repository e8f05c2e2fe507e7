package morphsim

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// problem is one entry of FastAPI's 422.
type problem struct {
	Loc  []string `json:"loc"`
	Msg  string   `json:"msg"`
	Type string   `json:"type"`
}

// form reads a request's parameters and collects what is wrong with them. What
// nobody asked for is wrong too.
type form struct {
	query    url.Values
	body     map[string]json.RawMessage
	problems []problem
}

func readForm(r *http.Request, body []byte) *form {
	f := &form{query: r.URL.Query(), body: map[string]json.RawMessage{}}
	if len(body) == 0 {
		return f
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		f.fault("body", "", "Input should be sent as application/json", "json_invalid")
	} else if err := json.Unmarshal(body, &f.body); err != nil {
		f.fault("body", "", "JSON decode error", "json_invalid")
	}
	return f
}

func (f *form) fault(where, name, msg, kind string) {
	loc := []string{where}
	if name != "" {
		loc = append(loc, name)
	}
	f.problems = append(f.problems, problem{Loc: loc, Msg: msg, Type: kind})
}

// param takes a query parameter.
func (f *form) param(name string) string {
	value := f.query.Get(name)
	if len(f.query[name]) > 1 {
		f.fault("query", name, "Input should be given once", "extra_forbidden")
	}
	delete(f.query, name)
	return value
}

// number takes a query parameter that is a count.
func (f *form) number(name string, otherwise int) int {
	text := f.param(name)
	if text == "" {
		return otherwise
	}
	var n int
	if err := json.Unmarshal([]byte(text), &n); err != nil || n < 1 {
		f.fault("query", name, "Input should be greater than or equal to 1", "greater_than_equal")
		return otherwise
	}
	return n
}

// filter takes the parameters metadata[key].
func (f *form) filter() map[string]string {
	want := map[string]string{}
	for name := range f.query {
		if inner, ok := strings.CutPrefix(name, "metadata["); ok && strings.HasSuffix(inner, "]") {
			want[strings.TrimSuffix(inner, "]")] = f.param(name)
		}
	}
	return want
}

// take decodes a field of the body into into and tells whether it is there.
// null counts as absent.
func (f *form) take(name string, into any, should string) bool {
	text, ok := f.body[name]
	delete(f.body, name)
	if !ok || string(text) == "null" {
		return false
	}
	if err := json.Unmarshal(text, into); err != nil {
		f.fault("body", name, "Input should be "+should, "type_error")
		return false
	}
	return true
}

// choice takes a text that must be one of few.
func (f *form) choice(name string, allowed ...string) string {
	var text string
	if !f.take(name, &text, "a valid string") {
		return ""
	}
	if slices.Contains(allowed, text) {
		return text
	}
	f.fault("body", name, fmt.Sprintf("Input should be %s", strings.Join(allowed, " or ")), "enum")
	return ""
}

// count takes a whole number above zero; 0 is absent.
func (f *form) count(name string) int64 {
	var n int64
	if f.take(name, &n, "a valid integer") && n < 1 {
		f.fault("body", name, "Input should be greater than or equal to 1", "greater_than_equal")
	}
	return n
}

// need reports a field that must be there.
func (f *form) need(name string, there bool) {
	if !there {
		f.fault("body", name, "Field required", "missing")
	}
}

// done is the 422 when anything was wrong or left over.
func (f *form) done() error {
	for name := range f.query {
		f.fault("query", name, "Extra inputs are not permitted", "extra_forbidden")
	}
	for name := range f.body {
		f.fault("body", name, "Extra inputs are not permitted", "extra_forbidden")
	}
	if len(f.problems) == 0 {
		return nil
	}
	return &refusal{status: http.StatusUnprocessableEntity, detail: f.problems}
}
