package catalog_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/sandbox"
)

func TestPausedByReadsWhatItWrites(t *testing.T) {
	t.Parallel()
	names := make(map[string]bool)
	for p := catalog.PausedByNobody; p <= catalog.PausedByUnknown; p++ {
		text, err := p.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var back catalog.PausedBy
		if err := back.UnmarshalText(text); err != nil || back != p {
			t.Errorf("%v is read as %v (%v)", p, back, err)
		}
		names[p.String()] = true
	}
	if len(names) != 6 {
		t.Errorf("got names %v, want six", names)
	}
	if got := catalog.PausedBy(99).String(); got != "unknown" {
		t.Errorf("got %q, want unknown", got)
	}
}

func TestKindsHaveNames(t *testing.T) {
	t.Parallel()
	for kind, want := range map[catalog.Kind]string{catalog.Gap: "gap", catalog.Written: "written", catalog.Released: "released", 99: "unknown"} {
		if kind.String() != want {
			t.Errorf("got %q, want %q", kind, want)
		}
	}
}

func TestValidSlug(t *testing.T) {
	t.Parallel()
	for slug, want := range map[string]bool{
		"demo": true, "pvevm-0a1b": true, "7": true, "-": true, strings.Repeat("x", 63): true,
		"": false, strings.Repeat("x", 64): false, "Demo": false, "a.b": false, "a_b": false, "a}": false, "a b": false, "é": false, "a/b": false,
	} {
		if got := catalog.ValidSlug(slug); got != want {
			t.Errorf("ValidSlug(%q) is %v, want %v", slug, got, want)
		}
	}
}

func TestABuriedRecordTellsWhoItWas(t *testing.T) {
	t.Parallel()
	r := full()
	deleted := at.Add(3 * time.Hour)
	got := r.Buried(deleted)
	want := full()
	want.State, want.Address, want.Ports, want.PausedBy, want.RAMPreserved = sandbox.Stopped, "", nil, catalog.PausedByNobody, false
	want.TTL, want.Deleted = 0, deleted
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if again := got.Buried(deleted.Add(time.Hour)); !again.Deleted.Equal(deleted) {
		t.Errorf("a tombstone that is buried again is of %v, want %v", again.Deleted, deleted)
	}
	if !r.SameInstance(&got) {
		t.Error("a tombstone is of another instance")
	}
}

func TestTimesAreKeptToTheMicrosecond(t *testing.T) {
	t.Parallel()
	r := full()
	r.Created = time.Date(2026, 8, 1, 14, 0, 0, 123_456_789, time.FixedZone("CEST", 7200))
	r.Ports = map[uint16]string{}
	want := full()
	want.Ports = nil
	if diff := cmp.Diff(want, r.Normal()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAHeldLeaseSaysForHowLong(t *testing.T) {
	t.Parallel()
	err := error(&catalog.HeldError{Key: "demo", Fence: 7, Left: 3 * time.Second})
	if got, want := err.Error(), "lease demo: lease held by another for up to 3s"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !errors.Is(err, catalog.ErrLeaseHeld) {
		t.Error("it is not an ErrLeaseHeld")
	}
}
