package resolver

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"cmux.sh/edge/internal/catalog"
)

// health is whether the catalogue answers, as far as its callers saw.
type health struct {
	log   *slog.Logger
	gauge prometheus.Gauge
	back  func()        // called when it answers again
	fell  chan struct{} // told when it does not any more
	down  atomic.Bool
}

// saw notes what a call of the catalogue ended in, and returns it.
func (h *health) saw(err error) error {
	switch {
	case errors.Is(err, catalog.ErrUnavailable):
		h.gauge.Set(0)
		if h.down.CompareAndSwap(false, true) {
			h.log.Warn("catalogue is unavailable", "error", err.Error())
			select {
			case h.fell <- struct{}{}:
			default:
			}
		}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
	default:
		h.gauge.Set(1)
		if h.down.Load() {
			h.back() // before anybody finds it up
			if h.down.CompareAndSwap(true, false) {
				h.log.Info("catalogue is available again")
			}
		}
	}
	return err
}
