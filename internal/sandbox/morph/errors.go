package morph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"cmux.sh/edge/internal/sandbox"
)

// failure is a call that did not end with a readable answer of success.
type failure struct {
	// status is the answer's; 0 when there was none.
	status int
	kind   sandbox.Kind
	text   string
	// retryAfter is what the answer asked for; 0 when it didn't.
	retryAfter time.Duration
	// unsent: the call certainly did not take place.
	unsent bool
}

func (f *failure) Error() string { return f.text }

// transient tells whether the same call may succeed a little later.
func (f *failure) transient() bool { return f.kind == sandbox.KindUnavailable }

// asFailure is the [failure] in err's chain.
func asFailure(err error) (*failure, bool) { return errors.AsType[*failure](err) }

// maxDetail bounds what is kept of an answer's own words.
const maxDetail = 300

// refusal makes a failure of an answer that is not a success.
func refusal(status int, header http.Header, body []byte, now time.Time) *failure {
	f := &failure{status: status, kind: kindOf(status), retryAfter: retryAfter(header, now)}
	// A rate limit is applied before anything is done.
	f.unsent = status == http.StatusTooManyRequests || status == http.StatusTooEarly
	said := detail(header, body)
	if status == http.StatusNotFound && isHTML(header) {
		// The API answers in JSON. A page comes from something in between,
		// which can't know whether an instance exists.
		f.kind = sandbox.KindUnavailable
	}
	f.text = fmt.Sprintf("%d %s", status, http.StatusText(status))
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		f.text += ": the key is refused"
	case http.StatusPaymentRequired:
		f.text += ": the account's billing or quota does not allow it"
	}
	if said != "" {
		f.text += ": " + said
	}
	return f
}

// kindOf maps a status. The API documents only 422 and, for a pause, a list of
// numbers; 429 is treated as what it means elsewhere.
func kindOf(status int) sandbox.Kind {
	switch status {
	case http.StatusNotFound, http.StatusGone:
		return sandbox.KindNotFound
	case http.StatusUnauthorized, http.StatusForbidden:
		return sandbox.KindPermission
	case http.StatusPaymentRequired:
		return sandbox.KindQuota
	case http.StatusConflict, http.StatusPreconditionFailed, http.StatusLocked:
		return sandbox.KindBusy
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return sandbox.KindUnavailable
	}
	if status >= 400 && status < 500 {
		return sandbox.KindInvalid
	}
	return sandbox.KindUnavailable
}

// detail is the answer's own words, whichever of the shapes seen it has.
func detail(header http.Header, body []byte) string {
	if isHTML(header) {
		return "an HTML page"
	}
	var shapes struct {
		Detail, Error, Message json.RawMessage
	}
	if json.Unmarshal(body, &shapes) != nil {
		return plain(string(body))
	}
	for _, shape := range []json.RawMessage{shapes.Detail, shapes.Error, shapes.Message} {
		if text := words(shape); text != "" {
			return plain(text)
		}
	}
	return ""
}

// words reads a text, FastAPI's list of {loc, msg}, or {message}. The input
// that FastAPI repeats beside them is left out.
func words(shape json.RawMessage) string {
	var text string
	if json.Unmarshal(shape, &text) == nil {
		return text
	}
	var faults []struct {
		Loc []any
		Msg string
	}
	if json.Unmarshal(shape, &faults) == nil {
		var all []string
		for _, f := range faults {
			place := make([]string, len(f.Loc))
			for i, part := range f.Loc {
				place[i] = fmt.Sprint(part)
			}
			all = append(all, strings.Join(place, ".")+": "+f.Msg)
		}
		return strings.Join(all, "; ")
	}
	var inner struct{ Message string }
	if json.Unmarshal(shape, &inner) == nil {
		return inner.Message
	}
	return ""
}

// plain makes foreign text fit for one line of a log.
func plain(text string) string {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " ")
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, text)
	if len(text) > maxDetail {
		text = strings.ToValidUTF8(text[:maxDetail], "") + "…"
	}
	return text
}

func isHTML(header http.Header) bool {
	kind, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	return err == nil && kind == "text/html"
}

// retryAfter reads RFC 9110 section 10.2.3: seconds or a date.
func retryAfter(header http.Header, now time.Time) time.Duration {
	text := header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if date, err := http.ParseTime(text); err == nil && date.After(now) {
		return date.Sub(now)
	}
	return 0
}

// unanswered makes a failure of a transport's error. ctx is the caller's: when
// it has ended its error is the cause, not the attempt's own time limit.
func unanswered(ctx context.Context, err error, limit time.Duration) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	f := &failure{kind: sandbox.KindUnavailable}
	if errors.Is(err, context.DeadlineExceeded) {
		f.text = fmt.Sprintf("no answer within %s", limit)
		return f
	}
	if inner, ok := errors.AsType[*url.Error](err); ok {
		err = inner.Err // the URL says nothing that op and subject don't
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		f.unsent = true
	}
	f.text = plain(err.Error())
	return f
}

// garbage is a success that can't be read. The call may have taken place.
func garbage(format string, args ...any) *failure {
	return &failure{status: http.StatusOK, kind: sandbox.KindUnavailable, text: "unreadable answer: " + fmt.Sprintf(format, args...)}
}

// fail makes the contract's error of anything that went wrong inside.
func fail(op, subject string, err error) error {
	kind := sandbox.KindUnavailable
	// A context that ended says nothing about the instance, whatever was the
	// last thing heard before.
	if f, ok := asFailure(err); ok && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		kind = f.kind
	}
	return &sandbox.Error{Kind: kind, Op: op, Subject: subject, Err: err}
}
