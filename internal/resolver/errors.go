package resolver

import (
	"context"
	"errors"
	"time"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/sandbox"
)

// ErrLimit says that the providers are being asked for as many slugs as they
// may be. It comes wrapped in an error of kind unavailable.
var ErrLimit = errors.New("too many look-ups at the providers")

var (
	// errClosed is what a look-up after [Resolver.Close] ends in.
	errClosed = errors.New("the resolver is closed")
	// errPanicked is what a look-up ends in whose panic was logged.
	errPanicked = errors.New("the look-up broke off")
)

// Gone says that the sandbox was deleted. It is of kind not-found, and a
// [catalog.ErrDeleted].
type Gone struct {
	Slug string
	// Deleted is when.
	Deleted time.Time
}

// Error names the sandbox and the time.
func (g *Gone) Error() string {
	return "resolve " + g.Slug + ": deleted " + g.Deleted.Format(time.RFC3339)
}

// Unwrap makes the error one of kind not-found.
func (g *Gone) Unwrap() error {
	return &sandbox.Error{Kind: sandbox.KindNotFound, Op: "resolve", Subject: g.Slug, Err: catalog.ErrDeleted}
}

func unavailable(slug string, err error) error {
	return &sandbox.Error{Kind: sandbox.KindUnavailable, Op: "resolve", Subject: slug, Err: err}
}

func notFound(slug string) error {
	return sandbox.Errorf(sandbox.KindNotFound, "resolve", slug, "there is no such sandbox")
}

// definite tells whether err, or its absence, answers what was asked.
func definite(err error) bool {
	return err == nil || sandbox.KindOf(err) == sandbox.KindNotFound
}

// ended is the error of a caller that does not wait any longer.
func ended(ctx context.Context, slug string) error { return unavailable(slug, ctx.Err()) }
