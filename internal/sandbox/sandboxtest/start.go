package sandboxtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"cmux.sh/edge/internal/sandbox"
)

func startWithoutCreateIsRefused(f *fixture) {
	_, err := f.Provider.Start(f.ctx, f.request("a"))
	f.wantKind(err, sandbox.KindInvalid)
}

func startedInstancesRunAndAreMarked(f *fixture) {
	req := f.request("a")
	in, err := f.Provider.Start(f.ctx, req)
	f.must(err)
	if in.Slug != req.Slug || in.State != sandbox.Running || !in.Marked || in.WorkloadType != req.WorkloadType {
		f.t.Errorf("got %+v, want %+v running and marked", in, req)
	}
}

func startTwiceWithOneKeyMakesOne(f *fixture) {
	before := f.count()
	first, err := f.Provider.Start(f.ctx, f.request("a"))
	f.must(err)
	second, err := f.Provider.Start(f.ctx, f.request("a"))
	f.must(err)
	if first.ID != second.ID {
		f.t.Errorf("got %s, then %s", first.ID, second.ID)
	}
	f.wantCount(before + 1)
}

func startAtOnceWithOneKeyMakesOne(f *fixture) {
	before := f.count()
	ids := make([]sandbox.ID, 4)
	var all sync.WaitGroup
	for i := range ids {
		all.Go(func() {
			in, err := f.Provider.Start(f.ctx, f.request("a"))
			if err != nil {
				f.t.Error(err)
			}
			ids[i] = in.ID
		})
	}
	all.Wait()
	for _, id := range ids[1:] {
		if id != ids[0] {
			f.t.Errorf("got different instances: %v", ids)
			break
		}
	}
	f.wantCount(before + 1)
}

func startWithASlugInUseIsBusy(f *fixture) {
	in := f.instance()
	before := f.count()
	req := f.request("a")
	req.Key = "another key"
	_, err := f.Provider.Start(f.ctx, req)
	f.wantKind(err, sandbox.KindBusy)
	f.wantState(in.ID, sandbox.Running)
	f.wantCount(before)
}

func startWithAnUnknownPresetIsInvalid(f *fixture) {
	before := f.count()
	req := f.request("a")
	req.Preset = "no-such-preset"
	_, err := f.Provider.Start(f.ctx, req)
	f.wantKind(err, sandbox.KindInvalid)
	f.wantCount(before)
}

// aCancelledStartLeavesNothingOrSaysWhat cancels at several moments of a
// start, and after each deletes what the error says was left.
func aCancelledStartLeavesNothingOrSaysWhat(f *fixture) {
	before := f.count()
	for i, after := range []time.Duration{0, time.Millisecond, 5 * time.Millisecond, 15 * time.Millisecond, 40 * time.Millisecond, 80 * time.Millisecond} {
		ctx, cancel := context.WithCancel(f.ctx)
		timer := time.AfterFunc(after, cancel)
		in, err := f.Provider.Start(ctx, f.request(fmt.Sprintf("c%d", i)))
		timer.Stop()
		cancel()
		if err == nil { // it was quicker
			f.must(f.Provider.Delete(f.ctx, in.ID))
			continue
		}
		f.wantCut("Start", err, context.Canceled)
		if left, ok := errors.AsType[*sandbox.Leftover](err); ok {
			f.must(f.Provider.Delete(f.ctx, left.ID))
		}
	}
	f.wantCount(before)
}

func deleteRemovesARunningInstance(f *fixture) {
	before := f.count()
	in := f.instance()
	f.must(f.Provider.Delete(f.ctx, in.ID))
	_, err := f.Provider.Find(f.ctx, in.Slug)
	f.wantKind(err, sandbox.KindNotFound)
	f.wantCount(before)
	again, err := f.Provider.Start(f.ctx, f.request("a"))
	f.must(err)
	if again.State != sandbox.Running {
		f.t.Errorf("started anew: got %s", again.State)
	}
}

func concurrentStartsAreSafe(f *fixture) {
	before := f.count()
	const n = 6
	var all sync.WaitGroup
	var mu sync.Mutex
	ids := map[sandbox.ID]bool{}
	for i := range n {
		all.Go(func() {
			in, err := f.Provider.Start(f.ctx, f.request(fmt.Sprintf("n%d", i)))
			if err != nil {
				f.t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			ids[in.ID] = true
		})
	}
	all.Wait()
	if len(ids) != n {
		f.t.Errorf("got %d different instances, want %d", len(ids), n)
	}
	f.wantCount(before + n)
	for id := range ids {
		all.Go(func() {
			if err := f.Provider.Delete(f.ctx, id); err != nil {
				f.t.Error(err)
			}
		})
	}
	all.Wait()
	f.wantCount(before)
}

// count is 0 where the backend can't tell.
func (f *fixture) count() int {
	if f.Count == nil {
		return 0
	}
	return f.Count()
}

func (f *fixture) wantCount(want int) {
	f.t.Helper()
	if f.Count == nil {
		return
	}
	if got := f.Count(); got != want {
		f.t.Errorf("the backend has %d instances, want %d", got, want)
	}
}
