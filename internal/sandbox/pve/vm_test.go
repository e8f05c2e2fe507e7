package pve_test

import (
	"strings"
	"testing"
	"time"

	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/pve"
	"cmux.sh/edge/internal/sandbox/pve/pvesim"
)

// TestTheStatesOfAVM reads each cell of the table of QEMU's states and
// Proxmox's locks.
func TestTheStatesOfAVM(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status, qmp, lock string
		want              sandbox.State
		reason            string
	}{
		{"stopped", "", "", sandbox.Stopped, ""},
		{"stopped", "", "suspended", sandbox.Paused, ""},
		{"stopped", "", "suspending", sandbox.Failed, "unlock"},
		{"stopped", "", "backup", sandbox.Stopped, "locked (backup)"},
		{"stopped", "", "clone", sandbox.Failed, "clone"},
		{"running", "running", "", sandbox.Running, ""},
		{"running", "running", "backup", sandbox.Running, "locked (backup)"},
		{"running", "running", "suspending", sandbox.Running, "pause failed"},
		{"running", "save-vm", "suspending", sandbox.Pausing, ""},
		{"running", "inmigrate", "suspended", sandbox.Resuming, ""},
		{"running", "running", "suspended", sandbox.Resuming, ""},
		{"running", "paused", "", sandbox.Paused, "CPUs"},
		{"running", "prelaunch", "", sandbox.Starting, ""},
		{"running", "shutdown", "", sandbox.Stopping, ""},
		{"running", "io-error", "", sandbox.Failed, "io-error"},
		{"running", "on-holiday", "", sandbox.Unknown, "on-holiday"},
	} {
		t.Run(strings.Join([]string{c.status, c.qmp, c.lock}, " "), func(t *testing.T) {
			t.Parallel()
			b := newBench(t, pvesim.QEMU, setup{})
			add(t, b.sim, pvesim.Guest{VMID: 200, Kind: pvesim.QEMU, Name: "pvevm-a", Status: c.status, QMP: c.qmp, Lock: c.lock})
			in := b.wantState("200.pvevm-a", c.want)
			if c.reason == "" && in.Reason != "" || !strings.Contains(in.Reason, c.reason) {
				t.Errorf("reason: got %q, want something with %q", in.Reason, c.reason)
			}
			list, err := b.List(t.Context())
			if err != nil || len(list) != 1 || list[0].State != c.want {
				t.Errorf("listed %+v, %v", list, err)
			}
		})
	}
}

// TestAFailedSaveKeepsTheVMServing: its lock stays until an administrator
// removes it, but it runs.
func TestAFailedSaveKeepsTheVMServing(t *testing.T) {
	t.Parallel()
	for _, exit := range []string{"unexpected status", "unable to write the state: No space left on device"} {
		b := newBench(t, pvesim.QEMU, setup{})
		in := b.start("a")
		b.sim.InjectTask(pvesim.TaskFault{Type: "qmsuspend", Text: exit, Midway: true, Times: 1})
		want := sandbox.KindUnavailable
		if strings.Contains(exit, "space") {
			want = sandbox.KindQuota
		}
		b.wantKind(b.Pause(t.Context(), in.ID), want)
		if got := b.wantState(in.ID, sandbox.Running); !strings.Contains(got.Reason, "a pause failed") || got.Address == "" {
			t.Errorf("got %+v, want its address and the reason", got)
		}
		if got, err := b.Resume(t.Context(), in.ID); err != nil || got.State != sandbox.Running {
			t.Errorf("resume: %+v, %v", got, err)
		}
		b.wantKind(b.Pause(t.Context(), in.ID), sandbox.KindBusy)
		b.wantKind(b.Stop(t.Context(), in.ID), sandbox.KindBusy)
	}
}

func TestAFailedLoadCanBeTriedAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t, pvesim.QEMU, setup{})
	in := b.start("a")
	if err := b.Pause(t.Context(), in.ID); err != nil {
		t.Fatal(err)
	}
	b.sim.InjectTask(pvesim.TaskFault{Type: "qmstart", Text: "start failed: QEMU exited with code 1", Times: 1})
	_, err := b.Resume(t.Context(), in.ID)
	b.wantKind(err, sandbox.KindUnavailable)
	b.wantState(in.ID, sandbox.Paused)
	if got, err := b.Resume(t.Context(), in.ID); err != nil || got.State != sandbox.Running {
		t.Errorf("again: %+v, %v", got, err)
	}
}

func TestStandingCPUsAreContinuedAndSaved(t *testing.T) {
	t.Parallel()
	b := newBench(t, pvesim.QEMU, setup{})
	in := b.start("a")
	b.change(in.ID, func(g *pvesim.Guest) { g.QMP = "paused" })
	if got, err := b.Resume(t.Context(), in.ID); err != nil || got.State != sandbox.Running {
		t.Errorf("resume: %+v, %v", got, err)
	}
	b.change(in.ID, func(g *pvesim.Guest) { g.QMP = "paused" })
	if err := b.Pause(t.Context(), in.ID); err != nil {
		t.Error(err)
	}
	if g, _ := b.sim.Guest(200); g.Status != "stopped" || g.Lock != "suspended" {
		t.Errorf("got %+v, want its RAM saved", g)
	}
}

