package sandboxtest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"cmux.sh/edge/internal/sandbox"
)

// FakeConfig says what a [Fake] is. Its zero value is a provider named "fake"
// that can do everything.
type FakeConfig struct {
	// Name is the provider's name; "" is "fake".
	Name string
	// Capabilities; nil is everything.
	Capabilities *sandbox.Capabilities
	// Presets that Start knows besides "default".
	Presets []string
}

// Fake is a provider that keeps its instances in memory and fails on command.
// It waits only on timers and channels, so that it also works in a synctest
// bubble. Its methods may be called from any goroutine.
type Fake struct {
	name    string
	caps    sandbox.Capabilities
	presets []string

	mu         sync.Mutex // guards all below
	latency    time.Duration
	garbage    bool
	health     sandbox.Health
	failures   map[Op][]failure
	held       map[Op]chan struct{}
	calls      map[Op]int
	instances  map[sandbox.ID]*fakeInstance
	changed    chan struct{} // closed and replaced when an instance changes
	next       int
	generation uint64
}

// Op is a method of the contract, by name.
type Op string

// The operations that can be scripted and are counted.
const (
	OpStart  Op = "start"
	OpPause  Op = "pause"
	OpResume Op = "resume"
	OpStop   Op = "stop"
	OpDelete Op = "delete"
	OpGet    Op = "get"
	OpFind   Op = "find"
	OpList   Op = "list"
	OpHealth Op = "health"
)

type fakeInstance struct {
	sandbox.Instance
	key string
}

type failure struct {
	err   error
	times int // 0 is for ever
}

var _ sandbox.Provider = (*Fake)(nil)

// NewFake makes a healthy provider without instances or latency.
func NewFake(cfg FakeConfig) *Fake {
	f := &Fake{
		name: cfg.Name, presets: append([]string{"", "default"}, cfg.Presets...), health: sandbox.Health{OK: true},
		caps:     sandbox.Capabilities{RAMSnapshot: true, Create: true, Suspend: true, StartTime: sandbox.Quick, ResumeTime: sandbox.Quick, Price: sandbox.Flat},
		failures: map[Op][]failure{}, held: map[Op]chan struct{}{}, calls: map[Op]int{},
		instances: map[sandbox.ID]*fakeInstance{}, changed: make(chan struct{}),
	}
	if f.name == "" {
		f.name = "fake"
	}
	if cfg.Capabilities != nil {
		f.caps = *cfg.Capabilities
	}
	return f
}

// SetLatency makes every call that asks the backend take d.
func (f *Fake) SetLatency(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.latency = d
}

// SetGarbage makes every call fail as if the backend answered nonsense.
func (f *Fake) SetGarbage(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.garbage = on
}

// SetHealth is what Health answers from now on.
func (f *Fake) SetHealth(h sandbox.Health) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.health = h
}

// Fail makes the next calls of op fail with an error of a kind, before they do
// anything; times 0 is until [Fake.Heal].
func (f *Fake) Fail(op Op, kind sandbox.Kind, times int) {
	f.FailWith(op, sandbox.Errorf(kind, string(op), f.name, "scripted"), times)
}

// FailWith is Fail with an error of the caller's.
func (f *Fake) FailWith(op Op, err error, times int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failures[op] = append(f.failures[op], failure{err, times})
}

// Heal forgets the failures of op.
func (f *Fake) Heal(op Op) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.failures, op)
}

// Hold makes calls of op wait, before they do anything, until release is
// called or their context ends.
func (f *Fake) Hold(op Op) (release func()) {
	gate := make(chan struct{})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held[op] = gate
	return sync.OnceFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.held[op] == gate {
			delete(f.held, op)
		}
		close(gate)
	})
}

// Calls is how often op was called.
func (f *Fake) Calls(op Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

// Put adds or replaces an instance behind the provider's back. Missing fields
// are made up.
func (f *Fake) Put(in sandbox.Instance) sandbox.Instance {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.put(in, "").Instance
}

// Vanish removes an instance behind the provider's back.
func (f *Fake) Vanish(id sandbox.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.instances, id)
	f.announce()
}

// Instances are all instances as they are now, by id.
func (f *Fake) Instances() []sandbox.Instance {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]sandbox.Instance, 0, len(f.instances))
	for _, id := range slices.Sorted(maps.Keys(f.instances)) {
		list = append(list, f.instances[id].view())
	}
	return list
}

// put is Put with f.mu held.
func (f *Fake) put(in sandbox.Instance, key string) *fakeInstance {
	in.Provider = f.name
	if in.ID == "" {
		f.next++
		in.ID = sandbox.ID(fmt.Sprintf("%s-%d", f.name, f.next))
	}
	if in.Slug == "" {
		in.Slug = string(in.ID)
	}
	if in.State == sandbox.Unknown {
		in.State = sandbox.Running
	}
	if in.Address == "" {
		in.Address = fmt.Sprintf("10.99.%d.%d", f.next>>8&255, f.next&255)
	}
	if in.Generation == 0 {
		f.generation++
		in.Generation = f.generation
	}
	f.generation = max(f.generation, in.Generation)
	i := &fakeInstance{in, key}
	f.instances[in.ID] = i
	f.announce()
	return i
}

// announce wakes everybody who waits for a change; with f.mu.
func (f *Fake) announce() {
	close(f.changed)
	f.changed = make(chan struct{})
}

func (i *fakeInstance) view() sandbox.Instance {
	in := i.Instance
	in.Ports = maps.Clone(in.Ports)
	return in
}

// enter counts a call, waits as scripted, and returns the scripted failure.
func (f *Fake) enter(ctx context.Context, op Op) error {
	f.mu.Lock()
	f.calls[op]++
	gate, latency := f.held[op], f.latency
	f.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return f.cut(ctx, op)
		}
	}
	if err := f.wait(ctx, op, latency); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.garbage {
		return sandbox.Errorf(sandbox.KindUnavailable, string(op), f.name, "the answer makes no sense")
	}
	return f.scripted(op)
}

// scripted uses up one failure of op; with f.mu.
func (f *Fake) scripted(op Op) error {
	list := f.failures[op]
	if len(list) == 0 {
		return nil
	}
	err := list[0].err
	switch list[0].times {
	case 0:
	case 1:
		f.failures[op] = list[1:]
	default:
		list[0].times--
	}
	return err
}

func (f *Fake) wait(ctx context.Context, op Op, d time.Duration) error {
	if ctx.Err() != nil {
		return f.cut(ctx, op)
	}
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return f.cut(ctx, op)
	}
}

func (f *Fake) cut(ctx context.Context, op Op) error {
	return sandbox.Errorf(sandbox.KindUnavailable, string(op), f.name, "%w", ctx.Err())
}
