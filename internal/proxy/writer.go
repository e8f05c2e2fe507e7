package proxy

import (
	"bufio"
	"net"
	"net/http"
)

// writer remembers what was answered. It passes everything else through by
// Unwrap, which http.ResponseController follows.
type writer struct {
	http.ResponseWriter
	metrics  *metrics
	status   int // of the final answer; 0 before it
	hijacked bool
}

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader remembers the final status.
func (w *writer) WriteHeader(status int) {
	if w.status == 0 && (status >= http.StatusOK || status == http.StatusSwitchingProtocols) {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write answers 200 when no status was written.
func (w *writer) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// Hijack hands the connection over. From then on the request is a tunnel and
// no longer in flight.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.hijacked, w.status = true, http.StatusSwitchingProtocols
		w.metrics.inFlight.Dec()
	}
	return conn, buffered, err
}
