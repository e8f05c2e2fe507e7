package catalogtest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"cmux.sh/edge/internal/catalog"
)

func watchTellsOfEveryWrite(f *fixture) {
	news := f.watch()
	r := f.create("demo")
	f.eventually("the creation is told", func() bool { return news.has(written(&r)) })
	r.Generation = 0
	r, err := f.A.Put(f.ctx, r)
	f.must(err)
	f.eventually("the write is told", func() bool { return news.has(written(&r)) })
	// Who hears of it sees it.
	f.wantRecord(r)
	r, err = f.A.Delete(f.ctx, r)
	f.must(err)
	f.eventually("the deletion is told", func() bool { return news.has(written(&r)) })
}

func watchTellsOfAReleasedLease(f *fixture) {
	news := f.watch()
	for _, key := range []string{"demo", catalog.Singleton("demo")} {
		l := f.lease(key)
		f.must(l.Release(f.ctx))
		f.eventually("the release is told", func() bool {
			return news.has(catalog.Change{Kind: catalog.Released, Key: key, Fence: l.Fence()})
		})
	}
}

func watchersAreApart(f *fixture) {
	// One that is slow holds up neither writers nor other watchers, and is told
	// that it missed something or what it was.
	ctx, cancel := context.WithCancel(f.ctx)
	var slow diary
	entered, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	ended := make(chan error, 1)
	go func() {
		ended <- f.A.Watch(ctx, func(c catalog.Change) {
			once.Do(func() {
				close(entered)
				<-release
			})
			slow.note(c)
		})
	}()
	<-entered
	quick := f.watch()
	var last catalog.Record
	for i := range 50 {
		last = f.create(fmt.Sprintf("demo-%d", i))
	}
	f.eventually("the quick one is told", func() bool { return quick.has(written(&last)) })
	close(release)
	f.eventually("the slow one is told", func() bool {
		return slow.has(written(&last)) || len(slow.all()) > 1 && slow.all()[len(slow.all())-1].Kind == catalog.Gap
	})
	cancel()
	select {
	case err := <-ended:
		f.want(err, context.Canceled)
	case <-time.After(f.patience):
		f.t.Error("Watch goes on after its context ended")
	}
}

func numbersDoNotGoBackWhenEverythingIsLost(f *fixture) {
	if f.Empty == nil {
		f.t.Skip("the store can't lose what it has")
	}
	l := f.lease("demo")
	r := full("demo")
	// Numbers far ahead of the clock, as of a server whose clock was wrong.
	r.Fence, r.Generation = l.Fence(), l.Fence()+1e12
	r, err := f.A.Create(f.ctx, r)
	f.must(err)
	f.Empty()
	f.eventually("the catalogue is empty", func() bool {
		_, err := f.A.Get(f.ctx, "demo")
		return err != nil
	})
	f.want(l.Renew(f.ctx), catalog.ErrLeaseExpired)
	next := f.lease("demo")
	if next.Fence() <= l.Fence() || next.Fence() <= r.Generation {
		f.t.Errorf("fence %d follows fence %d and generation %d", next.Fence(), l.Fence(), r.Generation)
	}
	_, err = f.A.Put(f.ctx, r)
	f.want(err, catalog.ErrFenced)
	again := full("demo")
	again.Fence = next.Fence()
	again, err = f.A.Create(f.ctx, again)
	f.must(err)
	if again.Generation <= r.Generation || again.Version <= r.Version {
		f.t.Errorf("generation %d and version %d follow %d and %d", again.Generation, again.Version, r.Generation, r.Version)
	}
}

func anEndedContextIsHonoured(f *fixture) {
	r := f.create("demo")
	l := f.lease("demo")
	r.Fence = l.Fence()
	ctx, cancel := context.WithCancel(f.ctx)
	cancel()
	for name, call := range map[string]func() error{
		"Ping":    func() error { return f.A.Ping(ctx) },
		"Get":     func() error { _, err := f.A.Get(ctx, "demo"); return err },
		"List":    func() error { _, err := f.A.List(ctx, "", 0); return err },
		"Create":  func() error { _, err := f.A.Create(ctx, r); return err },
		"Put":     func() error { _, err := f.A.Put(ctx, r); return err },
		"Delete":  func() error { _, err := f.A.Delete(ctx, r); return err },
		"Touch":   func() error { return f.A.Touch(ctx, "demo", time.Now()) },
		"Lease":   func() error { _, err := f.A.Lease(ctx, "other", time.Minute); return err },
		"Renew":   func() error { return l.Renew(ctx) },
		"Release": func() error { return l.Release(ctx) },
		"Watch":   func() error { return f.A.Watch(ctx, func(catalog.Change) {}) },
	} {
		if f.want(call(), context.Canceled); f.t.Failed() {
			f.t.Fatal(name)
		}
	}
}

func concurrentUseIsSafe(f *fixture) {
	f.watch()
	var all sync.WaitGroup
	for i := range 8 {
		c := []catalog.Catalog{f.A, f.B}[i%2]
		all.Go(func() {
			slug := fmt.Sprintf("demo-%d", i%3)
			for range 10 {
				if l, err := c.Lease(f.ctx, slug, time.Minute); err == nil {
					r := full(slug)
					r.Fence = l.Fence()
					_, _ = c.Create(f.ctx, r)
					_, _ = c.Put(f.ctx, r)
					_ = l.Renew(f.ctx)
					_ = l.Expires()
					_ = l.Release(f.ctx)
				}
				_ = c.Touch(f.ctx, slug, time.Now())
				if got, err := c.Get(f.ctx, slug); err == nil && got.Slug != slug {
					f.t.Errorf("got %s, want %s", got.Slug, slug)
				}
				for _, err := range catalog.All(f.ctx, c) {
					if err != nil {
						f.t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
}
