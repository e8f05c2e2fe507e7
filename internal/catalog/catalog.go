package catalog

import (
	"context"
	"iter"
	"time"
)

// Catalog is a store of records, leases and news of both.
//
// # Promises
//
// Concurrency: every method may be called at any time from any goroutine. A
// write is atomic: a reader sees all of it or nothing of it. What a method
// returned as written is seen by every later Get through every replica that
// asks the same server; in Redis, a write that was acknowledged within the last
// second before a fail-over may be lost, unless a replica confirmed it in time.
//
// Blocking: every method returns soon after ctx ends, with an error that wraps
// ctx.Err(). Only Watch waits for anything else than the store's answer; a
// store that does not answer costs about a second and is [ErrUnavailable].
//
// Errors: each wraps one of this package's or the context's. After
// ErrUnavailable, or after the end of ctx, a write may have happened, may yet
// happen and may have happened twice: look again. A write that is repeated with
// the same record does no harm.
//
// Ownership: a store keeps nothing of what it is given but the maps of a
// record, which nobody may write any more.
type Catalog interface {
	Reader
	Writer
	Leaser
	Watcher
	// Ping asks the store whether it answers.
	Ping(ctx context.Context) error
}

// Reader finds records.
type Reader interface {
	// Get returns the record of a slug, which may be a tombstone, or
	// ErrNotFound.
	Get(ctx context.Context, slug string) (Record, error)
	// List returns some records, tombstones too, in no order, and the cursor
	// of the next ones. The first cursor is "", and so is the last. limit is
	// about how many; 0 is a few hundred, and no page is larger than a few
	// thousand. A page may be empty and yet have a next one.
	//
	// Over a whole listing every record that was there all the time comes at
	// least once; one that came or went meanwhile may come or not. In a
	// Cluster, records that move between nodes meanwhile may be missed.
	List(ctx context.Context, cursor string, limit int) (Page, error)
}

// Page is a part of a listing.
type Page struct {
	Records []Record
	// Unreadable are the slugs of records that this edge can't decode. They
	// are in use all the same.
	Unreadable []string
	// Next is the cursor of the next page; "" when this was the last.
	Next string
}

// Writer changes records. Create, Put and Delete carry the fence of the
// writer's lease on the slug in the record's Fence: they succeed only while no
// later lease was given out, else they are [ErrFenced]. A record without a
// fence is always fenced. The lease need not be alive: what counts is that
// nobody came after it. (On a slug without a record, the fence of a lease that
// ended more than an hour ago may be refused.)
//
// Each returns the record as it was written, with its new Version. A record
// with Generation 0 gets a new one; any other Generation is kept, unless the
// slug has had a larger one, which is kept then. LastActive is the later of
// what was stored and what is given; that of a tombstone does not count.
type Writer interface {
	// Create writes the record of a slug that has none. It fails with
	// ErrConflict when the slug is in use, except by the same record under the
	// same fence: then the call is a repetition, and succeeds. A tombstone is replaced, except by
	// the very instance that it is about: that is ErrDeleted, so that what a
	// provider still lists while it deletes it is not adopted again.
	Create(ctx context.Context, r Record) (Record, error)
	// Put writes the record of a slug, whether it has one or not. It fails
	// with ErrDeleted on a tombstone.
	Put(ctx context.Context, r Record) (Record, error)
	// Delete turns the record of a slug into a tombstone (see [Record.Buried]),
	// whether it has one or not. It returns an existing tombstone as it is.
	Delete(ctx context.Context, r Record) (Record, error)
	// Touch notes that the sandbox was in use at a time. It needs no lease, is
	// not told to watchers, never moves LastActive back, and fails with
	// ErrNotFound or ErrDeleted where there is nothing to note it on.
	Touch(ctx context.Context, slug string, at time.Time) error
}

// Leaser gives out leases.
type Leaser interface {
	// Lease takes the lease on a key, a slug or a [Singleton], for ttl. It does
	// not wait: a lease that is held by anybody is a [HeldError], which wraps
	// [ErrLeaseHeld]. ttl is at least a millisecond.
	Lease(ctx context.Context, key string, ttl time.Duration) (Lease, error)
}

// Watcher tells of changes.
type Watcher interface {
	// Watch calls notify for every change until ctx ends, and returns an error
	// that wraps ctx.Err(). It begins with a [Gap], and sends another whenever
	// changes may have been missed. It keeps trying while the store is away.
	//
	// Calls come one after the other from one goroutine. The changes of one
	// slug may come twice and out of order: [Change].Version tells. notify
	// must not block; when it is too slow, the store sends a gap.
	Watch(ctx context.Context, notify func(Change)) error
}

// All lists every record, in no order, some of them twice. It stops at the
// first error. Records that can't be read are left out.
func All(ctx context.Context, from Reader) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for cursor := ""; ; {
			page, err := from.List(ctx, cursor, 0)
			if err != nil {
				yield(Record{}, err)
				return
			}
			for _, r := range page.Records {
				if !yield(r, nil) {
					return
				}
			}
			if cursor = page.Next; cursor == "" {
				return
			}
		}
	}
}
