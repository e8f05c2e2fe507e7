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

func TestStartClonesTheTemplateAndMarksTheClone(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		b := newBench(t, kind, setup{guests: pve.Guests{Pool: "edge"}})
		in, err := b.Start(t.Context(), sandbox.StartRequest{Slug: "demo", WorkloadType: "dev; drop=1\n\"", Key: "k&=%\n1"})
		if err != nil {
			t.Fatal(err)
		}
		g, _ := b.sim.Guest(200)
		if g.Name != "demo" || g.Pool != "edge" || g.Base == 0 || g.Starts != 1 {
			t.Errorf("got %+v, want a linked clone named demo in the pool, started once", g)
		}
		if !in.Marked || in.WorkloadType != "dev; drop=1\n\"" || time.Since(in.Created) > time.Minute || in.ID != "200.demo" || in.Address != "10.77.0.200" {
			t.Errorf("got %+v", in)
		}
		// A copy that somebody makes has the description, but isn't ours to delete.
		add(t, b.sim, pvesim.Guest{VMID: 300, Kind: kind, Name: "copy", Pool: "edge", Description: g.Description})
		if got, err := b.Get(t.Context(), "300.copy"); err != nil || got.Marked {
			t.Errorf("the copy: %+v, %v; want it unmarked", got, err)
		}
	})
}

func TestStartTakesTheLowestFreeVMIDFrom200On(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		b := newBench(t, kind, setup{})
		other := map[pvesim.Kind]pvesim.Kind{pvesim.QEMU: pvesim.LXC, pvesim.LXC: pvesim.QEMU}[kind]
		add(t, b.sim, pvesim.Guest{VMID: 200, Kind: other, Name: "another-kind"})
		add(t, b.sim, pvesim.Guest{VMID: 202, Kind: kind, Name: "somebody-elses"})
		for _, want := range []int{201, 203} {
			if in := b.start(itoa(want)); b.vmid(in.ID) != want {
				t.Errorf("got %s, want VMID %d", in.ID, want)
			}
		}
	})
}

func TestAVMIDThatTheTokenCantSeeIsPassedOver(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		// Everything in the pool and on the template, nothing on other guests.
		guest := []string{"VM.Audit", "VM.PowerMgmt", "VM.Config.Disk", "VM.Clone", "VM.Allocate", "VM.GuestAgent.Audit"}
		b := newBench(t, kind, setup{guests: pve.Guests{Pool: "edge"}, sim: pvesim.Config{Privileges: map[string][]string{
			"/pool/edge": guest, "/vms/9000": guest, "/vms/9001": guest, "/storage": {"Datastore.AllocateSpace"}, "/sdn": {"SDN.Use"},
		}}})
		for vmid := 200; vmid < 204; vmid++ {
			add(t, b.sim, pvesim.Guest{VMID: vmid, Kind: kind, Name: "hidden"})
		}
		in := b.start("a")
		if got := b.vmid(in.ID); got != 204 {
			t.Errorf("got VMID %d, want 204", got)
		}
		if h := b.Health(t.Context()); !h.OK {
			t.Errorf("health: %+v", h)
		}
		if err := b.Delete(t.Context(), in.ID); err != nil {
			t.Error(err)
		}
		_, err := b.Get(t.Context(), in.ID)
		b.wantKind(err, sandbox.KindNotFound)
	})
}

func TestAStorageWithoutLinkedClonesGetsFullOnes(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		b := newBench(t, kind, setup{sim: pvesim.Config{Storages: map[string]pvesim.Storage{"local-lvm": {NoLinkedClones: true}}}})
		in := b.start("a")
		if g, _ := b.sim.Guest(b.vmid(in.ID)); g.Base != 0 {
			t.Errorf("got a linked clone: %+v", g)
		}
	})
}

func TestARequestThatCanNeverSucceedIsInvalid(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		b := newBench(t, kind, setup{guests: pve.Guests{Templates: map[string]int{"default": 9000, "lxc": 9001, "gone": 9999, "plain": 300}}})
		add(t, b.sim, pvesim.Guest{VMID: 300, Kind: kind, Name: "no-template"})
		other := map[pvesim.Kind]string{pvesim.QEMU: "lxc", pvesim.LXC: "default"}[kind]
		for name, req := range map[string]sandbox.StartRequest{
			"outside the convention":      {Slug: "demo", Key: "k"},
			"underscore":                  {Slug: b.slug("a_b"), Key: "k"},
			"upper case":                  {Slug: b.slug("A"), Key: "k"},
			"too long":                    {Slug: b.slug(strings.Repeat("a", 64)), Key: "k"},
			"no slug":                     {Key: "k"},
			"no key":                      {Slug: b.slug("a")},
			"unknown preset":              {Slug: b.slug("a"), Key: "k", Preset: "huge"},
			"a template of another kind":  {Slug: b.slug("a"), Key: "k", Preset: other},
			"a template that isn't there": {Slug: b.slug("a"), Key: "k", Preset: "gone"},
			"a guest that is no template": {Slug: b.slug("a"), Key: "k", Preset: "plain"},
		} {
			if _, err := b.Start(t.Context(), req); sandbox.KindOf(err) != sandbox.KindInvalid {
				t.Errorf("%s: got %v, want %s", name, err, sandbox.KindInvalid)
			}
		}
		b.wantMade(1)
	})
}

