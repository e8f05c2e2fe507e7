package pvesim

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// maxBody is more than any request of the schema needs.
const maxBody = 1 << 20

// params are a request's parameters after the check: path, query and body.
type params map[string]string

func (p params) num(name string) int {
	n, err := strconv.Atoi(p[name])
	if err != nil {
		return 0
	}
	return n
}

func (p params) flag(name string) bool { return p[name] == "1" }

// collect gathers the parameters of a request the way pve-http-server does:
// a body only on POST and PUT, as a form or as JSON, and path parameters that
// may be repeated only with the same value.
func collect(r *http.Request, inPath map[string]string) (map[string]value, error) {
	all := map[string]value{}
	if err := parseForm(r.URL.RawQuery, all); err != nil {
		return nil, err
	}
	if r.Method == http.MethodGet || r.Method == http.MethodDelete {
		if r.ContentLength != 0 {
			return nil, fail(http.StatusNotImplemented, "Unexpected content for method '%s'", r.Method)
		}
	} else if err := parseBody(r, all); err != nil {
		return nil, err
	}
	conflicts := map[string]string{}
	for name, text := range inPath {
		if v, twice := all[name]; twice && v.text != text {
			conflicts[name] = "duplicate parameter (already defined in URI) with conflicting values!"
		}
		all[name] = value{text: text}
	}
	if len(conflicts) > 0 {
		return nil, invalid(conflicts)
	}
	return all, nil
}

func parseBody(r *http.Request, into map[string]value) error {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return fail(http.StatusBadRequest, "reading the body: %v", err)
	}
	if len(body) == 0 {
		return nil
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		kind = r.Header.Get("Content-Type")
	}
	switch kind {
	case "application/x-www-form-urlencoded":
		return parseForm(string(body), into)
	case "application/json":
		return parseJSON(body, into)
	}
	return fail(506, "upload 'Content-Type '%s' not implemented", kind)
}

// parseForm splits pairs at & and at ;, as the server does.
func parseForm(form string, into map[string]value) error {
	for pair := range strings.FieldsFuncSeq(form, func(r rune) bool { return r == '&' || r == ';' }) {
		name, text, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err != nil {
			return fail(http.StatusBadRequest, "bad escape in %q", pair)
		}
		if text, err = url.QueryUnescape(text); err != nil {
			return fail(http.StatusBadRequest, "bad escape in %q", pair)
		}
		into[name] = value{text: text}
	}
	return nil
}

func parseJSON(body []byte, into map[string]value) error {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(body, &object); err != nil {
		return fail(http.StatusBadRequest, "unable to parse json body: %v", err)
	}
	for name, raw := range object {
		var scalar any
		if err := json.Unmarshal(raw, &scalar); err != nil {
			return fail(http.StatusBadRequest, "unable to parse json body: %v", err)
		}
		switch v := scalar.(type) {
		case nil:
		case string:
			into[name] = value{text: v}
		case bool:
			into[name] = value{text: map[bool]string{true: "1", false: "0"}[v], typed: true}
		case float64:
			into[name] = value{text: strings.TrimSpace(string(raw))}
		default:
			into[name] = value{text: fmt.Sprint(v)}
		}
	}
	return nil
}
