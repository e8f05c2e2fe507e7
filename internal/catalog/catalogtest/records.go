package catalogtest

import (
	"fmt"
	"math"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-cmp/cmp"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/sandbox"
)

func nothingIsKnownAtFirst(f *fixture) {
	f.must(f.A.Ping(f.ctx))
	f.wantGone("demo")
	f.wantGone("no slug")
	page, err := f.A.List(f.ctx, "", 0)
	f.must(err)
	if len(page.Records) != 0 {
		f.t.Errorf("List has %v", page.Records)
	}
}

func whatIsWrittenIsReadByAll(f *fixture) {
	for _, r := range []catalog.Record{
		full("full"),
		{Instance: sandbox.Instance{Slug: "bare"}},
		{Instance: sandbox.Instance{Slug: "empty-map", Ports: map[uint16]string{}}},
		{Instance: sandbox.Instance{Slug: strings.Repeat("x", 63), State: sandbox.Failed, Reason: "\x00\n{}\"'" + strings.Repeat("é", 100)}},
	} {
		r.Fence = f.fence(r.Slug)
		got, err := f.A.Create(f.ctx, r)
		f.must(err)
		want := r.Normal()
		want.Generation, want.Version = got.Generation, got.Version
		if diff := cmp.Diff(want, got); diff != "" {
			f.t.Errorf("Create (-want +got):\n%s", diff)
		}
		if got.Generation == 0 || got.Version == 0 {
			f.t.Errorf("%s has no generation or version: %+v", r.Slug, got)
		}
		f.wantRecord(want)

		next := full(r.Slug)
		next.Fence = r.Fence
		got, err = f.B.Put(f.ctx, next)
		f.must(err)
		next = next.Normal()
		next.Generation, next.Version = got.Generation, got.Version
		f.wantRecord(next)
	}
}

func numbersGrowWithEveryWrite(f *fixture) {
	r := f.create("demo")
	for range 20 {
		before := r
		r.Fence, r.Generation = f.fence("demo"), 0
		var err error
		r, err = f.A.Put(f.ctx, r)
		f.must(err)
		if r.Fence <= before.Fence || r.Generation <= before.Generation || r.Version <= before.Version {
			f.t.Fatalf("after fence %d, generation %d, version %d came %d, %d, %d",
				before.Fence, before.Generation, before.Version, r.Fence, r.Generation, r.Version)
		}
	}
	buried, err := f.A.Delete(f.ctx, r)
	f.must(err)
	if buried.Version <= r.Version || buried.Generation < r.Generation {
		f.t.Errorf("the tombstone is version %d and generation %d after %d and %d",
			buried.Version, buried.Generation, r.Version, r.Generation)
	}
	next := full("demo")
	next.ID, next.Fence = "105", f.fence("demo")
	next, err = f.A.Create(f.ctx, next)
	f.must(err)
	if next.Version <= buried.Version || next.Generation <= buried.Generation {
		f.t.Errorf("what follows the tombstone is version %d and generation %d after %d and %d",
			next.Version, next.Generation, buried.Version, buried.Generation)
	}
}

func aGenerationIsKeptOrNew(f *fixture) {
	r := f.create("demo")
	put := func(generation uint64) uint64 {
		f.t.Helper()
		r.Generation = generation
		got, err := f.A.Put(f.ctx, r)
		f.must(err)
		return got.Generation
	}
	first := r.Generation
	for _, tt := range []struct {
		name      string
		put, want uint64
	}{
		{"its own", first, first},
		{"a smaller one", 1, first},
		{"a larger one", first + 1e9, first + 1e9},
		{"the former one", first, first + 1e9},
	} {
		if got := put(tt.put); got != tt.want {
			f.t.Errorf("%s: got generation %d, want %d", tt.name, got, tt.want)
		}
	}
	if got := put(0); got <= first+1e9 {
		f.t.Errorf("a new generation is %d after %d", got, uint64(first+1e9))
	}
}

