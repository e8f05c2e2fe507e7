package reply

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// Code names a cause for programs; it is stable where the sentence is not.
type Code string

// The codes of errors that the edge makes.
const (
	InvalidHost         Code = "invalid_host"
	NotFound            Code = "not_found"
	Gone                Code = "gone"
	LoopDetected        Code = "loop_detected"
	SandboxStarting     Code = "sandbox_starting"
	SandboxStopped      Code = "sandbox_stopped"
	SandboxFailed       Code = "sandbox_failed"
	NoProvider          Code = "no_provider"
	Conflict            Code = "conflict"
	UpstreamUnreachable Code = "upstream_unreachable"
	UpstreamTimeout     Code = "upstream_timeout"
	Forbidden           Code = "forbidden"
	Unauthorized        Code = "unauthorized"
	RateLimited         Code = "rate_limited"
	CatalogUnavailable  Code = "catalog_unavailable"
	RequestTooLarge     Code = "request_too_large"
	BadRequest          Code = "bad_request"
	Internal            Code = "internal"
)

// Problem is one error as a client sees it. The zero value of each optional
// field leaves its line out.
type Problem struct {
	// Status is the HTTP status.
	Status int
	Code   Code
	// Sentence says what is wrong. It is the first line of the plain text.
	Sentence string
	// Detail says what the reader can do about it.
	Detail string
	// State is the sandbox's state for X-Edge-State; "" stands for "error",
	// which says that no sandbox is concerned.
	State string
	// RetryAfter is rounded up to whole seconds. A 503 without it says 5.
	RetryAfter time.Duration
}

// defaultRetryAfter is what a 503 says when nothing better is known.
const defaultRetryAfter = 5 * time.Second

// ofAnotherBody are headers that describe a body which is not sent now.
var ofAnotherBody = [...]string{
	"Accept-Ranges", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Location", "Content-Range",
	"Digest", "Content-Digest", "Repr-Digest", "Etag", "Expires", "Last-Modified", "Trailer",
}

// Write answers r with p in the form that the request's Accept prefers. The
// header of w may hold X-Request-Id, which is shown in the body; other headers
// set before, but for those that describe a body, are kept.
func (p Problem) Write(w http.ResponseWriter, r *http.Request) {
	id := w.Header().Get("X-Request-Id")
	var body bytes.Buffer
	contentType := "text/plain; charset=utf-8"
	form := negotiate(r.Header["Accept"])
	if form == formPage && p.page(&body, id) != nil {
		body.Reset()
		form = formText
	}
	switch form {
	case formPage:
		contentType = "text/html; charset=utf-8"
	case formJSON:
		contentType = "application/problem+json"
		p.json(&body, id)
	case formText:
		p.text(&body, id)
	}

	h := w.Header()
	for _, name := range ofAnotherBody {
		h.Del(name)
	}
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(body.Len()))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Edge-State", p.state())
	h.Add("Vary", "Accept")
	if form == formPage {
		h.Set("Content-Security-Policy", pagePolicy)
		h.Set("X-Robots-Tag", "noindex")
	}
	if retry := p.retryAfter(); retry > 0 {
		h.Set("Retry-After", strconv.Itoa(int((retry+time.Second-1)/time.Second)))
	}
	w.WriteHeader(p.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body.Bytes()) // a client that left needs no answer
	}
}

func (p Problem) state() string {
	if p.State == "" {
		return "error"
	}
	return p.State
}

func (p Problem) retryAfter() time.Duration {
	if p.RetryAfter == 0 && p.Status == http.StatusServiceUnavailable {
		return defaultRetryAfter
	}
	return p.RetryAfter
}

// document is the problem+json form, RFC 9457 section 3. "type" is left out,
// which stands for about:blank: title then is the status's own phrase.
type document struct {
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail"`
	Code      Code   `json:"code"`
	RequestID string `json:"request_id,omitempty"`
	State     string `json:"state,omitempty"`
}

func (p Problem) json(body *bytes.Buffer, id string) {
	detail := p.Sentence
	if p.Detail != "" {
		detail += ". " + p.Detail
	}
	enc := json.NewEncoder(body)
	enc.SetEscapeHTML(false)
	// Strings and numbers always encode.
	_ = enc.Encode(document{http.StatusText(p.Status), p.Status, detail, p.Code, id, p.State})
}

func (p Problem) text(body *bytes.Buffer, id string) {
	body.WriteString(p.Sentence + "\n")
	if p.Detail != "" {
		body.WriteString(p.Detail + "\n")
	}
	if id != "" {
		body.WriteString("Request id: " + id + "\n")
	}
}
