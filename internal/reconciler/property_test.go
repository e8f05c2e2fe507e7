package reconciler_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/sandboxtest"
)

const (
	seeds      = 30
	operations = 1000
	actors     = 6 // two on each of three replicas
	slugs      = 25
)

// Whatever replicas did, were killed at, and missed, two quiet rounds later the
// catalogue says what the providers say.
func TestAfterTwoQuietRoundsTheCatalogueIsTheProvidersTruth(t *testing.T) {
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			bubble(t, func(t *testing.T, g *rig) {
				w := &world{rig: g}
				g.a.SetLatency(200 * time.Millisecond)
				g.b.SetLatency(300 * time.Millisecond)
				a, b := &outlived{g.a, w}, &outlived{g.b, w}
				w.providers = []*outlived{a, b}
				for range 3 {
					g.replicaOf(a, b)
				}
				var acting sync.WaitGroup
				for i := range actors {
					random := rand.New(rand.NewPCG(seed, uint64(i)))
					acting.Go(func() {
						for range operations/actors + 1 {
							w.act(random)
							time.Sleep(time.Duration(random.IntN(8000)) * time.Millisecond)
						}
					})
				}
				acting.Wait()
				for _, p := range w.providers {
					p.Heal(sandboxtest.OpList)
				}
				time.Sleep(lease) // the dead still hold what they held
				rounds(2)
				w.compare()
			})
		})
	}
}

// world is what the actors act on.
type world struct {
	*rig
	providers []*outlived

	mu       sync.Mutex // makes a change from outside, and a deletion, one step
	replaced int
	done     struct{ started, paused, resumed, deleted, outside, killed, busy int } // guarded by mu
}

// outlived is a provider whose Delete never comes between the halves of a change
// from outside: what was deleted would come back with its id.
type outlived struct {
	*sandboxtest.Fake
	world *world
}

func (p *outlived) Delete(ctx context.Context, id sandbox.ID) error {
	if _, err := p.Get(ctx, id); err != nil && sandbox.KindOf(err) != sandbox.KindNotFound {
		return err
	}
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	p.Vanish(id)
	return nil
}

// act does one operation as a replica that may die in the middle.
func (w *world) act(random *rand.Rand) {
	ctx, kill := context.WithCancel(context.Background())
	defer kill()
	if random.IntN(3) == 0 {
		timer := time.AfterFunc(time.Duration(random.IntN(1000))*time.Millisecond, kill)
		defer timer.Stop()
	}
	slug := fmt.Sprintf("s-%d", random.IntN(slugs))
	p := w.providers[random.IntN(len(w.providers))]
	late := time.Duration(random.IntN(600)) * time.Millisecond // between the provider's answer and the write
	var err error
	var count *int
	rec, unknown := w.store.Get(ctx, slug)
	switch n := random.IntN(100); {
	case n < 12:
		count = &w.done.outside
		w.outside(random)
	case unknown != nil || rec.Tombstone():
		count, err = &w.done.started, w.start(ctx, slug, p, late)
	case n < 50:
		count, err = &w.done.paused, w.pause(ctx, slug, late)
	case n < 85:
		count, err = &w.done.resumed, w.resume(ctx, slug, late)
	default:
		count, err = &w.done.deleted, w.remove(ctx, slug, late)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		w.done.killed++
	case err == nil:
		*count++
	default:
		w.done.busy++
	}
}

// hold takes a lease as the manager does. A dead holder does not release it.
func (w *world) hold(ctx context.Context, slug string, work func(fence uint64) error) error {
	l, err := w.store.Lease(ctx, slug, lease)
	if err != nil {
		return err
	}
	defer func() {
		if ctx.Err() == nil {
			_ = l.Release(ctx)
		}
	}()
	return work(l.Fence())
}

var errNoSandbox = errors.New("no such sandbox")

// change looks up a sandbox and writes what act makes of it.
func (w *world) change(ctx context.Context, slug string, late time.Duration, act func(catalog.Record, *outlived) (catalog.Record, error),
	write func(context.Context, catalog.Record) (catalog.Record, error),
) error {
	return w.hold(ctx, slug, func(fence uint64) error {
		rec, err := w.store.Get(ctx, slug)
		if err != nil || rec.Tombstone() {
			return errors.Join(errNoSandbox, err)
		}
		i := slices.IndexFunc(w.providers, func(p *outlived) bool { return p.Name() == rec.Provider })
		in, err := w.providers[i].Get(ctx, rec.ID)
		if err != nil {
			return err
		}
		in.Generation = rec.Generation
		rec.Instance, rec.Fence = in, fence
		if rec, err = act(rec, w.providers[i]); err != nil {
			return err
		}
		if err := after(ctx, late); err != nil {
			return err
		}
		_, err = write(ctx, rec)
		return err
	})
}