func invalidRecordsAreRefused(f *fixture) {
	fence := f.fence("demo")
	for _, tt := range []struct {
		name  string
		spoil func(*catalog.Record)
	}{
		{"no slug", func(r *catalog.Record) { r.Slug = "" }},
		{"a slug with a brace", func(r *catalog.Record) { r.Slug = "a}b" }},
		{"a slug in capitals", func(r *catalog.Record) { r.Slug = "Demo" }},
		{"a long slug", func(r *catalog.Record) { r.Slug = strings.Repeat("x", 64) }},
		{"port 0", func(r *catalog.Record) { r.Ports = map[uint16]string{0: "10.0.0.1:80"} }},
		{"a long reason", func(r *catalog.Record) { r.Reason = strings.Repeat("x", 64<<10) }},
		{"a huge generation", func(r *catalog.Record) { r.Generation = math.MaxUint64 }},
		{"a huge fence", func(r *catalog.Record) { r.Fence = 1 << 53 }},
		{"a year that is none", func(r *catalog.Record) { r.Created = time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC) }},
	} {
		r := full("demo")
		r.Fence = fence
		tt.spoil(&r)
		_, err := f.A.Create(f.ctx, r)
		if f.want(err, catalog.ErrInvalid); f.t.Failed() {
			f.t.Fatalf("Create with %s", tt.name)
		}
		_, err = f.A.Put(f.ctx, r)
		f.want(err, catalog.ErrInvalid)
		_, err = f.A.Delete(f.ctx, r)
		if r.Ports[0] == "" { // a tombstone has no ports
			f.want(err, catalog.ErrInvalid)
		}
	}
}

func createRefusesASlugInUse(f *fixture) {
	r := f.create("demo")
	other := full("demo")
	other.ID, other.Fence = "105", f.fence("demo")
	_, err := f.B.Create(f.ctx, other)
	f.want(err, catalog.ErrConflict)
	f.wantRecord(r)
}

// A write whose answer was lost is repeated by whoever wrote it.
func createTwiceUnderOneLeaseMakesOne(f *fixture) {
	r := full("demo")
	r.Fence = f.fence("demo")
	first, err := f.A.Create(f.ctx, r)
	f.must(err)
	second, err := f.B.Create(f.ctx, r)
	f.must(err)
	if diff := cmp.Diff(first, second); diff != "" {
		f.t.Errorf("the second is another (-first +second):\n%s", diff)
	}
}

func concurrentCreatesMakeOne(f *fixture) {
	fence := f.fence("demo")
	var made atomic.Int32
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			r := full("demo")
			r.ID, r.Fence = sandbox.ID(strconv.Itoa(i)), fence
			_, err := []catalog.Catalog{f.A, f.B}[i%2].Create(f.ctx, r)
			if err == nil {
				made.Add(1)
				return
			}
			f.want(err, catalog.ErrConflict)
		})
	}
	all.Wait()
	if got := made.Load(); got != 1 {
		f.t.Errorf("%d of 16 were made, want 1", got)
	}
}

func putWritesWhatIsNotThere(f *fixture) {
	r := full("demo")
	r.Fence = f.fence("demo")
	r, err := f.A.Put(f.ctx, r)
	f.must(err)
	f.wantRecord(r)
}

func onlyTheLatestFenceWrites(f *fixture) {
	r := full("demo")
	for _, write := range f.writes() {
		_, err := write(f.ctx, r) // without a fence
		f.want(err, catalog.ErrFenced)
		r.Fence = f.fence("demo")
		f.fence("demo")
		_, err = write(f.ctx, r)
		f.want(err, catalog.ErrFenced)
	}
	f.wantGone("demo")
	r = f.create("demo")
	latest := f.fence("demo")
	for _, write := range f.writes() {
		_, err := write(f.ctx, r)
		f.want(err, catalog.ErrFenced)
	}
	f.wantRecord(r)
	r.Fence = latest
	r, err := f.A.Put(f.ctx, r)
	f.must(err)
	f.wantRecord(r)
}

func anExpiredLeaseWritesUntilTheNextOne(f *fixture) {
	l, err := f.A.Lease(f.ctx, "demo", 20*time.Millisecond)
	f.must(err)
	f.eventually("the lease has run out", func() bool { return time.Now().After(l.Expires()) })
	r := full("demo")
	r.Fence = l.Fence()
	r, err = f.A.Put(f.ctx, r)
	f.must(err)
	f.eventually("the next lease is taken", func() bool {
		_, err := f.B.Lease(f.ctx, "demo", time.Minute)
		return err == nil
	})
	_, err = f.A.Put(f.ctx, r)
	f.want(err, catalog.ErrFenced)
}

