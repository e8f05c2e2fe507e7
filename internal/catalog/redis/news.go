package redis

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"cmux.sh/edge/internal/catalog"
)

// News has one text form, in the channel and in the log:
//
//	<w written | d deleted | r released> <version> <generation> <fence> <key>
//	g
//
// g stands in the log where entries are missing.

const gapNews = "g"

// news is the text of a written record.
func news(r *catalog.Record) string {
	kind := "w"
	if r.Tombstone() {
		kind = "d"
	}
	return fmt.Sprintf("%s %d %d %d %s", kind, r.Version, r.Generation, r.Fence, r.Slug)
}

// readNews reads a text; what it does not know may be anything: a gap.
func readNews(text string) catalog.Change {
	parts := strings.Split(text, " ")
	if len(parts) != 5 {
		return catalog.Change{}
	}
	c := catalog.Change{Key: parts[4]}
	switch parts[0] {
	case "w":
		c.Kind = catalog.Written
	case "d":
		c.Kind, c.Deleted = catalog.Written, true
	case "r":
		c.Kind = catalog.Released
	default:
		return catalog.Change{}
	}
	for i, into := range []*uint64{&c.Version, &c.Generation, &c.Fence} {
		n, err := strconv.ParseUint(parts[1+i], 10, 53)
		if err != nil {
			return catalog.Change{}
		}
		*into = n
	}
	return c
}

// logLength is about how many entries the log keeps. A watcher that is further
// behind gets a gap.
const logLength = 10_000

// note puts a write into the log, from which watchers learn what was not
// pushed. It does not wait: in a cluster the log may lie on a node that is away,
// which must not hold up writes to the others.
func (s *Store) note(r *catalog.Record) {
	select {
	case s.notes <- news(r):
	default:
		s.unlogged.Store(true)
	}
}

// keepLog writes the log until ctx ends, and then what is left once.
func (s *Store) keepLog(ctx context.Context) {
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			_ = s.appendLog(context.WithoutCancel(ctx), s.pendingNotes(nil))
			return
		case <-retry.C:
			if s.appendLog(ctx, s.pendingNotes(nil)) != nil {
				retry.Reset(time.Second)
			}
		case text := <-s.notes:
			if s.appendLog(ctx, s.pendingNotes([]string{text})) != nil {
				retry.Reset(time.Second)
			}
		}
	}
}

// pendingNotes adds what waits to a batch.
func (s *Store) pendingNotes(batch []string) []string {
	for len(batch) < cap(s.notes) {
		select {
		case text := <-s.notes:
			batch = append(batch, text)
		default:
			return batch
		}
	}
	return batch
}

// appendLog adds a batch, and what tells that an earlier one is missing.
func (s *Store) appendLog(ctx context.Context, batch []string) error {
	if s.unlogged.Swap(false) {
		batch = append(batch, gapNews)
	}
	if len(batch) == 0 {
		return nil
	}
	ctx, cancel := s.limit(ctx)
	defer cancel()
	p := s.client.Pipeline()
	for _, text := range batch {
		p.XAdd(ctx, &goredis.XAddArgs{Stream: s.events, MaxLen: logLength, Approx: true, Values: []string{"n", text}})
	}
	_, err := p.Exec(ctx)
	if err != nil {
		s.unlogged.Store(true)
	}
	return err
}
