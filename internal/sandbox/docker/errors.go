package docker

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"

	"cmux.sh/edge/internal/sandbox"
)

// failure is something that went wrong without the Engine's client saying so.
type failure struct {
	kind sandbox.Kind
	text string
}

func (f *failure) Error() string { return f.text }

func garbage(text string) error {
	return &failure{kind: sandbox.KindUnavailable, text: "unreadable answer: " + text}
}

// fail makes the contract's error of anything that went wrong inside.
func fail(ctx context.Context, op, subject string, err error) error {
	if ctx.Err() != nil {
		// The client hides the context's error behind some of its own.
		left, isLeft := errors.AsType[*sandbox.Leftover](err)
		err = ctx.Err()
		if isLeft {
			err = fmt.Errorf("%w (%w)", err, left)
		}
		return &sandbox.Error{Kind: sandbox.KindUnavailable, Op: op, Subject: subject, Err: err}
	}
	return &sandbox.Error{Kind: kindOf(err), Op: op, Subject: subject, Err: shorten(err)}
}

// maxText bounds an error's text: the client repeats whole bodies, and one may
// be a proxy's page.
const maxText = 300

// shortened is an error of a long text, cut.
type shortened struct {
	error
	text string
}

func (s *shortened) Error() string { return s.text }
func (s *shortened) Unwrap() error { return s.error }

func shorten(err error) error {
	text := strings.Join(strings.Fields(strings.ToValidUTF8(err.Error(), "?")), " ")
	if text == err.Error() && len(text) <= maxText {
		return err
	}
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return &shortened{error: err, text: text}
}

func kindOf(err error) sandbox.Kind {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.kind
	}
	switch {
	case gone(err):
		return sandbox.KindNotFound
	case errdefs.IsConflict(err):
		return sandbox.KindBusy
	case errdefs.IsPermissionDenied(err), errdefs.IsUnauthorized(err):
		return sandbox.KindPermission
	case errdefs.IsInvalidArgument(err):
		return sandbox.KindInvalid
	case strings.Contains(err.Error(), "permission denied while trying to connect"):
		return sandbox.KindPermission // the socket's, which the client turns into a text
	}
	return sandbox.KindUnavailable
}

// gone tells whether the Engine said that there is no such container. A bare
// 404 may come from anything between it and us.
func gone(err error) bool {
	return errdefs.IsNotFound(err) && strings.Contains(strings.ToLower(err.Error()), "no such container")
}
