package webhook

import (
	"context"
	"errors"
	"time"
)

// ErrLost is the answer to a lease that ran out, or that the queue never gave.
var ErrLost = errors.New("webhook: lease lost")

// Lease is a message on its way: nobody else gets it, or another message of
// its sandbox, while the lease lasts.
type Lease struct {
	Message Message
	// Attempt counts the attempts before this one.
	Attempt int
	// Token names the lease to the queue.
	Token string
}

// Queue keeps messages until they are delivered. Several senders may share one.
//
// A queue is made of lines: the messages of one sandbox ([Message.Sandbox]) in
// the order of their Put. Only the head of a line is ever leased. A line is busy
// while its head is leased, and it rests after a Retry.
//
// A queue MUST
//   - be safe for concurrent use, return when ctx ends, and change all of what
//     a call asks for or nothing;
//   - measure all times by one clock: a store that is shared by its own;
//   - keep nothing of a message back: what Lease returns equals what was put.
//
// In Redis: a list per line, a sorted set of lines by when they may be leased
// (now, the end of a lease, or the end of a rest), a sorted set of all messages
// and one of refreshes by the order of Put, a hash of keys; each method is one
// script. On a cluster they share a hash tag.
type Queue interface {
	// Put appends m to its line, unless a message with the same [Message.Key] is
	// in the queue already: then it changes nothing. When the queue is full, it
	// makes room and returns what it dropped: the oldest refresh; when there is
	// none and m is a refresh, m; else the oldest message. A message that is
	// leased is never dropped; when there is no other, m is.
	Put(ctx context.Context, m Message) (dropped []Message, err error)

	// Lease returns the oldest head of the lines that are neither busy nor
	// resting, for d: a lease that is neither Done nor given back by then is free
	// again. It does not wait: with nothing to lease, the lease is nil and wait
	// is how long until a lease or a rest that is known now ends; 0 is not known.
	Lease(ctx context.Context, d time.Duration) (l *Lease, wait time.Duration, err error)

	// Done removes the leased message. An [ErrLost] removed nothing.
	Done(ctx context.Context, l *Lease) error

	// Retry gives the message back as the head of its line, with one more
	// attempt, and lets the line rest. An [ErrLost] changed nothing.
	Retry(ctx context.Context, l *Lease, rest time.Duration) error

	// Len is how many messages there are, leased or not.
	Len(ctx context.Context) (int, error)
}