func TestAPauseOfAStoppedVMHasNoRAMToKeep(t *testing.T) {
	t.Parallel()
	b := newBench(t, pvesim.QEMU, setup{})
	in := b.start("a")
	if err := b.Stop(t.Context(), in.ID); err != nil {
		t.Fatal(err)
	}
	b.wantKind(b.Pause(t.Context(), in.ID), sandbox.KindBusy)
}

func TestAnHAManagedVMCannotHibernate(t *testing.T) {
	t.Parallel()
	b := newBench(t, pvesim.QEMU, setup{})
	in := b.start("a")
	b.change(in.ID, func(g *pvesim.Guest) { g.HA = true })
	b.wantKind(b.Pause(t.Context(), in.ID), sandbox.KindInvalid)
	b.wantState(in.ID, sandbox.Running)
}

// TestAResumeWaitsForASuspendThatSomebodyElseBegan: a resume in the middle of
// it would be answered OK and be lost.
func TestAResumeWaitsForASuspendThatSomebodyElseBegan(t *testing.T) {
	t.Parallel()
	b := newBench(t, pvesim.QEMU, setup{})
	in := b.start("a")
	other := b.provider(setup{guests: pve.Guests{}})
	paused := make(chan error, 1)
	go func() { paused <- other.Pause(t.Context(), in.ID) }()
	for b.sim.Calls()[pauseAction(pvesim.QEMU)] == 0 {
		<-time.After(time.Millisecond)
	}
	got, err := b.Resume(t.Context(), in.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-paused; err != nil && sandbox.KindOf(err) != sandbox.KindBusy {
		t.Error(err)
	}
	if got.State != sandbox.Running || b.sim.Calls()["POST /nodes/{node}/qemu/{vmid}/status/resume"] != 0 {
		t.Errorf("got %+v after %v", got, b.sim.Calls())
	}
	b.wantState(in.ID, sandbox.Running)
}

func TestManyResumesAtOnceStartTheVMOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		b := newBench(t, kind, setup{})
		in := b.start("a")
		if err := b.Pause(t.Context(), in.ID); err != nil {
			t.Fatal(err)
		}
		failed := make(chan error, 8)
		for range cap(failed) {
			go func() {
				got, err := b.Resume(t.Context(), in.ID)
				if err == nil && got.State != sandbox.Running {
					t.Errorf("got %+v", got)
				}
				failed <- err
			}()
		}
		for range cap(failed) {
			if err := <-failed; err != nil {
				t.Error(err)
			}
		}
		if g, _ := b.sim.Guest(b.vmid(in.ID)); g.Starts != 2 {
			t.Errorf("started %d times, want 2", g.Starts)
		}
	})
}

func TestAGuestThatMovedIsFoundOnItsNewNode(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		b := newBench(t, kind, setup{sim: pvesim.Config{Nodes: []string{"pve1", "pve2"}}})
		in := b.start("a")
		b.change(in.ID, func(g *pvesim.Guest) { g.Node = "pve2" })
		got := b.wantState(in.ID, sandbox.Running)
		if got.Generation <= in.Generation {
			t.Errorf("generation after a move: got %d, want more than %d", got.Generation, in.Generation)
		}
		if err := b.Pause(t.Context(), in.ID); err != nil {
			t.Error(err)
		}
		if _, err := b.Resume(t.Context(), in.ID); err != nil {
			t.Error(err)
		}
		if err := b.Delete(t.Context(), in.ID); err != nil {
			t.Error(err)
		}
	})
}

// TestAGuestThatMovesUnderACallIsFollowed: it is looked up on the old node,
// and gone from there when it is read.
func TestAGuestThatMovesUnderACallIsFollowed(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		b := newBench(t, kind, setup{sim: pvesim.Config{Nodes: []string{"pve1", "pve2"}}})
		in := b.start("a")
		b.sim.Inject(pvesim.Fault{
			Endpoint: action("GET", kind, "/config"), Status: 500, Times: 1,
			Reason: "Configuration file 'nodes/pve1/" + map[pvesim.Kind]string{pvesim.QEMU: "qemu-server", pvesim.LXC: "lxc"}[kind] + "/200.conf' does not exist",
		})
		b.wantState(in.ID, sandbox.Running)
		b.sim.Inject(pvesim.Fault{Endpoint: action("POST", kind, "/status/stop"), Status: 500, Times: 1, Reason: "unable to find configuration file for VM 200 on node 'pve1'"})
		if err := b.Stop(t.Context(), in.ID); err != nil {
			t.Error(err)
		}
	})
}

// TestAnHAManagedGuestIsWaitedFor: its task ends when the request was filed,
// long before anything happens.
func TestAnHAManagedGuestIsWaitedFor(t *testing.T) {
	t.Parallel()
	latency := quick()
	latency.Manager = 150 * time.Millisecond
	b := newBench(t, pvesim.QEMU, setup{sim: pvesim.Config{Latency: latency}})
	in := b.start("a")
	b.change(in.ID, func(g *pvesim.Guest) { g.HA = true })
	if err := b.Stop(t.Context(), in.ID); err != nil {
		t.Error(err)
	}
	b.wantState(in.ID, sandbox.Stopped)
	if got, err := b.Resume(t.Context(), in.ID); err != nil || got.State != sandbox.Running {
		t.Errorf("got %+v, %v", got, err)
	}
	if got := b.sim.Calls(); got["POST /nodes/{node}/qemu/{vmid}/status/stop"] != 1 || got["POST /nodes/{node}/qemu/{vmid}/status/start"] != 2 {
		t.Errorf("asked more than once: %v", got)
	}
}
