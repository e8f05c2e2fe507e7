package pvesim

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// failure is an answer with a status of 400 or more.
type failure struct {
	status int
	// reason is the text of the status line: the first line of the message.
	reason string
	errors map[string]string
	// empty leaves the body empty: authentication failures and everything that
	// pveproxy itself reports about another node.
	empty bool
}

func (f *failure) Error() string { return fmt.Sprintf("%d %s", f.status, f.reason) }

func fail(status int, format string, args ...any) error {
	return &failure{status: status, reason: fmt.Sprintf(format, args...)}
}

// die is what an exception in a handler becomes.
func die(format string, args ...any) error {
	return fail(http.StatusInternalServerError, format, args...)
}

func invalid(faults map[string]string) error {
	return &failure{status: http.StatusBadRequest, reason: "Parameter verification failed.", errors: faults}
}

// gzipFrom is the size from which pve-http-server compresses a body.
const gzipFrom = 1024

func (s *Server) succeed(w http.ResponseWriter, r *http.Request, data any) {
	body, err := json.Marshal(map[string]any{"data": data})
	if err != nil {
		s.refuse(w, die("%v", err))
		return
	}
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	w.Header().Set("Cache-Control", "max-age=0")
	if len(body) > gzipFrom && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		if _, err = z.Write(body); err == nil && z.Close() == nil {
			w.Header().Set("Content-Encoding", "gzip")
			body = packed.Bytes()
		}
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body) // a client that left is its own problem
}

// refuse writes an error the way pve-http-server does. net/http fixes the text
// of a status line, so the answer is written on the bare connection, which is
// then closed, as the real server closes it after every error.
func (s *Server) refuse(w http.ResponseWriter, err error) {
	f, ok := errors.AsType[*failure](err)
	if !ok {
		f = &failure{status: http.StatusInternalServerError, reason: err.Error()}
	}
	reason, _, _ := strings.Cut(f.reason, "\n")
	var body []byte
	if !f.empty {
		answer := map[string]any{"data": nil}
		if !s.cfg.OldErrors {
			answer["message"] = f.reason + "\n"
		}
		if f.errors != nil {
			answer["errors"] = f.errors
		}
		if body, err = json.Marshal(answer); err != nil {
			body = nil
		}
	}
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	_, _ = fmt.Fprintf(buf, "HTTP/1.1 %d %s\r\nServer: pve-api-daemon/3.0\r\nConnection: close\r\nCache-Control: max-age=0\r\n", f.status, reason)
	if len(body) > 0 {
		_, _ = fmt.Fprint(buf, "Content-Type: application/json;charset=UTF-8\r\n")
	}
	_, _ = fmt.Fprintf(buf, "Content-Length: %d\r\n\r\n%s", len(body), body)
	_ = buf.Flush()
}

// cut closes the connection without an answer.
func cut(w http.ResponseWriter) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_ = conn.Close()
	}
}
