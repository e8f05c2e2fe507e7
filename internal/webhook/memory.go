package webhook

import (
	"container/list"
	"context"
	"strconv"
	"sync"
	"time"
)

// DefaultSize is how many messages a [Memory] holds when not told.
const DefaultSize = 10_000

// Memory is a [Queue] in this process, and ends with it.
type Memory struct {
	size int

	mu sync.Mutex
	// all holds every *entry in the order of Put.
	all       list.List
	keys      map[string]struct{}
	lines     map[string]*line
	refreshes int
	tokens    uint64
}

type entry struct {
	message Message
	key     string
	line    *line
}

type line struct {
	sandbox string
	// entries are elements of all, oldest first.
	entries []*list.Element
	attempt int       // of the head
	token   string    // of the last lease; "" when it was given back
	free    time.Time // when the lease or the rest ends
}

// NewMemory returns a queue of at most size messages; 0 is [DefaultSize].
func NewMemory(size int) *Memory {
	if size <= 0 {
		size = DefaultSize
	}
	return &Memory{size: size, keys: map[string]struct{}{}, lines: map[string]*line{}}
}

// Put implements [Queue].
func (q *Memory) Put(ctx context.Context, m Message) (dropped []Message, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	key := m.Key()
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, known := q.keys[key]; known {
		return nil, nil
	}
	if q.all.Len() >= q.size {
		victim := q.victim(m.Type == InUse, time.Now())
		if victim == nil {
			return []Message{m}, nil
		}
		dropped = []Message{victim.Value.(*entry).message}
		q.remove(victim)
	}
	l := q.lines[m.Sandbox()]
	if l == nil {
		l = &line{sandbox: m.Sandbox()}
		q.lines[l.sandbox] = l
	}
	l.entries = append(l.entries, q.all.PushBack(&entry{m, key, l}))
	q.keys[key] = struct{}{}
	if m.Type == InUse {
		q.refreshes++
	}
	return dropped, nil
}

// victim is what to drop for a new message; nil is the new one.
func (q *Memory) victim(refresh bool, now time.Time) *list.Element {
	if q.refreshes == 0 && refresh {
		return nil
	}
	var oldest *list.Element
	for e := q.all.Front(); e != nil; e = e.Next() {
		l := e.Value.(*entry).line
		if l.leased(now) && l.entries[0] == e {
			continue
		}
		if e.Value.(*entry).message.Type == InUse {
			return e
		}
		if oldest == nil {
			if oldest = e; q.refreshes == 0 {
				break
			}
		}
	}
	if refresh {
		return nil
	}
	return oldest
}

func (q *Memory) remove(e *list.Element) {
	gone := q.all.Remove(e).(*entry)
	delete(q.keys, gone.key)
	if gone.message.Type == InUse {
		q.refreshes--
	}
	l := gone.line
	for i := range l.entries {
		if l.entries[i] != e {
			continue
		}
		if i == 0 {
			l.attempt, l.token = 0, ""
		}
		l.entries = append(l.entries[:i], l.entries[i+1:]...)
		break
	}
	if len(l.entries) == 0 {
		delete(q.lines, l.sandbox)
	}
}

// Lease implements [Queue].
func (q *Memory) Lease(ctx context.Context, d time.Duration) (lease *Lease, wait time.Duration, err error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	for e := q.all.Front(); e != nil; e = e.Next() {
		l := e.Value.(*entry).line
		if l.entries[0] != e {
			continue
		}
		if rest := l.free.Sub(now); rest > 0 {
			if wait == 0 || rest < wait {
				wait = rest
			}
			continue
		}
		if l.token != "" {
			l.attempt++ // of a holder that was not heard of again
		}
		q.tokens++
		l.token, l.free = strconv.FormatUint(q.tokens, 10), now.Add(d)
		return &Lease{e.Value.(*entry).message, l.attempt, l.token}, 0, nil
	}
	return nil, wait, nil
}

// Done implements [Queue].
func (q *Memory) Done(ctx context.Context, lease *Lease) error {
	return q.settle(ctx, lease, func(l *line, _ time.Time) {
		l.free = time.Time{}
		q.remove(l.entries[0])
	})
}

// Retry implements [Queue].
func (q *Memory) Retry(ctx context.Context, lease *Lease, rest time.Duration) error {
	return q.settle(ctx, lease, func(l *line, now time.Time) {
		l.attempt++
		l.token, l.free = "", now.Add(rest)
	})
}

func (q *Memory) settle(ctx context.Context, lease *Lease, end func(*line, time.Time)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	l := q.lines[lease.Message.Sandbox()]
	if l == nil || l.token != lease.Token || !l.leased(now) {
		return ErrLost
	}
	end(l, now)
	return nil
}

// Len implements [Queue].
func (q *Memory) Len(context.Context) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.all.Len(), nil
}

func (l *line) leased(now time.Time) bool { return l.token != "" && now.Before(l.free) }