// Who reads under a lease and writes under its fence misses nobody's write.
func concurrentWritersLoseNothing(f *fixture) {
	f.create("demo")
	const writers, each = 4, 10
	var all sync.WaitGroup
	for i := range writers {
		c := []catalog.Catalog{f.A, f.B}[i%2]
		all.Go(func() {
			for done := 0; done < each && f.ctx.Err() == nil; {
				l, err := c.Lease(f.ctx, "demo", 10*time.Second)
				if err != nil {
					continue // held by another, who goes on
				}
				r, err := c.Get(f.ctx, "demo")
				runtime.Gosched() // to whoever might get in between
				if err == nil {
					n, _ := strconv.Atoi(r.Reason)
					r.Reason, r.Fence = strconv.Itoa(n+1), l.Fence()
					_, err = c.Put(f.ctx, r)
				}
				if err != nil {
					f.t.Error(err)
				}
				if err := l.Release(f.ctx); err != nil {
					f.t.Error(err)
				}
				done++
			}
		})
	}
	all.Wait()
	r, err := f.A.Get(f.ctx, "demo")
	f.must(err)
	if want := strconv.Itoa(writers * each); r.Reason != want {
		f.t.Errorf("%s writes are there, want %s", r.Reason, want)
	}
}

func deleteLeavesATombstone(f *fixture) {
	r := f.create("demo")
	f.must(f.A.Touch(f.ctx, "demo", r.LastActive.Add(time.Hour)))
	r.Fence = f.fence("demo")
	got, err := f.B.Delete(f.ctx, r)
	f.must(err)
	if !got.Tombstone() || time.Since(got.Deleted).Abs() > time.Minute {
		f.t.Errorf("deleted at %v, want about now", got.Deleted)
	}
	want := r.Buried(got.Deleted)
	want.Version, want.Generation = got.Version, got.Generation
	want.LastActive = r.LastActive.Add(time.Hour)
	f.wantRecord(want)
	if got.Address != "" || got.Ports != nil || got.Provider != r.Provider || got.ID != r.ID {
		f.t.Errorf("the tombstone is %+v, want who it was and not where", got)
	}

	unknown := full("nobody")
	unknown.Fence = f.fence("nobody")
	unknown, err = f.A.Delete(f.ctx, unknown)
	f.must(err)
	f.wantRecord(unknown)
}

func aTombstoneStaysAsItIs(f *fixture) {
	r := f.create("demo")
	buried, err := f.A.Delete(f.ctx, r)
	f.must(err)
	r.Fence = f.fence("demo")
	_, err = f.A.Put(f.ctx, r)
	f.want(err, catalog.ErrDeleted)
	_, err = f.A.Create(f.ctx, r) // the same instance
	f.want(err, catalog.ErrDeleted)
	f.want(f.A.Touch(f.ctx, "demo", time.Now()), catalog.ErrDeleted)
	again, err := f.B.Delete(f.ctx, r)
	f.must(err)
	if diff := cmp.Diff(buried, again); diff != "" {
		f.t.Errorf("deleting again gave another tombstone (-first +second):\n%s", diff)
	}
	f.wantRecord(buried)
}

func aTombstoneGivesWayToANewInstance(f *fixture) {
	r := f.create("demo")
	_, err := f.A.Delete(f.ctx, r)
	f.must(err)
	for _, change := range []func(*catalog.Record){
		func(r *catalog.Record) { r.ID = "105" },
		func(r *catalog.Record) { r.Created = r.Created.Add(time.Hour) }, // an id that is used again
		func(r *catalog.Record) { r.Provider = "morph" },
		func(r *catalog.Record) { r.ID = "" }, // about to be made
	} {
		next := full("demo")
		change(&next)
		next.Fence = f.fence("demo")
		next, err := f.A.Create(f.ctx, next)
		f.must(err)
		if next.Tombstone() {
			f.t.Error("what was created is deleted")
		}
		f.wantRecord(next)
		_, err = f.A.Delete(f.ctx, next)
		f.must(err)
	}
}