func TestACloneWhoseAnswerWasLostIsFoundAgain(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		for _, fault := range []pvesim.Fault{
			{CutAfter: true, Times: 1},
			{Status: 596, Reason: "Connection timed out", Empty: true, After: true, Times: 1},
		} {
			b := newBench(t, kind, setup{})
			fault.Endpoint = action("POST", kind, "/clone")
			b.sim.Inject(fault)
			if in := b.start("a"); in.State != sandbox.Running {
				t.Errorf("got %+v, want it running", in)
			}
			b.wantMade(1)
		}
	})
}

// TestALostCloneThatNeverCameIsNamed: it may still come about after the
// caller has gone on, so that the caller has to know.
func TestALostCloneThatNeverCameIsNamed(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		b := newBench(t, kind, setup{})
		b.sim.Inject(pvesim.Fault{Endpoint: action("POST", kind, "/clone"), CutBefore: true})
		_, err := b.Start(t.Context(), b.request("a"))
		b.wantKind(err, sandbox.KindUnavailable)
		left, ok := errors.AsType[*sandbox.Leftover](err)
		if want := sandbox.ID("200." + b.slug("a")); !ok || left.ID != want {
			t.Errorf("got %v, want %s left", err, want)
		}
		if err := b.Delete(t.Context(), left.ID); err != nil {
			t.Error(err)
		}
		// Meanwhile somebody else took the VMID; deleting what was left spares it.
		add(t, b.sim, pvesim.Guest{VMID: 200, Kind: kind, Name: b.slug("b")})
		if err := b.Delete(t.Context(), left.ID); err != nil {
			t.Error(err)
		}
		b.wantMade(1)
	})
}

func TestAStartThatFailsHalfWayLeavesNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		for name, c := range map[string]struct {
			spoil func(b *bench)
			want  sandbox.Kind
		}{
			"the clone task fails": {func(b *bench) {
				b.sim.InjectTask(pvesim.TaskFault{Type: task(kind, "clone"), Text: "clone failed: No space left on device"})
			}, sandbox.KindQuota},
			"the clone is forbidden": {func(b *bench) {
				b.sim.Inject(pvesim.Fault{Endpoint: action("POST", kind, "/clone"), Status: 403, Reason: "Permission check failed (/vms/200, VM.Allocate)"})
			}, sandbox.KindPermission},
			"the clone half succeeds and is unlocked": {func(b *bench) {
				b.sim.InjectTask(pvesim.TaskFault{Type: task(kind, "clone"), Text: "unexpected status", Midway: true, Unlock: true})
				b.sim.InjectTask(pvesim.TaskFault{Type: task(kind, "start"), Text: "start failed: QEMU exited with code 1"})
			}, sandbox.KindUnavailable},
			"the start task fails": {func(b *bench) {
				b.sim.InjectTask(pvesim.TaskFault{Type: task(kind, "start"), Text: "start failed: QEMU exited with code 1"})
			}, sandbox.KindUnavailable},
			"the start is refused": {func(b *bench) {
				b.sim.Inject(pvesim.Fault{Endpoint: action("POST", kind, "/status/start"), Status: 403, Reason: "Permission check failed (/vms/200, VM.PowerMgmt)"})
			}, sandbox.KindPermission},
			"it never gets an address": {func(b *bench) {
				if err := b.sim.Change(map[pvesim.Kind]int{pvesim.QEMU: vmTemplate, pvesim.LXC: lxcTemplate}[kind], func(g *pvesim.Guest) { g.Agent = pvesim.AgentDead }); err != nil {
					b.t.Fatal(err)
				}
			}, sandbox.KindUnavailable},
			"it lies about its address": {func(b *bench) {
				if err := b.sim.Change(map[pvesim.Kind]int{pvesim.QEMU: vmTemplate, pvesim.LXC: lxcTemplate}[kind], func(g *pvesim.Guest) { g.Agent = pvesim.AgentLies }); err != nil {
					b.t.Fatal(err)
				}
			}, sandbox.KindRefused},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				b := newBench(t, kind, setup{client: pve.Config{AddressTimeout: 50 * time.Millisecond}, sim: pvesim.Config{LockTimeout: 30 * time.Millisecond}})
				b.t = t
				c.spoil(b)
				_, err := b.Start(t.Context(), b.request("a"))
				b.wantKind(err, c.want)
				if left, ok := errors.AsType[*sandbox.Leftover](err); ok {
					t.Errorf("left %s behind", left.ID)
				}
				b.wantMade(0)
			})
		}
	})
}

