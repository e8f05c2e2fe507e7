package catalogtest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/sandbox"
)

// Harness is what the suite needs to know about a store.
type Harness struct {
	// New makes an empty catalogue. It is called once for each subtest; what it
	// makes is closed by t.Cleanup.
	New func(t *testing.T, retention time.Duration) Backend
	// Patience is how long the suite waits for what must happen; 0 is 20 s.
	Patience time.Duration
}

// Backend is one catalogue as two replicas see it.
type Backend struct {
	// A and B are the replicas' stores; a store that can't be shared is both.
	A, B catalog.Catalog
	// Empty makes the catalogue lose everything, as a restart without data
	// does; nil where that can't happen to a running replica.
	Empty func()
	// Spoil puts what an edge of the future might have written in the place of
	// a record; nil leaves out the subtest.
	Spoil func(slug string, encoded []byte)
}

// fixture is one subtest's catalogue and its deadline.
type fixture struct {
	Backend
	t        *testing.T
	ctx      context.Context
	patience time.Duration
}

func (h *Harness) fixture(t *testing.T, retention time.Duration) *fixture {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), h.Patience)
	t.Cleanup(cancel)
	return &fixture{Backend: h.New(t, retention), t: t, ctx: ctx, patience: h.Patience}
}

// Ports of a full record.
var ports = map[uint16]string{39378: "https://vscode-demo.http.example.test", 39380: "127.0.0.1:40001"}

// full is a record with everything in it.
func full(slug string) catalog.Record {
	at := time.Date(2026, 8, 1, 12, 0, 0, 123_456_789, time.FixedZone("CEST", 7200))
	return catalog.Record{
		Instance: sandbox.Instance{
			Provider: "pve-vm", ID: "104", Slug: slug, State: sandbox.Paused, Reason: "nobody used it, “for a while”",
			Address: "10.0.0.5", Ports: ports, WorkloadType: "dev", Marked: true, Created: at,
		},
		LastActive: at.Add(time.Hour), PausedBy: catalog.PausedByIdle, RAMPreserved: true, TTL: time.Minute,
	}
}

// lease takes a lease that outlives the subtest.
func (f *fixture) lease(key string) catalog.Lease {
	f.t.Helper()
	l, err := f.A.Lease(f.ctx, key, time.Minute)
	f.must(err)
	return l
}

// fence is the latest fence of a key, whose lease is free again.
func (f *fixture) fence(key string) uint64 {
	f.t.Helper()
	l := f.lease(key)
	f.must(l.Release(f.ctx))
	return l.Fence()
}

// create makes a record under a new fence.
func (f *fixture) create(slug string) catalog.Record {
	f.t.Helper()
	r := full(slug)
	r.Fence = f.fence(slug)
	r, err := f.A.Create(f.ctx, r)
	f.must(err)
	return r
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) want(err, want error) {
	f.t.Helper()
	if !errors.Is(err, want) {
		f.t.Errorf("got error %v, want %v", err, want)
	}
}

// wantRecord checks what both replicas see.
func (f *fixture) wantRecord(want catalog.Record) {
	f.t.Helper()
	for _, c := range []catalog.Catalog{f.A, f.B} {
		got, err := c.Get(f.ctx, want.Slug)
		f.must(err)
		if diff := cmp.Diff(want, got); diff != "" {
			f.t.Errorf("Get %s (-want +got):\n%s", want.Slug, diff)
		}
	}
}

// wantGone checks that neither replica knows a slug.
func (f *fixture) wantGone(slug string) {
	f.t.Helper()
	for _, c := range []catalog.Catalog{f.A, f.B} {
		_, err := c.Get(f.ctx, slug)
		f.want(err, catalog.ErrNotFound)
	}
}

// eventually waits for a condition.
func (f *fixture) eventually(what string, holds func() bool) {
	f.t.Helper()
	for !holds() {
		select {
		case <-f.ctx.Done():
			f.t.Fatalf("after %v still not: %s", f.patience, what)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// diary is what a watcher was told.
type diary struct {
	mu      sync.Mutex
	changes []catalog.Change
}

// watch starts a watcher on replica B and waits for its first gap, after which
// it misses nothing. The watcher ends with the subtest.
func (f *fixture) watch() *diary {
	f.t.Helper()
	d := &diary{}
	ctx, cancel := context.WithCancel(context.WithoutCancel(f.ctx))
	ended := make(chan error, 1)
	go func() { ended <- f.B.Watch(ctx, d.note) }() // ends in the cleanup
	f.t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			f.want(err, context.Canceled)
		case <-time.After(f.patience):
			f.t.Error("Watch goes on after its context ended")
		}
	})
	f.eventually("a watcher is told that it begins", func() bool { return d.has(catalog.Change{Kind: catalog.Gap}) })
	return d
}

func (d *diary) note(c catalog.Change) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changes = append(d.changes, c)
}

func (d *diary) all() []catalog.Change {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.changes)
}

func (d *diary) has(want catalog.Change) bool {
	return slices.Contains(d.all(), want)
}

// written is the news of a record.
func written(r *catalog.Record) catalog.Change {
	return catalog.Change{
		Kind: catalog.Written, Key: r.Slug, Version: r.Version, Generation: r.Generation, Fence: r.Fence, Deleted: r.Tombstone(),
	}
}