func aTombstoneFades(f *fixture) {
	r := f.create("demo")
	_, err := f.A.Delete(f.ctx, r)
	f.must(err)
	f.eventually("the tombstone is gone", func() bool {
		_, err := f.B.Get(f.ctx, "demo")
		return err != nil
	})
	f.wantGone("demo")
	for got, err := range catalog.All(f.ctx, f.A) {
		f.t.Errorf("List has %v (%v)", got, err)
	}
	f.want(f.A.Touch(f.ctx, "demo", time.Now()), catalog.ErrNotFound)
	next := full("demo")
	next.Fence = f.fence("demo")
	next, err = f.A.Create(f.ctx, next)
	f.must(err)
	if next.Generation <= r.Generation || next.Version <= r.Version || next.Fence <= r.Fence {
		f.t.Errorf("numbers went back: %+v after %+v", next, r)
	}
	f.wantRecord(next)
}

// The fence outlives the tombstone.
func aDeletedSandboxIsNotWrittenByLateWriters(f *fixture) {
	late := f.create("demo")
	r := late
	r.Fence = f.fence("demo")
	_, err := f.A.Delete(f.ctx, r)
	f.must(err)
	f.eventually("the tombstone is gone", func() bool {
		_, err := f.B.Get(f.ctx, "demo")
		return err != nil
	})
	for i := range 2000 { // whatever is swept, is
		if i%100 == 0 {
			f.fence(fmt.Sprintf("other-%d", i))
		}
	}
	for _, write := range f.writes() {
		_, err := write(f.ctx, late)
		f.want(err, catalog.ErrFenced)
	}
	f.wantGone("demo")
}

func touchMovesLastActiveForward(f *fixture) {
	r := f.create("demo")
	news := f.watch()
	for _, by := range []time.Duration{time.Minute, -time.Hour, 2 * time.Minute, time.Minute} {
		f.must(f.B.Touch(f.ctx, "demo", r.LastActive.Add(by)))
	}
	want := r
	want.LastActive = r.LastActive.Add(2 * time.Minute)
	f.wantRecord(want)
	// A writer who does not know of it takes nothing back.
	got, err := f.A.Put(f.ctx, r)
	f.must(err)
	want.Version = got.Version
	f.wantRecord(want)
	f.eventually("the write is told", func() bool { return news.has(written(&want)) })
	for _, c := range news.all() { // those of the creation may come late
		if c.Kind == catalog.Written && c != written(&r) && c != written(&want) {
			f.t.Errorf("%+v was told, which nobody wrote", c)
		}
	}
}

func touchNeverMakesARecord(f *fixture) {
	f.want(f.A.Touch(f.ctx, "demo", time.Now()), catalog.ErrNotFound)
	f.want(f.A.Touch(f.ctx, "no slug", time.Now()), catalog.ErrNotFound)
	f.fence("demo")
	f.want(f.A.Touch(f.ctx, "demo", time.Now()), catalog.ErrNotFound)
	f.wantGone("demo")
}

func unreadableRecordsAreInUse(f *fixture) {
	if f.Spoil == nil {
		f.t.Skip("the store keeps no encoded records")
	}
	f.create("demo")
	r := f.create("other")
	f.Spoil("demo", []byte(`{"v":2,"slug":"demo"}`))
	_, err := f.A.Get(f.ctx, "demo")
	f.want(err, catalog.ErrNewer)
	next := full("demo")
	next.Fence = f.fence("demo")
	_, err = f.A.Create(f.ctx, next)
	f.want(err, catalog.ErrConflict)
	var unreadable []string
	var readable []catalog.Record
	for cursor := ""; ; {
		page, err := f.A.List(f.ctx, cursor, 0)
		f.must(err)
		unreadable, readable = append(unreadable, page.Unreadable...), append(readable, page.Records...)
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if diff := cmp.Diff([]string{"demo"}, unreadable); diff != "" {
		f.t.Errorf("unreadable (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]catalog.Record{r}, readable); diff != "" {
		f.t.Errorf("readable (-want +got):\n%s", diff)
	}
}