// TestACloneThatEndsHalfWayLockedIsNamed: nobody but root can remove its lock.
func TestACloneThatEndsHalfWayLockedIsNamed(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		b := newBench(t, kind, setup{})
		b.sim.InjectTask(pvesim.TaskFault{Type: task(kind, "clone"), Text: "unexpected status", Midway: true})
		_, err := b.Start(t.Context(), b.request("a"))
		b.wantKind(err, sandbox.KindUnavailable)
		left, ok := errors.AsType[*sandbox.Leftover](err)
		if !ok {
			t.Fatalf("%v doesn't say what is left", err)
		}
		if in := b.wantState(left.ID, sandbox.Failed); !in.Marked || in.Reason == "" {
			t.Errorf("got %+v, want it marked and explained", in)
		}
		b.change(left.ID, func(g *pvesim.Guest) { g.Lock = "" })
		if err := b.Delete(t.Context(), left.ID); err != nil {
			t.Error(err)
		}
		b.wantMade(0)
	})
}

// TestARetryInAnotherProcessFindsTheFirstClone also while the cluster still
// publishes the name of the guest that had the VMID before.
func TestARetryInAnotherProcessFindsTheFirstClone(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		s := setup{sim: pvesim.Config{StatInterval: time.Hour}}
		b := newBench(t, kind, s)
		add(t, b.sim, pvesim.Guest{VMID: 200, Kind: kind, Name: b.slug("old")})
		if _, err := b.Find(t.Context(), b.slug("old")); err != nil {
			t.Fatal(err)
		}
		b.sim.Remove(200)
		first := b.start("a")
		other := b.provider(setup{guests: pve.Guests{Templates: map[string]int{"default": map[pvesim.Kind]int{pvesim.QEMU: vmTemplate, pvesim.LXC: lxcTemplate}[kind]}}})
		second, err := other.Start(t.Context(), b.request("a"))
		if err != nil || second.ID != first.ID {
			t.Errorf("got %s, %v; want %s", second.ID, err, first.ID)
		}
		found, err := other.Find(t.Context(), first.Slug)
		if err != nil || found.ID != first.ID {
			t.Errorf("found %s, %v; want %s", found.ID, err, first.ID)
		}
		_, err = b.Find(t.Context(), b.slug("old"))
		b.wantKind(err, sandbox.KindNotFound)
		b.wantMade(1)
	})
}

func TestANodeStartsNoMoreAtATimeThanItsLimit(t *testing.T) {
	t.Parallel()
	b := newBench(t, pvesim.QEMU, setup{guests: pve.Guests{StartLimitPerNode: 2}, sim: pvesim.Config{Latency: pvesim.Latency{Clone: 40 * time.Millisecond, Agent: time.Millisecond}}})
	failed := make(chan error, 6)
	for i := range cap(failed) {
		go func() {
			_, err := b.Start(t.Context(), b.request(fmt.Sprint(i)))
			failed <- err
		}()
	}
	for range cap(failed) {
		for len(failed) == 0 {
			unfinished := 0
			for _, g := range b.made() {
				if g.Lock == "clone" {
					unfinished++
				}
			}
			if unfinished > 2 {
				t.Errorf("%d clones at a time", unfinished)
			}
			<-time.After(time.Millisecond)
		}
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	b.wantMade(cap(failed))
}

// TestAStartThatIsCutShortSaysWhatIsLeft, and that can be deleted later.
func TestAStartThatIsCutShortSaysWhatIsLeft(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		b := newBench(t, kind, setup{})
		b.sim.InjectTask(pvesim.TaskFault{Type: task(kind, "start"), Never: true})
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, err := b.Start(ctx, b.request("a"))
		if b.wantKind(err, sandbox.KindUnavailable); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the deadline's end", err)
		}
		left, ok := errors.AsType[*sandbox.Leftover](err)
		if !ok {
			t.Fatalf("%v doesn't say what is left", err)
		}
		if err := b.Delete(t.Context(), left.ID); err != nil {
			t.Error(err)
		}
		b.wantMade(0)
	})
}

