package sandboxtest

import (
	"time"

	"cmux.sh/edge/internal/sandbox"
)

func resumeOfARunningInstanceSucceeds(f *fixture) {
	in := f.instance()
	got, err := f.Provider.Resume(f.ctx, in.ID)
	f.must(err)
	if got.State != sandbox.Running || got.ID != in.ID {
		f.t.Errorf("got %+v, want %s running", got, in.ID)
	}
	if got.Generation != in.Generation {
		f.t.Errorf("the generation went from %d to %d though nothing happened", in.Generation, got.Generation)
	}
}

func pauseKeepsRAMOrStops(f *fixture) {
	in := f.instance()
	f.must(f.Provider.Pause(f.ctx, in.ID))
	f.wantState(in.ID, f.asleep())
}

func pauseOfASleepingInstanceSucceeds(f *fixture) {
	in := f.instance()
	f.must(f.Provider.Pause(f.ctx, in.ID))
	f.must(f.Provider.Pause(f.ctx, in.ID))
	f.wantState(in.ID, f.asleep())
}

func resumeWakesASleepingInstance(f *fixture) {
	in := f.instance()
	f.must(f.Provider.Pause(f.ctx, in.ID))
	f.resumes(in)
}

func resumeWakesAStoppedInstance(f *fixture) {
	in := f.instance()
	f.must(f.Provider.Stop(f.ctx, in.ID))
	f.resumes(in)
}

func (f *fixture) resumes(in sandbox.Instance) {
	f.t.Helper()
	got, err := f.Provider.Resume(f.ctx, in.ID)
	f.must(err)
	if got.State != sandbox.Running || got.ID != in.ID || got.Slug != in.Slug {
		f.t.Errorf("got %+v, want %s running", got, in.ID)
	}
	if got.Address == "" && len(got.Ports) == 0 {
		f.t.Errorf("neither address nor ports in %+v", got)
	}
	f.wantState(in.ID, sandbox.Running)
}

// resumeWhilePausingWaitsThenResumes begins to resume at several moments of a
// pause. Whatever the order at the provider, the instance must run in the end.
func resumeWhilePausingWaitsThenResumes(f *fixture) {
	in := f.instance()
	for _, after := range []time.Duration{time.Millisecond, 10 * time.Millisecond, 30 * time.Millisecond, 50 * time.Millisecond} {
		paused := make(chan error, 1)
		go func() { paused <- f.Provider.Pause(f.ctx, in.ID) }()
		begun := time.NewTimer(after)
		<-begun.C
		for f.get(in.ID).State == sandbox.Running && len(paused) == 0 {
			<-time.After(time.Millisecond)
		}
		got, err := f.Provider.Resume(f.ctx, in.ID)
		f.must(err)
		if got.State != sandbox.Running {
			f.t.Errorf("%s into a pause: got %s (%s), want running", after, got.State, got.Reason)
		}
		// The pause may find that somebody woke the instance under its hands.
		if err := <-paused; err != nil && sandbox.KindOf(err) != sandbox.KindBusy {
			f.t.Errorf("pause: %v", err)
		}
		f.wantState(in.ID, sandbox.Running)
	}
}

func generationNeverGoesBack(f *fixture) {
	in := f.instance()
	for range 2 {
		f.must(f.Provider.Pause(f.ctx, in.ID))
		got, err := f.Provider.Resume(f.ctx, in.ID)
		f.must(err)
		if got.Generation <= in.Generation {
			f.t.Errorf("generation after a resume: got %d, want more than %d", got.Generation, in.Generation)
		}
		in = got
	}
}

func stopOfAStoppedInstanceSucceeds(f *fixture) {
	in := f.instance()
	f.must(f.Provider.Stop(f.ctx, in.ID))
	f.wantState(in.ID, sandbox.Stopped)
	f.must(f.Provider.Stop(f.ctx, in.ID))
	f.wantState(in.ID, sandbox.Stopped)
}

func stopOfASleepingInstanceGivesItsRAMUp(f *fixture) {
	in := f.instance()
	f.must(f.Provider.Pause(f.ctx, in.ID))
	f.must(f.Provider.Stop(f.ctx, in.ID))
	f.wantState(in.ID, sandbox.Stopped)
}

func deleteRemovesASleepingInstance(f *fixture) {
	before := f.count()
	in := f.instance()
	f.must(f.Provider.Pause(f.ctx, in.ID))
	f.must(f.Provider.Delete(f.ctx, in.ID))
	_, err := f.Provider.Get(f.ctx, in.ID)
	f.wantKind(err, sandbox.KindNotFound)
	f.wantCount(before)
}
