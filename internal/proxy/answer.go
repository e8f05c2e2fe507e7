package proxy

import (
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// BrokenOff is an answer that ended in the middle, after its header was passed
// on.
type BrokenOff struct{ Err error }

// Error says what ended it.
func (e *BrokenOff) Error() string { return "answer broken off: " + e.Err.Error() }

// Unwrap is what ended it.
func (e *BrokenOff) Unwrap() error { return e.Err }

// copyAnswer passes a whole answer on: header, body as it comes, trailers. It
// counts the body's bytes.
func copyAnswer(w http.ResponseWriter, resp *http.Response, x *Exchange, count prometheus.Counter) error {
	h := w.Header()
	copyAnswerHeader(h, resp.Header, x)
	announced := len(resp.Trailer)
	for name := range resp.Trailer {
		h.Add("Trailer", name)
	}
	w.WriteHeader(resp.StatusCode)

	flush := http.NewResponseController(w).Flush
	if resp.ContentLength != 0 && resp.Body != http.NoBody {
		// The header does not wait for the body: an event stream is open before
		// its first event. And net/http would give a short answer a length in
		// place of the chunks that its trailers need.
		if err := flush(); err != nil {
			return err
		}
	}
	if _, err := copyFlushing(counted{w, count}, resp.Body, flush, resp.ContentLength); err != nil {
		return err
	}
	for name, values := range resp.Trailer {
		if len(resp.Trailer) != announced {
			name = http.TrailerPrefix + name
		}
		h[name] = values
	}
	return nil
}

// counted counts what is written to it.
type counted struct {
	io.Writer
	count prometheus.Counter
}

func (c counted) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.count.Add(float64(n))
	return n, err
}

// copyBuffers are of the size of one read: 32 KiB, as io.Copy's.
var copyBuffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// copyFlushing copies src to dst and flushes after every read that was not the
// last: whoever streams gets each piece at once, and an answer of known length
// is not flushed apart from its end. length is -1 when it is not known.
func copyFlushing(dst io.Writer, src io.Reader, flush func() error, length int64) (int64, error) {
	buf := copyBuffers.Get().(*[32 << 10]byte)
	defer copyBuffers.Put(buf)
	var total int64
	for {
		n, err := src.Read(buf[:])
		if n > 0 {
			if _, werr := dst.Write(buf[:n]); werr != nil {
				return total, werr
			}
			total += int64(n)
			if total != length && !errors.Is(err, io.EOF) {
				if ferr := flush(); ferr != nil {
					return total, ferr
				}
			}
		}
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}
