package proxy

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// requestBodyError is a client's body that could not be read to its end.
type requestBodyError struct{ err error }

func (e *requestBodyError) Error() string { return "read the request's body: " + e.err.Error() }
func (e *requestBodyError) Unwrap() error { return e.err }

// body reads the client's request body for one attempt. The transport reads it
// in a goroutine of its own, possibly longer than the answer takes.
type body struct {
	from    *http.Request
	source  io.Reader   // of from's body
	trailer http.Header // of the outgoing request; filled at the end
	count   prometheus.Counter
	touched atomic.Bool
	read    atomic.Int64
	ended   atomic.Bool

	mu        sync.Mutex // held while the client is read
	abandoned bool
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.abandoned {
		return 0, errAbandoned
	}
	b.touched.Store(true)
	n, err := b.source.Read(p)
	b.read.Add(int64(n))
	b.count.Add(float64(n))
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		b.ended.Store(true)
		if b.trailer != nil {
			maps.Copy(b.trailer, b.from.Trailer)
		}
	default:
		err = &requestBodyError{err}
	}
	return n, err
}

// WriteTo copies the body as it comes: what a client sent must not wait in a
// buffer for what it may send later.
func (b *body) WriteTo(w io.Writer) (int64, error) {
	flush := func() error { return nil }
	if f, ok := w.(interface{ Flush() error }); ok {
		flush = f.Flush
	}
	return copyFlushing(w, b, flush, b.from.ContentLength)
}

// Close leaves the client's body to its server.
func (b *body) Close() error { return nil }

// unfinished tells whether the client has, or may have, more to send.
func (b *body) unfinished() bool {
	return b.touched.Load() && !b.ended.Load() && (b.from.ContentLength < 0 || b.read.Load() < b.from.ContentLength)
}

// answering prepares w for an answer that comes before the body's end, such as
// a 413: what the client still sends must not be taken for its next request.
func (b *body) answering(w http.ResponseWriter) {
	if b.from.ProtoMajor == 1 && b.unfinished() {
		w.Header()["Connection"] = []string{"close"}
	}
}

// errAbandoned is what is left of a body whose exchange is over.
var errAbandoned = errors.New("the exchange is over")

// abandon stops a read that still waits for the client although the exchange
// is over: the server could not end the request before the client sent more.
// It returns when nothing reads any more, because a read that net/http finds
// under way makes it take the deadline back.
func (b *body) abandon(w http.ResponseWriter) {
	if !b.unfinished() {
		return
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now())
	b.mu.Lock()
	defer b.mu.Unlock()
	b.abandoned = true
}
