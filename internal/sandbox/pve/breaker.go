package pve

import (
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"

	"cmux.sh/edge/internal/sandbox"
)

const (
	// badStarts on a node in a row open its breaker, for breakerPause; then one
	// start may show whether the node works again.
	badStarts    = 4
	breakerPause = 30 * time.Second
)

// breakers pass over nodes on which starts fail, so that what can be made on
// another node, or elsewhere, does not wait for this one. The zero value is
// ready.
type breakers struct {
	mu    sync.Mutex
	nodes map[string]*gobreaker.TwoStepCircuitBreaker[struct{}]
}

func (b *breakers) of(node string) *gobreaker.TwoStepCircuitBreaker[struct{}] {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.nodes == nil {
		b.nodes = map[string]*gobreaker.TwoStepCircuitBreaker[struct{}]{}
	}
	if b.nodes[node] == nil {
		b.nodes[node] = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
			Name:        node,
			Timeout:     breakerPause,
			ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= badStarts },
		})
	}
	return b.nodes[node]
}

// attempt asks for leave to start on a node; done tells how that went.
func (b *breakers) attempt(node string) (done func(error), err error) {
	done, err = b.of(node).Allow()
	if err != nil {
		return nil, &Failure{Text: brokenOff(node)}
	}
	return done, nil
}

// open tells whether a node is passed over.
func (b *breakers) open(node string) bool { return b.of(node).State() == gobreaker.StateOpen }

func brokenOff(node string) string {
	return "the last starts on node " + node + " failed; it is tried again soon"
}

// blamesNode is err as the node's breaker counts it: what the caller did, or the
// guest is, says nothing about the node.
func blamesNode(wrapped error, cut bool) error {
	if wrapped == nil || cut {
		return nil
	}
	switch sandbox.KindOf(wrapped) {
	case sandbox.KindBusy, sandbox.KindInvalid, sandbox.KindNotFound, sandbox.KindPermission, sandbox.KindRefused:
		return nil
	}
	return wrapped
}