func TestAStartThatWaitsForAnotherIsCutShortWithNothingLeft(t *testing.T) {
	t.Parallel()
	b := newBench(t, pvesim.QEMU, setup{guests: pve.Guests{StartLimitPerNode: 1}})
	b.sim.InjectTask(pvesim.TaskFault{Type: "qmclone", Never: true})
	first, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := b.Start(first, b.request("a"))
		ended <- err
	}()
	for len(b.made()) == 0 {
		<-time.After(time.Millisecond)
	}
	for _, name := range []string{"a", "b"} { // the same slug, the same node
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := b.Start(ctx, b.request(name))
		cancel()
		if b.wantKind(err, sandbox.KindUnavailable); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: got %v, want the deadline's end", name, err)
		}
		if left, ok := errors.AsType[*sandbox.Leftover](err); ok {
			t.Errorf("%s: left %s", name, left.ID)
		}
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	b.wantMade(1)
}

func TestATemplateOnANodeThatIsNotConfiguredIsInvalid(t *testing.T) {
	t.Parallel()
	b := newBench(t, pvesim.LXC, setup{sim: pvesim.Config{Nodes: []string{"pve1", "pve2"}}, client: pve.Config{Nodes: []string{"pve2"}}})
	_, err := b.Start(t.Context(), b.request("a"))
	b.wantKind(err, sandbox.KindInvalid)
	if h := b.Health(t.Context()); h.OK || h.Reason == "" {
		t.Errorf("health: %+v", h)
	}
}

// A node on which starts fail is passed over, and tried again later.
func TestANodeOnWhichStartsFailIsPassedOver(t *testing.T) {
	t.Parallel()
	b := newBench(t, pvesim.LXC, setup{})
	heal := b.sim.InjectTask(pvesim.TaskFault{Type: "vzstart", Text: "startup for container failed"})
	for i := range 4 {
		if _, err := b.Start(t.Context(), b.request(fmt.Sprint("bad-", i))); err == nil {
			t.Fatal("started")
		}
	}
	heal()
	calls := b.sim.Calls()["POST /nodes/{node}/lxc/{vmid}/clone"]
	_, err := b.Start(t.Context(), b.request("after"))
	b.wantKind(err, sandbox.KindUnavailable)
	if err == nil || !strings.Contains(err.Error(), "the last starts on node pve failed") {
		t.Errorf("got %v", err)
	}
	if now := b.sim.Calls()["POST /nodes/{node}/lxc/{vmid}/clone"]; now != calls {
		t.Error("the node was asked all the same")
	}
	if h := b.Health(t.Context()); h.OK || h.Nodes["pve"].OK {
		t.Errorf("health: %+v", h)
	}
}

// TestManyStartsAtOnceAreNeitherDoubledNorLost, with a cluster big enough that
// its answers come compressed.
func TestManyStartsAtOnceAreNeitherDoubledNorLost(t *testing.T) {
	t.Parallel()
	b := newBench(t, pvesim.LXC, setup{guests: pve.Guests{Pool: "edge", StartLimitPerNode: 8}})
	const n = 40
	failed := make(chan error, n)
	for i := range n {
		go func() {
			_, err := b.Start(t.Context(), b.request(fmt.Sprint(i)))
			failed <- err
		}()
	}
	for range n {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	list, err := b.List(t.Context())
	if err != nil || len(list) != n {
		t.Errorf("listed %d, %v", len(list), err)
	}
	slugs := map[string]bool{}
	for _, in := range list {
		slugs[in.Slug] = true
	}
	if len(slugs) != n {
		t.Errorf("%d slugs, want %d", len(slugs), n)
	}
}

// TestALostCloneSparesWhatAnotherProcessMadeInItsPlace, under the same name
// and VMID.
func TestALostCloneSparesWhatAnotherProcessMadeInItsPlace(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, kind pvesim.Kind) {
		b := newBench(t, kind, setup{})
		clone := action("POST", kind, "/clone")
		b.sim.Inject(pvesim.Fault{Endpoint: clone, CutBefore: true, Delay: 50 * time.Millisecond})
		ended := make(chan error, 1)
		go func() {
			_, err := b.Start(t.Context(), b.request("a"))
			ended <- err
		}()
		for b.sim.Calls()[clone] == 0 {
			<-time.After(time.Millisecond)
		}
		add(t, b.sim, pvesim.Guest{VMID: 200, Kind: kind, Name: b.slug("a"), Description: "cmux-edge: key=another&vmid=200\n"})
		b.wantKind(<-ended, sandbox.KindUnavailable)
		b.wantMade(1)
	})
}
