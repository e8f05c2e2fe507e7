package manager

import (
	"sync"
	"time"

	"cmux.sh/edge/internal/sandbox"
)

// Kinds of events.
const (
	Started = "started"
	Paused  = "paused"
	Resumed = "resumed"
	Stopped = "stopped"
	Deleted = "deleted"
	Failed  = "failed"
	Warning = "warning"
)

// Event is something that happened to a sandbox or a provider.
type Event struct {
	Time     time.Time
	Kind     string
	Slug     string
	Provider string
	ID       sandbox.ID
	// Generation is that of the record after it; 0 where there is none.
	Generation uint64
	// Detail says more, in one sentence: that RAM was not preserved, who asked.
	Detail string
	// Error is why something failed; it holds no secret.
	Error string
}

// backlog is how many events a slow listener may be behind before it loses
// the oldest of them.
const backlog = 256

// Events tells listeners what happens. It is safe for concurrent use and never
// waits for a listener.
type Events struct {
	mu        sync.Mutex
	listeners map[chan Event]struct{}
}

func newEvents() *Events { return &Events{listeners: make(map[chan Event]struct{})} }

// Listen returns the events from now on, and what ends the listening. A
// listener that does not keep up loses the oldest events.
func (e *Events) Listen() (events <-chan Event, stop func()) {
	ch := make(chan Event, backlog)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.listeners[ch] = struct{}{}
	return ch, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.listeners, ch)
	}
}

func (e *Events) publish(event Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for ch := range e.listeners {
		for {
			select {
			case ch <- event:
			default:
				select {
				case <-ch:
				default:
				}
				continue
			}
			break
		}
	}
}
