package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"cmux.sh/edge/internal/sandbox"
)

func ExampleError() {
	err := fmt.Errorf("wake demo: %w", sandbox.Errorf(sandbox.KindUnavailable, "resume", "pve-vm 104", "%w", context.DeadlineExceeded))
	fmt.Println(err)
	fmt.Println(sandbox.KindOf(err), errors.Is(err, context.DeadlineExceeded))
	// Output:
	// wake demo: resume pve-vm 104: unavailable: context deadline exceeded
	// unavailable true
}

// Subject and cause may be empty.
func ExampleError_Error() {
	fmt.Println(&sandbox.Error{Kind: sandbox.KindPermission, Op: "list"})
	fmt.Println(&sandbox.Error{Kind: sandbox.KindBusy, Op: "pause", Subject: "pve-lxc 201"})
	fmt.Println(&sandbox.Error{Kind: sandbox.KindQuota, Op: "start", Err: errors.New("10 of 10 instances")})
	// Output:
	// list: permission denied
	// pause pve-lxc 201: busy
	// start: quota exceeded: 10 of 10 instances
}

// An error of Start says what it left behind.
func ExampleLeftover() {
	err := sandbox.Errorf(sandbox.KindOther, "start", "demo", "boot failed: %w", &sandbox.Leftover{ID: "pve1/104"})
	fmt.Println(err)
	if left, ok := errors.AsType[*sandbox.Leftover](err); ok {
		fmt.Println("to delete:", left.ID)
	}
	// Output:
	// start demo: error: boot failed: left behind: pve1/104
	// to delete: pve1/104
}

func TestKindOf(t *testing.T) {
	t.Parallel()
	busy := &sandbox.Error{Kind: sandbox.KindBusy, Op: "pause"}
	for _, tt := range []struct {
		name string
		err  error
		want sandbox.Kind
	}{
		{"no error", nil, sandbox.KindOther},
		{"somebody else's error", io.EOF, sandbox.KindOther},
		{"the error itself", busy, sandbox.KindBusy},
		{"a wrapped error", fmt.Errorf("wake: %w", busy), sandbox.KindBusy},
		{"a joined error", errors.Join(io.EOF, busy), sandbox.KindBusy},
		{"the outermost of two", &sandbox.Error{Kind: sandbox.KindRefused, Op: "wake", Err: busy}, sandbox.KindRefused},
	} {
		if got := sandbox.KindOf(tt.err); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestKindsHaveNames(t *testing.T) {
	t.Parallel()
	for kind, want := range map[sandbox.Kind]string{
		sandbox.KindOther: "error", sandbox.KindNotFound: "not found", sandbox.KindBusy: "busy",
		sandbox.KindPermission: "permission denied", sandbox.KindQuota: "quota exceeded", sandbox.KindUnavailable: "unavailable",
		sandbox.KindInvalid: "invalid", sandbox.KindRefused: "refused", 255: "error",
	} {
		if got := kind.String(); got != want {
			t.Errorf("kind %d is %q, want %q", kind, got, want)
		}
	}
}
