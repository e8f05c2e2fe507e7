package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"cmux.sh/edge/internal/catalog"
)

// watch is one Watch.
type watch struct {
	*Store
	notify func(catalog.Change)
	// last is the log's entry up to which everything was told: "0-0" is the
	// beginning, "" is unknown.
	last   string
	polled time.Time
	// pushed are the versions that were told since the last poll, which the
	// poll need not tell again.
	pushed map[string]uint64
	// broken says that the log has been told of a break.
	broken bool
}

// Bounds of a watch.
const (
	maxPushed = 10_000
	pollBatch = 1000
)

// Watch implements [catalog.Watcher]. What is pushed may be lost: a connection
// breaks, which is seen, or a node of a cluster does not hear another, which is
// not. The log makes up for the latter.
func (s *Store) Watch(ctx context.Context, notify func(catalog.Change)) error {
	w := &watch{Store: s, notify: notify, pushed: make(map[string]uint64)}
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("watch: %w", ctx.Err())
		case <-pause.C:
		}
		if err := w.listen(ctx); ctx.Err() == nil && !w.broken {
			w.broken = true
			s.log.WarnContext(ctx, "the catalogue tells no changes", "error", err)
		}
		pause.Reset(s.timeout / 10)
	}
}

// errSilent: nothing came over a connection, not even a sign of life.
var errSilent = errors.New("the connection is silent")

// listen tells what is pushed until the subscription breaks, and says why.
func (w *watch) listen(ctx context.Context) error {
	limited, cancel := w.limit(ctx)
	subscription := w.client.Subscribe(limited, w.channel)
	cancel()
	defer func() { _ = subscription.Close() }()
	// A read does not end with its context, but with its connection.
	defer context.AfterFunc(ctx, func() { _ = subscription.Close() })()
	// A silent connection is asked for a sign of life, and given up after two
	// more beats without one.
	beat, heard := w.timeout/2, time.Now()
	for ctx.Err() == nil {
		message, err := subscription.ReceiveTimeout(ctx, beat)
		if err != nil {
			var slow net.Error
			if !errors.As(err, &slow) || !slow.Timeout() {
				return err
			}
			if time.Since(heard) > 3*beat {
				return errSilent
			}
			limited, cancel := w.limit(ctx)
			err := subscription.Ping(limited)
			cancel()
			if err != nil {
				return err
			}
		} else {
			heard = time.Now()
		}
		switch m := message.(type) {
		case *goredis.Subscription: // it was made, or made again by the client
			w.catchUp(ctx)
		case *goredis.Message:
			w.push(m.Payload)
		}
		if time.Since(w.polled) >= w.poll {
			w.readLog(ctx)
		}
	}
	return ctx.Err()
}

// push tells what was pushed.
func (w *watch) push(text string) {
	c := readNews(text)
	if c.Kind == catalog.Written {
		if len(w.pushed) >= maxPushed {
			clear(w.pushed)
		}
		w.pushed[c.Key] = c.Version
	}
	w.tell(c)
}

func (w *watch) tell(c catalog.Change) {
	w.meet(max(c.Version, c.Fence))
	w.notify(c)
}

// catchUp begins anew from the end of the log: everything may have changed.
func (w *watch) catchUp(ctx context.Context) {
	ctx, cancel := w.limit(ctx)
	defer cancel()
	w.polled, w.last = time.Now(), ""
	if entries, err := w.client.XRevRangeN(ctx, w.events, "+", "-", 1).Result(); err == nil {
		w.last = "0-0"
		if len(entries) > 0 {
			w.last = entries[0].ID
		}
	}
	clear(w.pushed)
	if w.broken {
		w.broken = false
		w.log.InfoContext(ctx, "the catalogue tells changes again")
	}
	w.tell(catalog.Change{Kind: catalog.Gap})
}

// readLog tells what the log has and nobody pushed.
func (w *watch) readLog(ctx context.Context) {
	if w.last == "" {
		w.catchUp(ctx)
		return
	}
	limited, cancel := w.limit(ctx)
	defer cancel()
	w.polled = time.Now()
	// The last entry is read again: if it is gone, so may others be that
	// came after it (the log was cut, or lost with its Redis).
	entries, err := w.client.XRangeN(limited, w.events, w.last, "+", pollBatch).Result()
	if err != nil {
		return // the next poll, or a new subscription, makes up for it
	}
	if w.last != "0-0" {
		if len(entries) == 0 || entries[0].ID != w.last {
			w.catchUp(ctx)
			return
		}
		entries = entries[1:]
	}
	if len(entries) >= pollBatch-1 {
		w.catchUp(ctx)
		return
	}
	for _, e := range entries {
		w.last = e.ID
		text, _ := e.Values["n"].(string)
		if c := readNews(text); c.Kind != catalog.Written || w.pushed[c.Key] < c.Version {
			w.tell(c)
		}
	}
	clear(w.pushed)
}
