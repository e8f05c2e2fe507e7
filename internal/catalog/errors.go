package catalog

import (
	"errors"
	"fmt"
	"time"

	"cmux.sh/edge/internal/sandbox"
)

// What a store answers when it does not do what it was asked. Each error that
// a store returns wraps one of them or the error of the caller's context.
var (
	// ErrNotFound: nothing is known of the slug.
	ErrNotFound = errors.New("not in the catalogue")
	// ErrConflict: the slug is in use.
	ErrConflict = errors.New("slug in use")
	// ErrDeleted: the slug's record is a tombstone. It is the vocabulary's own.
	ErrDeleted = sandbox.ErrGone
	// ErrFenced: the writer's lease is not the latest one on the slug. What
	// the writer believes about the sandbox may be out of date.
	ErrFenced = errors.New("fenced: a later lease exists")
	// ErrLeaseHeld: somebody else holds the lease; see [HeldError].
	ErrLeaseHeld = errors.New("lease held by another")
	// ErrLeaseExpired: the lease ended before the call.
	ErrLeaseExpired = errors.New("lease expired")
	// ErrUnavailable: the store did not answer, or not in time. A write may
	// have happened.
	ErrUnavailable = errors.New("catalogue unavailable")
	// ErrInvalid: the call can never succeed as it is.
	ErrInvalid = errors.New("invalid")
	// ErrEncoding: what is stored can't be read; see also [ErrNewer].
	ErrEncoding = errors.New("unreadable record")
	// ErrNewer: what is stored was written by a newer edge, in an encoding
	// that this one does not know.
	ErrNewer = fmt.Errorf("%w: written by a newer edge", ErrEncoding)
)

// HeldError is the [ErrLeaseHeld] of a key.
type HeldError struct {
	Key string
	// Fence is the holder's.
	Fence uint64
	// Left is the time to the end of the holder's lease, unless it is renewed
	// or released before: when to try again at the latest.
	Left time.Duration
}

// Error names the key and the time that is left.
func (h *HeldError) Error() string {
	return fmt.Sprintf("lease %s: %v for up to %v", h.Key, ErrLeaseHeld, h.Left)
}

// Unwrap makes the error an [ErrLeaseHeld].
func (h *HeldError) Unwrap() error { return ErrLeaseHeld }
