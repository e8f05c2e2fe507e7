package pve_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/pve"
	"cmux.sh/edge/internal/sandbox/pve/pvesim"
)

var kinds = []pvesim.Kind{pvesim.QEMU, pvesim.LXC}

// each runs a test for virtual machines and for containers.
func each(t *testing.T, run func(*testing.T, pvesim.Kind)) {
	t.Helper()
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			run(t, kind)
		})
	}
}

// action is the name of a guest's endpoint.
func action(method string, kind pvesim.Kind, what string) string {
	return method + " /nodes/{node}/" + string(kind) + "/{vmid}" + what
}

// task is the type of a guest's task: "start" is qmstart or vzstart.
func task(kind pvesim.Kind, what string) string {
	return map[pvesim.Kind]string{pvesim.QEMU: "qm", pvesim.LXC: "vz"}[kind] + what
}

func pauseAction(kind pvesim.Kind) string {
	return action("POST", kind, map[pvesim.Kind]string{pvesim.QEMU: "/status/suspend", pvesim.LXC: "/status/shutdown"}[kind])
}

func pauseTask(kind pvesim.Kind) string {
	return map[pvesim.Kind]string{pvesim.QEMU: "qmsuspend", pvesim.LXC: "vzshutdown"}[kind]
}

func TestAnAPIThatIsDownIsUnavailable(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		b := newBench(t, kind, setup{})
		in := b.start("a")
		if err := b.sim.Close(); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		_, err := b.Get(t.Context(), in.ID)
		b.wantKind(err, sandbox.KindUnavailable)
		_, err = b.Start(t.Context(), b.request("b"))
		b.wantKind(err, sandbox.KindUnavailable)
		if left, ok := errors.AsType[*sandbox.Leftover](err); ok {
			t.Errorf("a start that never began left %s", left.ID)
		}
		b.wantKind(b.Pause(t.Context(), in.ID), sandbox.KindUnavailable)
		if h := b.Health(t.Context()); h.OK {
			t.Error("health says OK")
		}
		if took := time.Since(begun); took > time.Second {
			t.Errorf("it took %s to find out", took)
		}
	})
}

func TestAWrongTokenIsAPermissionErrorAlsoAfter3Seconds(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		b := newBench(t, kind, setup{client: pve.Config{Token: "edge@pve!test=wrong"}}) // the simulator's delay is the real 3 s
		begun := time.Now()
		_, err := b.Find(t.Context(), b.slug("a"))
		b.wantKind(err, sandbox.KindPermission)
		if took := time.Since(begun); took < 2*time.Second {
			t.Errorf("answered after %s, before the server did", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		begun = time.Now()
		_, err = b.Find(ctx, b.slug("a"))
		if b.wantKind(err, sandbox.KindUnavailable); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) > time.Second {
			t.Errorf("got %v after %s, want the deadline's end", err, time.Since(begun))
		}
	})
}

// TestStatusLinesTellTheKind: the text of an error is only in the status line,
// as before 8.4.
func TestStatusLinesTellTheKind(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status int
		reason string
		empty  bool
		want   sandbox.Kind
	}{
		{500, "VM is locked (backup)", false, sandbox.KindBusy},
		{500, "can't lock file '/var/lock/qemu-server/lock-200.conf' - got timeout", false, sandbox.KindBusy},
		{500, "Cannot suspend HA managed VM to disk", false, sandbox.KindInvalid},
		{500, "cannot suspend VM to disk due to passed-through PCI device(s)", false, sandbox.KindInvalid},
		{500, "no idea", false, sandbox.KindUnavailable},
		{500, "write error: No space left on device", false, sandbox.KindQuota},
		{403, "Permission check failed (/vms/200, VM.PowerMgmt)", false, sandbox.KindPermission},
		{400, "Parameter verification failed.", false, sandbox.KindInvalid},
		{401, "No ticket", true, sandbox.KindPermission},
		{429, "Too Many Requests", true, sandbox.KindQuota},
		{501, "Method 'POST /x' not implemented", false, sandbox.KindInvalid},
		{503, "Service Unavailable", true, sandbox.KindUnavailable},
		{595, "No route to host", true, sandbox.KindUnavailable},
		{596, "Connection timed out", true, sandbox.KindUnavailable},
		{599, "Too many redirections", true, sandbox.KindUnavailable},
	} {
		t.Run(fmt.Sprintf("%d %s", c.status, c.reason), func(t *testing.T) {
			t.Parallel()
			b := newBench(t, pvesim.QEMU, setup{sim: pvesim.Config{OldErrors: true}})
			in := b.start("a")
			b.sim.Inject(pvesim.Fault{Endpoint: pauseAction(b.kind), Status: c.status, Reason: c.reason, Empty: c.empty})
			err := b.Pause(t.Context(), in.ID)
			b.wantKind(err, c.want)
			if err == nil || !strings.Contains(err.Error(), c.reason) {
				t.Errorf("%v does not repeat the reason", err)
			}
			b.wantState(in.ID, sandbox.Running)
		})
	}
}

