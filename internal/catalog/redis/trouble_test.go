package redis_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/catalog/redis"
	"cmux.sh/edge/internal/catalog/redis/redistest"
	"cmux.sh/edge/internal/sandbox"
)

// news collects what a watcher of a store is told, until the test ends.
type news struct {
	mu      sync.Mutex
	changes []catalog.Change
}

func watch(t testing.TB, s *redis.Store) *news {
	t.Helper()
	n := &news{}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { // ends in the cleanup
		defer close(ended)
		_ = s.Watch(ctx, func(c catalog.Change) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.changes = append(n.changes, c)
		})
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	redistest.Eventually(t, "the watch has begun", func() bool { return n.gaps() > 0 })
	return n
}

func (n *news) gaps() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	gaps := 0
	for _, c := range n.changes {
		if c.Kind == catalog.Gap {
			gaps++
		}
	}
	return gaps
}

func (n *news) has(slug string, version uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.ContainsFunc(n.changes, func(c catalog.Change) bool { return c.Key == slug && c.Version == version })
}

// write puts a record under a new lease.
func write(ctx context.Context, s *redis.Store, slug string) (catalog.Record, error) {
	l, err := s.Lease(ctx, slug, 10*time.Second)
	if err != nil {
		return catalog.Record{}, err
	}
	defer func() { _ = l.Release(ctx) }()
	return s.Put(ctx, catalog.Record{
		Instance: sandbox.Instance{Slug: slug, Provider: "pve-vm", ID: "104", State: sandbox.Running, Address: "10.0.0.5"},
		Fence:    l.Fence(),
	})
}

func mustWrite(t testing.TB, s *redis.Store, slug string) catalog.Record {
	t.Helper()
	var r catalog.Record
	redistest.Eventually(t, "a write succeeds", func() bool {
		var err error
		if r, err = write(t.Context(), s, slug); err != nil && !errors.Is(err, catalog.ErrUnavailable) && !errors.Is(err, catalog.ErrLeaseHeld) {
			t.Fatal(err)
		}
		return err == nil
	})
	return r
}

// calls are one of each sort.
func calls(s *redis.Store, l catalog.Lease, r catalog.Record) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"ping":  s.Ping,
		"check": s.Check,
		"get":   func(ctx context.Context) error { _, err := s.Get(ctx, r.Slug); return err },
		"list":  func(ctx context.Context) error { _, err := s.List(ctx, "", 0); return err },
		"put":   func(ctx context.Context) error { _, err := s.Put(ctx, r); return err },
		"touch": func(ctx context.Context) error { return s.Touch(ctx, r.Slug, time.Now()) },
		"lease": func(ctx context.Context) error { _, err := s.Lease(ctx, "other", time.Minute); return err },
		"renew": l.Renew,
	}
}

func TestAHalfOpenRedisCostsAboutASecond(t *testing.T) {
	t.Parallel()
	p := redistest.NewProxy(t, redistest.Start(t).Addr)
	s := open(t, p.URL(), redis.Config{})
	r := mustWrite(t, s, "demo")
	l, err := s.Lease(t.Context(), "demo", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	r.Fence = l.Fence()
	p.HalfOpen()
	var all sync.WaitGroup
	for name, call := range calls(s, l, r) {
		all.Go(func() {
			began := time.Now()
			if err := call(t.Context()); !errors.Is(err, catalog.ErrUnavailable) {
				t.Errorf("%s: got %v, want %v", name, err, catalog.ErrUnavailable)
			}
			if took := time.Since(began); took > 1500*time.Millisecond {
				t.Errorf("%s took %v, want about a second", name, took)
			}
		})
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			began := time.Now()
			if err := call(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: got %v, want %v", name, err, context.DeadlineExceeded)
			}
			if took := time.Since(began); took > 550*time.Millisecond {
				t.Errorf("%s took %v after its deadline of 50 ms", name, took)
			}
		})
	}
	all.Wait()
	p.Heal()
	mustWrite(t, s, "another")
}

