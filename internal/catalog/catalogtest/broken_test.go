package catalogtest_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/catalog/catalogtest"
	"cmux.sh/edge/internal/catalog/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// breakage is a store that breaks one promise: what is set replaces the sound
// store's own method.
type breakage struct {
	catalog.Catalog
	get    func(context.Context, string) (catalog.Record, error)
	list   func(context.Context, string, int) (catalog.Page, error)
	create func(context.Context, catalog.Record) (catalog.Record, error)
	put    func(context.Context, catalog.Record) (catalog.Record, error)
	delete func(context.Context, catalog.Record) (catalog.Record, error)
	touch  func(context.Context, string, time.Time) error
	lease  func(context.Context, string, time.Duration) (catalog.Lease, error)
	watch  func(context.Context, func(catalog.Change)) error
}

func (b *breakage) Get(ctx context.Context, slug string) (catalog.Record, error) {
	if b.get != nil {
		return b.get(ctx, slug)
	}
	return b.Catalog.Get(ctx, slug)
}

func (b *breakage) List(ctx context.Context, cursor string, limit int) (catalog.Page, error) {
	if b.list != nil {
		return b.list(ctx, cursor, limit)
	}
	return b.Catalog.List(ctx, cursor, limit)
}

func (b *breakage) Create(ctx context.Context, r catalog.Record) (catalog.Record, error) {
	if b.create != nil {
		return b.create(ctx, r)
	}
	return b.Catalog.Create(ctx, r)
}

func (b *breakage) Put(ctx context.Context, r catalog.Record) (catalog.Record, error) {
	if b.put != nil {
		return b.put(ctx, r)
	}
	return b.Catalog.Put(ctx, r)
}

func (b *breakage) Delete(ctx context.Context, r catalog.Record) (catalog.Record, error) {
	if b.delete != nil {
		return b.delete(ctx, r)
	}
	return b.Catalog.Delete(ctx, r)
}

func (b *breakage) Touch(ctx context.Context, slug string, at time.Time) error {
	if b.touch != nil {
		return b.touch(ctx, slug, at)
	}
	return b.Catalog.Touch(ctx, slug, at)
}

func (b *breakage) Lease(ctx context.Context, key string, ttl time.Duration) (catalog.Lease, error) {
	if b.lease != nil {
		return b.lease(ctx, key, ttl)
	}
	return b.Catalog.Lease(ctx, key, ttl)
}

func (b *breakage) Watch(ctx context.Context, notify func(catalog.Change)) error {
	if b.watch != nil {
		return b.watch(ctx, notify)
	}
	return b.Catalog.Watch(ctx, notify)
}

// timeless is a lease that never ends for its holder.
type timeless struct{ catalog.Lease }

func (t timeless) Renew(ctx context.Context) error {
	if err := t.Lease.Renew(ctx); !errors.Is(err, catalog.ErrLeaseExpired) {
		return err
	}
	return nil
}