// TestALostAnswerIsMadeUpForByLooking: the action happens, its answer doesn't
// arrive, and the call succeeds all the same without acting twice.
func TestALostAnswerIsMadeUpForByLooking(t *testing.T) {
	t.Parallel()
	lost := map[string]pvesim.Fault{
		"596 with an empty body": {Status: 596, Reason: "Connection timed out", Empty: true, After: true},
		"a cut connection":       {CutAfter: true},
	}
	for name, fault := range lost {
		each(t, func(t *testing.T, kind pvesim.Kind) {
			for _, c := range []struct {
				endpoint string
				do       func(b *bench, in sandbox.Instance) error
				want     sandbox.State
			}{
				{
					pauseAction(kind), func(b *bench, in sandbox.Instance) error { return b.Pause(t.Context(), in.ID) },
					map[pvesim.Kind]sandbox.State{pvesim.QEMU: sandbox.Paused, pvesim.LXC: sandbox.Stopped}[kind],
				},
				{action("POST", kind, "/status/stop"), func(b *bench, in sandbox.Instance) error { return b.Stop(t.Context(), in.ID) }, sandbox.Stopped},
				{action("POST", kind, "/status/start"), func(b *bench, in sandbox.Instance) error {
					if err := b.Pause(t.Context(), in.ID); err != nil {
						return err
					}
					_, err := b.Resume(t.Context(), in.ID)
					return err
				}, sandbox.Running},
			} {
				b := newBench(t, kind, setup{})
				in := b.start("a")
				before := b.sim.Calls()[c.endpoint]
				lost := fault
				lost.Endpoint = c.endpoint
				b.sim.Inject(lost)
				if err := c.do(b, in); err != nil {
					t.Errorf("%s, %s: %v", name, c.endpoint, err)
				}
				if got := b.sim.Calls()[c.endpoint] - before; got != 1 {
					t.Errorf("%s, %s: asked %d times", name, c.endpoint, got)
				}
				b.wantState(in.ID, c.want)
			}
		})
	}
}

func TestA595ThatAnswersAnActionIsNoSuccess(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		b := newBench(t, kind, setup{})
		in := b.start("a")
		b.sim.Inject(pvesim.Fault{Endpoint: pauseAction(kind), Status: 595, Reason: "Connection refused", Empty: true})
		b.wantKind(b.Pause(t.Context(), in.ID), sandbox.KindUnavailable)
		b.wantState(in.ID, sandbox.Running)
	})
}

func TestATaskThatFailsIsAnErrorOfItsKind(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		for text, want := range map[string]sandbox.Kind{
			"start failed: QEMU exited with code 1":  sandbox.KindUnavailable,
			"VM is locked (backup)":                  sandbox.KindBusy,
			"unable to create: No space left":        sandbox.KindQuota,
			"Permission check failed (/storage/x)":   sandbox.KindPermission,
			"unexpected status":                      sandbox.KindUnavailable,
			"unable to get last line from task log":  sandbox.KindUnavailable,
			"received interrupt":                     sandbox.KindUnavailable,
			"something that nobody has seen before?": sandbox.KindUnavailable,
		} {
			b := newBench(t, kind, setup{})
			in := b.start("a")
			if err := b.Stop(t.Context(), in.ID); err != nil {
				t.Fatal(err)
			}
			b.sim.InjectTask(pvesim.TaskFault{Type: task(kind, "start"), Text: text})
			_, err := b.Resume(t.Context(), in.ID)
			b.wantKind(err, want)
			b.wantState(in.ID, sandbox.Stopped)
		}
	})
}

func TestWarningsAreSuccess(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		b := newBench(t, kind, setup{})
		b.sim.InjectTask(pvesim.TaskFault{Warnings: 2})
		in := b.start("a")
		if err := b.Pause(t.Context(), in.ID); err != nil {
			t.Error(err)
		}
		if err := b.Delete(t.Context(), in.ID); err != nil {
			t.Error(err)
		}
	})
}

// TestAKilledWorkerThatHadDoneItsWorkIsSuccess: "unexpected status" says that
// nobody knows; the guest's state does.
func TestAKilledWorkerThatHadDoneItsWorkIsSuccess(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		b := newBench(t, kind, setup{})
		in := b.start("a")
		b.sim.InjectTask(pvesim.TaskFault{Type: pauseTask(kind), Text: "unexpected status", After: true})
		if err := b.Pause(t.Context(), in.ID); err != nil {
			t.Error(err)
		}
	})
}

func TestATaskThatNeverEndsIsLeftAtTheDeadline(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		b := newBench(t, kind, setup{})
		in := b.start("a")
		b.sim.InjectTask(pvesim.TaskFault{Type: pauseTask(kind), Never: true})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		begun := time.Now()
		err := b.Pause(ctx, in.ID)
		if b.wantKind(err, sandbox.KindUnavailable); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the deadline's end", err)
		}
		if late := time.Since(begun); late > time.Second {
			t.Errorf("returned after %s", late)
		}
	})
}