func TestACutIsUnavailableAndHeals(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	p := redistest.NewProxy(t, server.Addr)
	near, far := open(t, server.URL(), redis.Config{}), open(t, p.URL(), redis.Config{})
	r := mustWrite(t, far, "demo")
	n := watch(t, far)
	p.Cut()
	if _, err := far.Get(t.Context(), "demo"); !errors.Is(err, catalog.ErrUnavailable) {
		t.Errorf("got %v, want %v", err, catalog.ErrUnavailable)
	}
	missed := mustWrite(t, near, "demo")
	gaps := n.gaps()
	p.Heal()
	redistest.Eventually(t, "the watcher is told that it may have missed something", func() bool { return n.gaps() > gaps })
	if n.has("demo", missed.Version) {
		t.Error("it was told over a network that was cut")
	}
	if got, err := far.Get(t.Context(), "demo"); err != nil || got.Version != missed.Version || got.Version <= r.Version {
		t.Errorf("got version %d (%v), want %d", got.Version, err, missed.Version)
	}
	heard := mustWrite(t, near, "demo")
	redistest.Eventually(t, "the watcher hears again", func() bool { return n.has("demo", heard.Version) })
}

// A connection that died without a word looks like one on which nothing
// happens.
func TestAWatchFindsThatItsConnectionIsDead(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	p := redistest.NewProxy(t, server.Addr)
	near, far := open(t, server.URL(), redis.Config{}), open(t, p.URL(), redis.Config{})
	n := watch(t, far)
	gaps := n.gaps()
	p.Freeze()
	mustWrite(t, near, "demo")
	redistest.Eventually(t, "the watcher is told that it may have missed something", func() bool { return n.gaps() > gaps })
	heard := mustWrite(t, near, "demo")
	redistest.Eventually(t, "the watcher hears again", func() bool { return n.has("demo", heard.Version) })
}

func TestTheLogMakesUpForWhatWasNotPushed(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := open(t, server.URL(), redis.Config{Poll: 10 * time.Millisecond, Timeout: 100 * time.Millisecond})
	n := watch(t, s)
	gaps := n.gaps()
	server.Must("XADD", "edge:log", "*", "n", "w 12 11 10 demo")
	redistest.Eventually(t, "what is only in the log is told", func() bool { return n.has("demo", 12) })
	if n.gaps() != gaps {
		t.Error("a gap was told although nothing was missed")
	}
	r := mustWrite(t, s, "demo")
	redistest.Eventually(t, "a write is told", func() bool { return n.has("demo", r.Version) })
	redistest.Eventually(t, "a write is in the log", func() bool { return server.Must("XLEN", "edge:log") == "2" })
	for i, spoil := range []func(){
		func() { server.Must("DEL", "edge:log") },
		func() { server.Must("XADD", "edge:log", "*", "n", "g") },
		func() { server.Must("XADD", "edge:log", "*", "n", "x of the future") },
		func() { server.Must("XTRIM", "edge:log", "MAXLEN", "0") },
	} {
		gaps := n.gaps()
		spoil()
		redistest.Eventually(t, fmt.Sprintf("the log has a gap, and it is told (%d)", i), func() bool { return n.gaps() > gaps })
	}
}

// numbers checks that what a slug's writers are given never goes back.
type numbers struct {
	mu   sync.Mutex
	last map[string]catalog.Record
}

func (n *numbers) check(t testing.TB, r catalog.Record) {
	n.mu.Lock()
	defer n.mu.Unlock()
	before := n.last[r.Slug]
	if r.Fence <= before.Fence || r.Generation <= before.Generation || r.Version <= before.Version {
		t.Errorf("%s: fence %d, generation %d, version %d follow %d, %d, %d",
			r.Slug, r.Fence, r.Generation, r.Version, before.Fence, before.Generation, before.Version)
	}
	n.last[r.Slug] = r
}

func TestNumbersDoNotGoBackWhileRedisIsKilledUnderLoad(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	n := &numbers{last: make(map[string]catalog.Record)}
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	written := make([]int, 4) // writers' counts, under n.mu
	for i := range written {
		s := open(t, server.URL(), redis.Config{})
		slug := fmt.Sprintf("demo-%d", i/2) // two replicas each
		all.Go(func() {
			for ctx.Err() == nil {
				l, err := s.Lease(ctx, slug, 10*time.Second)
				if err == nil {
					// The next one gets the lease only when this is checked.
					var r catalog.Record
					if r, err = s.Put(ctx, catalog.Record{Instance: sandbox.Instance{Slug: slug}, Fence: l.Fence()}); err == nil {
						n.check(t, r)
						n.mu.Lock()
						written[i]++
						n.mu.Unlock()
					}
					_ = l.Release(ctx)
				}
				for _, expected := range []error{catalog.ErrUnavailable, catalog.ErrLeaseHeld, catalog.ErrFenced, context.Canceled} {
					if errors.Is(err, expected) {
						err = nil
					}
				}
				if err != nil {
					t.Errorf("%s: %v", slug, err)
				}
				if r, err := s.Get(ctx, slug); err == nil && r.Slug != slug {
					t.Errorf("asked for %s and got %s", slug, r.Slug)
				}
			}
		})
	}
	progress := func() {
		t.Helper()
		n.mu.Lock()
		before := slices.Clone(written)
		n.mu.Unlock()
		redistest.Eventually(t, "writes succeed", func() bool {
			n.mu.Lock()
			defer n.mu.Unlock()
			return written[0]+written[1] > before[0]+before[1]+10 && written[2]+written[3] > before[2]+before[3]+10
		})
	}
	for range 3 {
		progress()
		server.Kill()
		server.Restart()
	}
	progress()
	stop()
	all.Wait()
}