func after(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *world) start(ctx context.Context, slug string, p *outlived, late time.Duration) error {
	return w.hold(ctx, slug, func(fence uint64) error {
		if rec, err := w.store.Get(ctx, slug); err == nil && !rec.Tombstone() {
			return catalog.ErrConflict
		}
		in, err := p.Start(ctx, sandbox.StartRequest{Slug: slug})
		if err != nil {
			return err
		}
		if err := after(ctx, late); err != nil {
			return err
		}
		in.Generation = 0
		_, err = w.store.Create(ctx, catalog.Record{Instance: in, LastActive: time.Now(), RAMPreserved: true, Fence: fence})
		return err
	})
}

func (w *world) pause(ctx context.Context, slug string, late time.Duration) error {
	return w.change(ctx, slug, late, func(rec catalog.Record, p *outlived) (catalog.Record, error) {
		err := p.Pause(ctx, rec.ID)
		rec.State, rec.PausedBy, rec.RAMPreserved = sandbox.Paused, catalog.PausedByAPI, true
		return rec, err
	}, w.store.Put)
}

func (w *world) resume(ctx context.Context, slug string, late time.Duration) error {
	return w.change(ctx, slug, late, func(rec catalog.Record, p *outlived) (catalog.Record, error) {
		in, err := p.Resume(ctx, rec.ID)
		rec.Instance, rec.PausedBy = in, catalog.PausedByNobody
		rec.Generation = 0
		return rec, err
	}, w.store.Put)
}

func (w *world) remove(ctx context.Context, slug string, late time.Duration) error {
	return w.change(ctx, slug, late, func(rec catalog.Record, p *outlived) (catalog.Record, error) {
		return rec, p.Delete(ctx, rec.ID)
	}, w.store.Delete)
}

// outside changes something behind the edge's back, or makes a provider's list
// fail for a while.
func (w *world) outside(random *rand.Rand) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.providers[random.IntN(len(w.providers))]
	list := p.Instances()
	if len(list) == 0 {
		return
	}
	in := list[random.IntN(len(list))]
	if in.State != sandbox.Running && in.State != sandbox.Paused {
		return
	}
	w.replaced++
	switch random.IntN(9) {
	case 0, 6:
		in.Address = fmt.Sprintf("10.98.%d.%d", w.replaced>>8, w.replaced&255)
		p.Put(in)
	case 1:
		in.Ports = map[uint16]string{8080: fmt.Sprintf("https://p%d.example", w.replaced)}
		p.Put(in)
	case 2, 7, 8:
		in.State = map[sandbox.State]sandbox.State{sandbox.Running: sandbox.Paused, sandbox.Paused: sandbox.Running}[in.State]
		p.Put(in)
	case 3: // to the other provider, or to another id of its own
		p.Vanish(in.ID)
		in.ID, in.Address = "", ""
		w.providers[random.IntN(len(w.providers))].Put(in)
	case 4:
		p.Vanish(in.ID)
	case 5:
		p.Fail(sandboxtest.OpList, sandbox.KindUnavailable, 1)
	}
}

// compare checks every slug.
func (w *world) compare() {
	w.t.Helper()
	truth := make(map[string][]sandbox.Instance)
	for _, p := range w.providers {
		for _, in := range p.Instances() {
			truth[in.Slug] = append(truth[in.Slug], in)
		}
	}
	recorded := make(map[string]bool)
	for rec, err := range catalog.All(context.Background(), w.store) {
		if err != nil {
			w.t.Fatal(err)
		}
		if rec.Tombstone() {
			continue
		}
		recorded[rec.Slug] = true
		if !slices.ContainsFunc(truth[rec.Slug], func(in sandbox.Instance) bool { return agree(&rec, &in) }) {
			w.t.Errorf("%s is recorded as\n%+v, the truth is\n%+v", rec.Slug, rec, truth[rec.Slug])
		}
	}
	for slug, in := range truth {
		if !recorded[slug] {
			w.t.Errorf("%s has no record, the truth is %+v; it had %+v", slug, in, w.store.history[slug])
		}
	}
	for slug, history := range w.store.history {
		for i, now := range history[1:] {
			old := history[i]
			moved := !now.Tombstone() && !old.Tombstone() && now.State == sandbox.Running &&
				(!now.SameInstance(&old) || now.Address != old.Address || old.State != sandbox.Running || !maps.Equal(old.Ports, now.Ports))
			if now.Version <= old.Version || now.Generation < old.Generation || moved && now.Generation == old.Generation {
				w.t.Errorf("%s: after\n%+v came\n%+v", slug, old, now)
			}
		}
	}
	d := w.done
	w.t.Logf("%+v; adopted %v, forgotten %v, repaired %v; %d slugs live", d, w.count("edge_reconciler_changes_total", "adopted"),
		w.count("edge_reconciler_changes_total", "forgotten"), w.count("edge_reconciler_changes_total", "repaired"), len(truth))
	if min(d.started, d.paused, d.resumed, d.deleted, d.outside, d.killed) < 20 {
		w.t.Errorf("the test does too little: %+v", d)
	}
}

func agree(rec *catalog.Record, in *sandbox.Instance) bool {
	other := catalog.Record{Instance: *in}
	return rec.SameInstance(&other) && rec.State == in.State && rec.Address == in.Address && maps.Equal(rec.Ports, in.Ports) &&
		(rec.State == sandbox.Running) == (rec.PausedBy == catalog.PausedByNobody)
}
