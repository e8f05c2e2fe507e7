package manager

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/sandboxtest"
)

func TestTimeToLivePausesOrStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		vm, lxc := fake("pve-vm"), fake("pve-lxc")
		m, _ := newManager(t, Config{Primary: "pve-vm"}, vm, lxc)
		for slug, provider := range map[string]string{"vm": "pve-vm", "lxc": "pve-lxc", "for-ever": "pve-vm"} {
			req := StartRequest{Slug: slug, Preferred: provider, TTL: time.Minute}
			if slug == "for-ever" {
				req.TTL = 0
			}
			if _, err := m.Start(t.Context(), req); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(59 * time.Second)
		for _, r := range all(t, m) {
			if r.State != sandbox.Running {
				t.Errorf("%s is %s before its time", r.Slug, r.State)
			}
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		got := map[string]string{}
		for _, r := range all(t, m) {
			got[r.Slug] = r.State.String() + " " + r.PausedBy.String()
		}
		want := map[string]string{"vm": "paused ttl", "lxc": "stopped ttl", "for-ever": "running "}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// extending is a provider that sleeps by itself.
type extending struct {
	*sandboxtest.Fake
	mu       sync.Mutex
	extended []time.Duration // since the first start
	began    time.Time
}

func (e *extending) Extend(context.Context, sandbox.ID, time.Duration) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.extended = append(e.extended, time.Since(e.began).Round(time.Second))
	return nil
}

// use looks a sandbox up as a request does.
func use(t *testing.T, m *Manager, slug string) (Record, error) {
	t.Helper()
	m.Use(slug)
	return m.Look(t.Context(), slug)
}

func TestUseKeepsASandboxAwake(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := &extending{Fake: fake("morph"), began: time.Now()}
		m, err := newUnstarted(Config{Primary: "morph"}, prometheus.NewRegistry(), e)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { m.Run(ctx) })
		defer running.Wait()
		defer stop()
		if _, err := m.Start(t.Context(), StartRequest{Slug: "box", TTL: time.Minute}); err != nil {
			t.Fatal(err)
		}
		for range 10 { // every 10 s for 100 s
			time.Sleep(10 * time.Second)
			if in, err := use(t, m, "box"); err != nil || in.State != sandbox.Running {
				t.Fatalf("got %s, %v", in.State, err)
			}
		}
		e.mu.Lock()
		if n := len(e.extended); n < 5 || n > 8 {
			t.Errorf("the provider was told %d times, at %v", n, e.extended)
		}
		e.mu.Unlock()
		time.Sleep(70 * time.Second)
		synctest.Wait()
		if r, err := m.Look(t.Context(), "box"); err != nil || r.State != sandbox.Paused || r.PausedBy != catalog.PausedByTTL {
			t.Errorf("unused for its time to live it is %s, %v", r.State, err)
		}
	})
}
