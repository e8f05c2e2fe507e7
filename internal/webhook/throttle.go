package webhook

import (
	"sync"
	"time"
)

// logEvery is how often the same trouble is logged: an outage fails thousands of
// messages.
const logEvery = time.Minute

// throttle lets one in a while pass, and says for how many it stands.
type throttle struct {
	mu   sync.Mutex
	n    int
	last time.Time
	hot  bool // something passed since the last reset
}

// pass returns for how many calls this one stands, or 0 when it does not pass.
func (t *throttle) pass(now time.Time) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n++
	if !t.last.IsZero() && now.Sub(t.last) < logEvery {
		return 0
	}
	n := t.n
	t.n, t.last, t.hot = 0, now, true
	return n
}

// reset forgets what did not pass. It returns how many that were, and whether
// something passed since the last reset.
func (t *throttle) reset() (n int, passed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, passed = t.n, t.hot
	t.n, t.hot = 0, false
	return n, passed
}