// broken are stores that break one promise each, by the promise's name and a
// word on how.
var broken = map[string]func(b *breakage){
	"WhatIsWrittenIsReadByAll forgets the ports": func(b *breakage) {
		b.put = func(ctx context.Context, r catalog.Record) (catalog.Record, error) {
			r.Ports = nil
			return b.Catalog.Put(ctx, r)
		}
	},
	"WhatIsWrittenIsReadByAll to the second": func(b *breakage) {
		b.get = func(ctx context.Context, slug string) (catalog.Record, error) {
			r, err := b.Catalog.Get(ctx, slug)
			r.Created = r.Created.Truncate(time.Second)
			return r, err
		}
	},
	"NumbersGrowWithEveryWrite stand still": func(b *breakage) {
		b.put = func(ctx context.Context, r catalog.Record) (catalog.Record, error) {
			if r.Generation == 0 {
				r.Generation = 1
			}
			return b.Catalog.Put(ctx, r)
		}
	},
	"AGenerationIsKeptOrNew always new": func(b *breakage) {
		b.put = func(ctx context.Context, r catalog.Record) (catalog.Record, error) {
			r.Generation = 0
			return b.Catalog.Put(ctx, r)
		}
	},
	"CreateRefusesASlugInUse takes it over": func(b *breakage) { b.create = b.Catalog.Put },
	"CreateTwiceUnderOneLeaseMakesOne refuses": func(b *breakage) {
		b.create = func(ctx context.Context, r catalog.Record) (catalog.Record, error) {
			if old, err := b.Catalog.Get(ctx, r.Slug); err == nil && !old.Tombstone() {
				return r, catalog.ErrConflict
			}
			return b.Catalog.Create(ctx, r)
		}
	},
	"OnlyTheLatestFenceWrites lets others": func(b *breakage) {
		var mu sync.Mutex
		latest := make(map[string]uint64)
		b.lease = func(ctx context.Context, key string, ttl time.Duration) (catalog.Lease, error) {
			l, err := b.Catalog.Lease(ctx, key, ttl)
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				latest[key] = l.Fence()
			}
			return l, err
		}
		b.put = func(ctx context.Context, r catalog.Record) (catalog.Record, error) {
			mu.Lock()
			defer mu.Unlock()
			r.Fence = latest[r.Slug]
			return b.Catalog.Put(ctx, r)
		}
	},
	"ConcurrentWritersLoseNothing without exclusion": func(b *breakage) {
		b.lease = func(ctx context.Context, key string, ttl time.Duration) (catalog.Lease, error) {
			return memory.New(memory.Config{}).Lease(ctx, key, ttl)
		}
	},
	"DeleteLeavesATombstone with an address": func(b *breakage) {
		b.get = func(ctx context.Context, slug string) (catalog.Record, error) {
			r, err := b.Catalog.Get(ctx, slug)
			if r.Tombstone() {
				r.Address = "10.0.0.5"
			}
			return r, err
		}
	},
	"ATombstoneStaysAsItIs renewed": func(b *breakage) {
		b.delete = func(ctx context.Context, r catalog.Record) (catalog.Record, error) {
			r, err := b.Catalog.Delete(ctx, r)
			r.Deleted = time.Now()
			return r, err
		}
	},
	"ATombstoneGivesWayToANewInstance never": func(b *breakage) {
		b.create = func(ctx context.Context, r catalog.Record) (catalog.Record, error) {
			if old, err := b.Catalog.Get(ctx, r.Slug); err == nil && old.Tombstone() {
				return r, catalog.ErrDeleted
			}
			return b.Catalog.Create(ctx, r)
		}
	},
	"ADeletedSandboxIsNotWrittenByLateWriters is": func(b *breakage) {
		// A store that forgets the fence with the tombstone.
		store := b.Catalog
		b.put = func(ctx context.Context, r catalog.Record) (catalog.Record, error) {
			if _, err := store.Get(ctx, r.Slug); errors.Is(err, catalog.ErrNotFound) {
				l, err := store.Lease(ctx, r.Slug, time.Minute)
				if err != nil {
					return r, err
				}
				r.Fence = l.Fence()
			}
			return store.Put(ctx, r)
		}
	},
	"TouchMovesLastActiveForward and back": func(b *breakage) {
		var mu sync.Mutex
		last := make(map[string]time.Time)
		b.touch = func(ctx context.Context, slug string, at time.Time) error {
			mu.Lock()
			defer mu.Unlock()
			last[slug] = at
			return b.Catalog.Touch(ctx, slug, at)
		}
		b.get = func(ctx context.Context, slug string) (catalog.Record, error) {
			mu.Lock()
			defer mu.Unlock()
			r, err := b.Catalog.Get(ctx, slug)
			if at, ok := last[slug]; ok {
				r.LastActive = at
			}
			return r, err
		}
	},
	"TouchNeverMakesARecord says nothing": func(b *breakage) {
		b.touch = func(ctx context.Context, slug string, at time.Time) error {
			_ = b.Catalog.Touch(ctx, slug, at)
			return nil
		}
	},
	"ListHasEverything but the last": func(b *breakage) {
		b.list = func(ctx context.Context, cursor string, limit int) (catalog.Page, error) {
			page, err := b.Catalog.List(ctx, cursor, limit)
			if page.Next == "" && len(page.Records) > 0 {
				page.Records = page.Records[1:]
			}
			return page, err
		}
	},
	"ListHasEverything at once": func(b *breakage) {
		b.list = func(ctx context.Context, cursor string, _ int) (catalog.Page, error) {
			return b.Catalog.List(ctx, cursor, 5000)
		}
	},
	"ALeaseHasOneHolder or several": func(b *breakage) {
		b.lease = func(ctx context.Context, key string, ttl time.Duration) (catalog.Lease, error) {
			return memory.New(memory.Config{}).Lease(ctx, key, ttl)
		}
	},
	"ALeaseThatRunsOutIsFree but lives on": func(b *breakage) {
		b.lease = func(ctx context.Context, key string, ttl time.Duration) (catalog.Lease, error) {
			l, err := b.Catalog.Lease(ctx, key, ttl)
			return timeless{l}, err
		}
	},
	"SingletonsAndSlugsAreApart one name": func(b *breakage) {
		b.lease = func(ctx context.Context, key string, ttl time.Duration) (catalog.Lease, error) {
			return b.Catalog.Lease(ctx, strings.TrimPrefix(key, "singleton/"), ttl)
		}
	},
	"WatchTellsOfEveryWrite but deletions": func(b *breakage) {
		b.watch = func(ctx context.Context, notify func(catalog.Change)) error {
			return b.Catalog.Watch(ctx, func(c catalog.Change) {
				if !c.Deleted {
					notify(c)
				}
			})
		}
	},
	"WatchTellsOfAReleasedLease never": func(b *breakage) {
		b.watch = func(ctx context.Context, notify func(catalog.Change)) error {
			return b.Catalog.Watch(ctx, func(c catalog.Change) {
				if c.Kind != catalog.Released {
					notify(c)
				}
			})
		}
	},
	"AnEndedContextIsHonoured forgets it": func(b *breakage) {
		b.get = func(ctx context.Context, slug string) (catalog.Record, error) {
			return b.Catalog.Get(context.WithoutCancel(ctx), slug)
		}
	},
}

