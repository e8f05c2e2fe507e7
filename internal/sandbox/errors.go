package sandbox

import (
	"errors"
	"fmt"
	"strings"
)

// Kind says what sort of failure an error is: what a caller can do about it,
// not where it came from.
type Kind uint8

// The kinds of error. A provider maps everything that can go wrong to one of
// them.
const (
	// KindOther: none of the below. Treated like KindUnavailable, but logged
	// louder.
	KindOther Kind = iota
	// KindNotFound: there is no such instance (any more). Final.
	KindNotFound
	// KindBusy: the instance is locked or in a state that does not allow the
	// call now. Look again, then decide.
	KindBusy
	// KindPermission: the credentials are wrong or do not suffice. Final until
	// an operator acts.
	KindPermission
	// KindQuota: a limit of the account, the node or the bill. Another
	// provider may still do it.
	KindQuota
	// KindUnavailable: the provider did not answer, or not in time. The call
	// may have happened.
	KindUnavailable
	// KindInvalid: the request can never succeed as it is. Final.
	KindInvalid
	// KindRefused: the edge itself does not allow it (an address outside the
	// allow-list, a pause that would lose RAM).
	KindRefused
)

var kindNames = [...]string{
	KindOther: "error", KindNotFound: "not found", KindBusy: "busy", KindPermission: "permission denied",
	KindQuota: "quota exceeded", KindUnavailable: "unavailable", KindInvalid: "invalid", KindRefused: "refused",
}

// String is the kind in words.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return kindNames[KindOther]
}

// Label is the kind as the value of a metric's label.
func (k Kind) Label() string { return strings.ReplaceAll(k.String(), " ", "_") }

// ErrGone is wrapped by a [KindNotFound] error about a sandbox that was there
// and was deleted.
var ErrGone = errors.New("it was deleted")

// Error is a failed operation on an instance. Its text never holds a secret.
type Error struct {
	Kind Kind
	// Op is what was tried: "resume", "list".
	Op string
	// Subject is what it was tried on: "pve-vm 104", a slug; may be empty.
	Subject string
	// Err is the cause.
	Err error
}

// Error is "op subject: kind: cause".
func (e *Error) Error() string {
	head := e.Op
	if e.Subject != "" {
		head += " " + e.Subject
	}
	if e.Err == nil {
		return head + ": " + e.Kind.String()
	}
	return head + ": " + e.Kind.String() + ": " + e.Err.Error()
}

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an [Error] of a kind.
func Errorf(kind Kind, op, subject, format string, args ...any) error {
	return &Error{Kind: kind, Op: op, Subject: subject, Err: fmt.Errorf(format, args...)}
}

// KindOf is the kind of the outermost [Error] in err's chain, and [KindOther]
// when there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return KindOther
}