func TestAFailOverKeepsWhatAReplicaHasConfirmed(t *testing.T) {
	t.Parallel()
	group := redistest.StartSentinel(t)
	a, b := open(t, group.URL(), redis.Config{}), open(t, group.URL(), redis.Config{})
	news := watch(t, b)
	var before []catalog.Record
	for i := range 20 {
		before = append(before, mustWrite(t, a, fmt.Sprintf("demo-%d", i)))
	}
	held, err := a.Lease(t.Context(), "held", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	gaps := news.gaps()
	group.FailOver(t)
	redistest.Eventually(t, "the new master answers", func() bool { return b.Ping(t.Context()) == nil })
	for _, r := range before {
		got, err := b.Get(t.Context(), r.Slug)
		if err != nil || got.Version != r.Version {
			t.Errorf("%s: got version %d (%v), want %d", r.Slug, got.Version, err, r.Version)
		}
		after := mustWrite(t, b, r.Slug)
		if after.Fence <= r.Fence || after.Generation <= r.Generation || after.Version <= r.Version {
			t.Errorf("%s: %+v follows %+v", r.Slug, after, r)
		}
	}
	if _, err := b.Lease(t.Context(), "held", time.Minute); !errors.Is(err, catalog.ErrLeaseHeld) {
		t.Errorf("a lease that is held: got %v, want %v", err, catalog.ErrLeaseHeld)
	}
	redistest.Eventually(t, "the holder renews", func() bool { return held.Renew(t.Context()) == nil })
	redistest.Eventually(t, "the watcher is told that it may have missed something", func() bool { return news.gaps() > gaps })
	heard := mustWrite(t, a, "demo-0")
	redistest.Eventually(t, "the watcher hears again", func() bool { return news.has("demo-0", heard.Version) })
}

// One node of a cluster is away: what lies on the others goes on, and so do
// their watchers, whoever keeps the log.
func TestAClusterWithoutANodeServesTheRest(t *testing.T) {
	t.Parallel()
	nodes := redistest.StartCluster(t)
	for _, n := range nodes {
		n.Must("CONFIG", "SET", "cluster-require-full-coverage", "no")
	}
	s := open(t, nodes.URL(), redis.Config{})
	slugs := make([]string, 30)
	for i := range slugs {
		slugs[i] = fmt.Sprintf("demo-%d", i)
		mustWrite(t, s, slugs[i])
	}
	nodes[2].Kill()
	served, away := 0, 0
	for _, slug := range slugs {
		began := time.Now()
		_, err := write(t.Context(), s, slug)
		switch {
		case err == nil:
			served++
		case errors.Is(err, catalog.ErrUnavailable):
			away++
		default:
			t.Errorf("%s: %v", slug, err)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("%s took %v", slug, took)
		}
	}
	if served < 10 || away == 0 {
		t.Errorf("%d slugs are served and %d are not, want about two thirds", served, away)
	}
}

// slugOf is a slug of the i-th node of a cluster.
func slugOf(nodes redistest.Nodes, i int) string {
	for n := 0; ; n++ {
		if slug := fmt.Sprintf("demo-%d", n); nodes.Owns(i, "{"+slug+"}") {
			return slug
		}
	}
}

func TestAClusterFailsOver(t *testing.T) {
	t.Parallel()
	nodes := redistest.StartCluster(t)
	nodes.AddReplica(t, 0)
	a, b := open(t, nodes.URL(), redis.Config{}), open(t, nodes.URL(), redis.Config{})
	slug := slugOf(nodes, 0)
	before := mustWrite(t, a, slug)
	if _, err := a.Lease(t.Context(), slug, time.Minute); err != nil {
		t.Fatal(err)
	}
	nodes[0].Kill()
	var got catalog.Record
	redistest.Eventually(t, "the replica answers", func() bool {
		var err error
		got, err = b.Get(t.Context(), slug)
		return err == nil
	})
	if got.Version != before.Version {
		t.Errorf("got version %d, want %d", got.Version, before.Version)
	}
	redistest.Eventually(t, "the replica takes leases", func() bool {
		_, err := b.Lease(t.Context(), slug, time.Minute)
		if err == nil {
			t.Fatal("a lease that is held was given to another")
		}
		return errors.Is(err, catalog.ErrLeaseHeld)
	})
	got.Fence += 1e6 // as if its lease had been the latest
	after, err := b.Put(t.Context(), got)
	if err != nil || after.Version <= before.Version {
		t.Errorf("got version %d (%v) after %d", after.Version, err, before.Version)
	}
}

func TestAWriteFollowsASlotThatMoved(t *testing.T) {
	t.Parallel()
	nodes := redistest.StartCluster(t)
	nodes.AddReplica(t, 0) // so that writes go to their node in a batch with WAIT
	s := open(t, nodes.URL(), redis.Config{})
	slug := slugOf(nodes, 0)
	if _, err := s.Get(t.Context(), slug); !errors.Is(err, catalog.ErrNotFound) {
		t.Fatal(err)
	}
	nodes.MoveSlot(t, "{"+slug+"}", 0, 1)
	r, err := write(t.Context(), s, slug)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Get(t.Context(), slug); err != nil || got.Version != r.Version {
		t.Errorf("got version %d (%v), want %d", got.Version, err, r.Version)
	}
}

func TestAWriteWaitsForAReplicaButNotForLong(t *testing.T) {
	t.Parallel()
	group := redistest.StartSentinel(t)
	s := open(t, group.URL(), redis.Config{})
	mustWrite(t, s, "demo")
	group.Replica.Freeze()
	l, err := s.Lease(t.Context(), "demo", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if _, err := s.Put(t.Context(), catalog.Record{Instance: sandbox.Instance{Slug: "demo"}, Fence: l.Fence()}); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took < 100*time.Millisecond || took > 900*time.Millisecond {
		t.Errorf("a write with a replica that hangs took %v, want a little more than 100 ms", took)
	}
}

// Rights that do not suffice for Watch would otherwise be noticed by nobody.
func TestAWatchThatCanNotBeginIsLogged(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.Must("ACL", "SETUSER", "edge", "on", ">secret", "~*", "resetchannels", "+@all")
	said := make(chan string, 10)
	s := open(t, strings.Replace(server.URL(), "://", "://edge:secret@", 1), redis.Config{
		Timeout: 100 * time.Millisecond, Log: slog.New(slog.NewTextHandler(lines(said), nil)),
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Watch(ctx, func(catalog.Change) {}) }() // ends with ctx, below
	expect := func(want string) {
		t.Helper()
		select {
		case line := <-said:
			if !strings.Contains(line, want) {
				t.Errorf("got %q, want %q", line, want)
			}
		case <-time.After(redistest.Patience):
			t.Fatalf("nothing is logged, want %q", want)
		}
	}
	expect("NOPERM")
	server.Must("ACL", "SETUSER", "edge", "allchannels")
	expect("again")
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

// lines sends what is written to a channel.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

// Writes do not wait for the log, so entries may be missing in it; it says so
// when it is back.
func TestALogThatWasAwayHasAGap(t *testing.T) {
	t.Parallel()
	nodes := redistest.StartCluster(t)
	keeper := slices.IndexFunc([]int{0, 1, 2}, func(i int) bool { return nodes.Owns(i, "edge:log") })
	for _, n := range nodes {
		n.Must("CONFIG", "SET", "cluster-require-full-coverage", "no")
	}
	s := open(t, nodes.URL(), redis.Config{})
	slug := slugOf(nodes, (keeper+1)%3)
	mustWrite(t, s, slug)
	entries := func() string {
		log, _ := nodes[keeper].Do("XRANGE", "edge:log", "-", "+")
		return log
	}
	redistest.Eventually(t, "the write is in the log", func() bool { return strings.Contains(entries(), slug) })
	nodes[keeper].Kill()
	began := time.Now()
	if _, err := write(t.Context(), s, slug); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 900*time.Millisecond {
		t.Errorf("a write took %v, as if it waited for the log", took)
	}
	nodes[keeper].Restart()
	redistest.Eventually(t, "the log has a gap", func() bool { return strings.HasSuffix(entries(), "\ng") })
}