// brokenEnv names the store that a run of this binary tests.
const brokenEnv = "CATALOGTEST_BROKEN"

// TestTheSuiteCatchesBrokenStores runs the suite in a process of its own on
// each: it must fail where the promise is broken.
func TestTheSuiteCatchesBrokenStores(t *testing.T) {
	t.Parallel()
	if os.Getenv(brokenEnv) != "" {
		t.Skip("this is one of the runs")
	}
	for name := range broken {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			promise, _, _ := strings.Cut(name, " ")
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestBrokenStore$/^"+promise+"$", "-test.v", "-test.timeout=30s")
			cmd.Env = append(os.Environ(), brokenEnv+"="+name)
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "--- FAIL: TestBrokenStore/"+promise) {
				t.Errorf("the suite let it pass: %v\n%s", err, out)
			}
		})
	}
}

// TestBrokenStore is a run of the test above.
func TestBrokenStore(t *testing.T) { //nolint:paralleltest // the suite's subtests are
	spoil, ok := broken[os.Getenv(brokenEnv)]
	if !ok {
		t.Skip("only a part of TestTheSuiteCatchesBrokenStores")
	}
	catalogtest.Test(t, catalogtest.Harness{Patience: 3 * time.Second, New: func(_ *testing.T, retention time.Duration) catalogtest.Backend {
		b := &breakage{Catalog: memory.New(memory.Config{Retention: retention})}
		spoil(b)
		return catalogtest.Backend{A: b, B: b}
	}})
}