func TestATaskThatNeverEndsIsGivenUpWithoutADeadlineToo(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		b := newBench(t, kind, setup{client: pve.Config{TaskTimeout: 100 * time.Millisecond}})
		in := b.start("a")
		b.sim.InjectTask(pvesim.TaskFault{Type: pauseTask(kind), Never: true})
		b.wantKind(b.Pause(t.Context(), in.ID), sandbox.KindUnavailable)
	})
}

func TestALockThatIsHeldIsBusy(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		b := newBench(t, kind, setup{sim: pvesim.Config{LockTimeout: 30 * time.Millisecond}})
		in := b.start("a")
		release, err := b.sim.HoldLock(b.vmid(in.ID))
		if err != nil {
			t.Fatal(err)
		}
		b.wantKind(b.Pause(t.Context(), in.ID), sandbox.KindBusy)
		b.wantKind(b.Stop(t.Context(), in.ID), sandbox.KindBusy)
		release()
		b.change(in.ID, func(g *pvesim.Guest) { g.Lock = "snapshot" })
		b.wantKind(b.Pause(t.Context(), in.ID), sandbox.KindBusy)
		b.wantKind(b.Stop(t.Context(), in.ID), sandbox.KindBusy)
		b.wantKind(b.Delete(t.Context(), in.ID), sandbox.KindBusy)
		if got := b.wantState(in.ID, sandbox.Running); got.Reason != "locked (snapshot)" {
			t.Errorf("reason: got %q", got.Reason)
		}
		b.change(in.ID, func(g *pvesim.Guest) { g.Lock = "" })
		if err := b.Delete(t.Context(), in.ID); err != nil {
			t.Error(err)
		}
	})
}

func TestAnOfflineNodeIsUnavailableAndTheOthersGoOn(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		b := newBench(t, kind, setup{sim: pvesim.Config{Nodes: []string{"pve1", "pve2"}}})
		here, there := b.start("here"), b.start("there")
		b.change(there.ID, func(g *pvesim.Guest) { g.Node = "pve2" })
		b.wantState(there.ID, sandbox.Running)
		b.sim.SetOnline("pve2", false)
		b.wantState(here.ID, sandbox.Running)
		_, err := b.Get(t.Context(), there.ID)
		b.wantKind(err, sandbox.KindUnavailable)
		_, err = b.Find(t.Context(), there.Slug)
		b.wantKind(err, sandbox.KindUnavailable)
		b.wantKind(b.Pause(t.Context(), there.ID), sandbox.KindUnavailable)
		b.wantKind(b.Delete(t.Context(), there.ID), sandbox.KindUnavailable)
		list, err := b.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		states := map[string]sandbox.State{}
		for _, in := range list {
			states[in.Slug] = in.State
		}
		if states[here.Slug] != sandbox.Running || states[there.Slug] != sandbox.Unknown || len(states) != 2 {
			t.Errorf("listed %v", states)
		}
		h := b.Health(t.Context())
		if !h.OK || !h.Nodes["pve1"].OK || h.Nodes["pve2"].OK || h.Nodes["pve2"].Reason == "" {
			t.Errorf("health: %+v", h)
		}
		// A process that never saw the guest can't tell its name.
		_, err = b.provider(setup{guests: pve.Guests{}}).Find(t.Context(), there.Slug)
		b.wantKind(err, sandbox.KindUnavailable)
		b.sim.SetOnline("pve1", false)
		if h := b.Health(t.Context()); h.OK || !strings.Contains(h.Reason, "pve1") {
			t.Errorf("health without any node: %+v", h)
		}
		_, err = b.Start(t.Context(), b.request("new"))
		b.wantKind(err, sandbox.KindUnavailable)
	})
}

// TestANodeThatHangsDoesNotHoldTheOthersUp: it is not offline yet.
func TestANodeThatHangsDoesNotHoldTheOthersUp(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		b := newBench(t, kind, setup{client: pve.Config{ReadTimeout: 300 * time.Millisecond}})
		in := b.start("a")
		list := b.sim.Inject(pvesim.Fault{Endpoint: "GET /nodes/{node}/" + string(kind), Delay: time.Minute})
		if found, err := b.Find(t.Context(), in.Slug); err != nil || found.ID != in.ID {
			t.Errorf("found %+v, %v", found, err)
		}
		list()
		b.sim.Inject(pvesim.Fault{Endpoint: action("GET", kind, "/config"), Delay: time.Minute})
		got, err := b.List(t.Context())
		if err != nil || len(got) != 1 || got[0].State != sandbox.Unknown || got[0].Slug != in.Slug || got[0].Generation != in.Generation {
			t.Errorf("listed %+v, %v; want it unknown", got, err)
		}
	})
}
