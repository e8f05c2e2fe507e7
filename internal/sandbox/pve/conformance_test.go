package pve_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/pve/pvesim"
	"cmux.sh/edge/internal/sandbox/sandboxtest"
)

func itoa(n int) string { return strconv.Itoa(n) }

func TestProvidersKeepThePromises(t *testing.T) {
	t.Parallel()
	for name, kind := range map[string]pvesim.Kind{"pve-vm": pvesim.QEMU, "pve-lxc": pvesim.LXC} {
		for _, version := range []string{"9.2.3", "8.4.5"} {
			t.Run(name+" on "+version, func(t *testing.T) {
				t.Parallel()
				conform(t, name, kind, setup{sim: pvesim.Config{Version: version, OldErrors: version < "9", NumericNextID: version > "9"}})
			})
		}
	}
}

func conform(t *testing.T, name string, kind pvesim.Kind, s setup) {
	t.Helper()
	caps := sandbox.Capabilities{RAMSnapshot: true, Create: true, Suspend: true, StartTime: sandbox.Slow, ResumeTime: sandbox.Quick, Price: sandbox.Flat}
	if kind == pvesim.LXC {
		caps.RAMSnapshot, caps.StartTime, caps.ResumeTime = false, sandbox.Quick, sandbox.Instant
	}
	sandboxtest.Test(t, sandboxtest.Harness{
		Name: name, Capabilities: caps, Patience: 20 * time.Second,
		New: func(t *testing.T) sandboxtest.Backend { return newBench(t, kind, s).backend() },
	})
}

func (b *bench) backend() sandboxtest.Backend {
	var whole, cut func()
	undo := func(f *func()) {
		if *f != nil {
			(*f)()
			*f = nil
		}
	}
	return sandboxtest.Backend{
		Provider: b.Provider,
		Slug:     b.slug,
		Slow: func(d time.Duration) {
			undo(&whole)
			if d > 0 {
				whole = b.sim.Inject(pvesim.Fault{Delay: d})
			}
		},
		Garbage: func(on bool) {
			undo(&cut)
			if on {
				cut = b.sim.Inject(pvesim.Fault{Garbage: `{"data":{"status":{},"vmid":"x"}}`})
			}
		},
		Vanish: func(id sandbox.ID) { b.sim.Remove(b.vmid(id)) },
		Break:  func() { b.sim.Inject(pvesim.Fault{Status: 595, Reason: "Connection refused", Empty: true}) },
		Count:  func() int { return len(b.made()) },
	}
}

func TestEveryShapeOfGarbageIsUnavailable(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		"<html>It works!</html>", "", "null", "[]", "{}", `{"data":null}`, `{"data":[]}`, `{"data":{}}`, `{"data":[{}]}`,
		`{"data":""}`, `{"data":7}`, `{"data":"UPID:pve:0:0:0::100:root@pam:"}`, `{"data":[{"type":"qemu"}]}`, `{"data":`,
		strings.Repeat(`{"data":[`, 1000),
	} {
		for _, kind := range []pvesim.Kind{pvesim.QEMU, pvesim.LXC} {
			t.Run(string(kind)+" "+body[:min(len(body), 30)], func(t *testing.T) {
				t.Parallel()
				b := newBench(t, kind, setup{})
				in := b.start("a")
				if body == "" {
					b.sim.Inject(pvesim.Fault{Status: 204, Reason: "No Content", Empty: true})
				} else {
					b.sim.Inject(pvesim.Fault{Garbage: body})
				}
				ctx := t.Context()
				_, err := b.Get(ctx, in.ID)
				b.wantKind(err, sandbox.KindUnavailable)
				_, err = b.Find(ctx, in.Slug)
				b.wantKind(err, sandbox.KindUnavailable)
				_, err = b.List(ctx)
				b.wantKind(err, sandbox.KindUnavailable)
				_, err = b.Resume(ctx, in.ID)
				b.wantKind(err, sandbox.KindUnavailable)
				b.wantKind(b.Pause(ctx, in.ID), sandbox.KindUnavailable)
				b.wantKind(b.Delete(ctx, in.ID), sandbox.KindUnavailable)
				_, err = b.Start(ctx, b.request("b"))
				b.wantKind(err, sandbox.KindUnavailable)
				if h := b.Health(ctx); h.OK {
					t.Error("health says OK")
				}
				b.wantMade(1)
			})
		}
	}
}
