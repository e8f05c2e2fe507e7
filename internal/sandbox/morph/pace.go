package morph

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// pace says how long to wait before the next attempt: exponentially longer
// with jitter, unless the last answer asked for a time. It serves one
// goroutine.
type pace struct {
	backoff.ExponentialBackOff
	asked time.Duration
	most  time.Duration
}

func newPace(first, most time.Duration) *pace {
	return &pace{
		ExponentialBackOff: backoff.ExponentialBackOff{
			InitialInterval: first, MaxInterval: most, Multiplier: 2, RandomizationFactor: 0.3,
		},
		most: most,
	}
}

// heed takes over what a failure's answer asked for.
func (p *pace) heed(err error) {
	if f, ok := asFailure(err); ok {
		p.asked = f.retryAfter
	}
}

// NextBackOff is the time to wait, or [backoff.Stop] when more was asked for
// than there is patience.
func (p *pace) NextBackOff() time.Duration {
	next := p.ExponentialBackOff.NextBackOff()
	if asked := p.asked; asked > 0 {
		p.asked = 0
		if asked > p.most {
			return backoff.Stop
		}
		next = max(next, asked)
	}
	return next
}

// wait lets the next interval pass. A longer asked-for time than the pace
// allows is cut: whoever waits in a loop has its deadline from the caller.
func (p *pace) wait(ctx context.Context) error {
	next := p.NextBackOff()
	if next == backoff.Stop {
		next = p.most
	}
	timer := time.NewTimer(next)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
