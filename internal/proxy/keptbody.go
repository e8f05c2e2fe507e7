package proxy

import (
	"net/http"
	"sync"
	"time"
)

// maxKept is how much of a request's body is kept for another upstream.
const maxKept = 16 << 20

// keptBody is a request's body that can be read from its beginning again, as
// long as it is small enough. The client is read only as fast as the body is.
type keptBody struct {
	from *http.Request
	max  int

	mu      sync.Mutex
	changed sync.Cond // when reading or what can be read changes
	kept    []byte    // what was read, unless forgotten
	dropped int64     // how much was forgotten
	reading bool      // somebody reads the client
	started bool
	err     error
}

// newKeptBody keeps r's body.
func newKeptBody(r *http.Request) *keptBody {
	k := &keptBody{from: r, max: maxKept}
	if r.ContentLength > maxKept {
		k.max = 0 // it would be in vain
	}
	k.changed.L = &k.mu
	return k
}

// whole tells whether a reader that begins now gets all of the body.
func (k *keptBody) whole() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.dropped == 0
}

// answering is body.answering for all attempts at once.
func (k *keptBody) answering(w http.ResponseWriter) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.from.ProtoMajor == 1 && k.started && k.err == nil {
		w.Header()["Connection"] = []string{"close"}
	}
}

// release is body.abandon for all attempts at once: it returns when nothing
// reads the client.
func (k *keptBody) release(w http.ResponseWriter) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err == nil {
		if k.reading {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now())
		}
		for k.reading {
			k.changed.Wait()
		}
		k.err = errAbandoned
	}
	k.kept = nil
}

// reader begins at the body's beginning. There is one at a time that is not
// stopped.
func (k *keptBody) reader() *keptReader { return &keptReader{body: k} }

// keptReader is one reading of a [keptBody].
type keptReader struct {
	body    *keptBody
	at      int64
	stopped bool
}

// stop ends the reading. A read of the client that is under way goes on for
// whoever reads next.
func (r *keptReader) stop() {
	r.body.mu.Lock()
	defer r.body.mu.Unlock()
	r.stopped = true
	r.body.changed.Broadcast()
}

// Read implements io.Reader.
func (r *keptReader) Read(p []byte) (int, error) {
	k := r.body
	k.mu.Lock()
	defer k.mu.Unlock()
	for {
		switch kept := r.at - k.dropped; {
		case r.stopped:
			return 0, errAbandoned
		case kept < 0:
			return 0, errAbandoned // nobody asks for what is not whole
		case kept < int64(len(k.kept)):
			n := copy(p, k.kept[kept:])
			r.at += int64(n)
			if r.at == k.dropped+int64(len(k.kept)) && len(k.kept) > k.max {
				k.dropped, k.kept = r.at, nil
			}
			return n, nil
		case k.err != nil:
			return 0, k.err
		case k.reading:
			k.changed.Wait()
		default:
			k.readClient(p)
		}
	}
}

// readClient reads the client once, with the lock given back meanwhile. buf is
// only room.
func (k *keptBody) readClient(buf []byte) {
	k.reading, k.started = true, true
	k.mu.Unlock()
	n, err := k.from.Body.Read(buf)
	k.mu.Lock()
	k.reading = false
	k.kept = append(k.kept, buf[:n]...)
	if err != nil {
		k.err = err
	}
	k.changed.Broadcast()
}
