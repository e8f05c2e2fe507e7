package pvesim_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"cmux.sh/edge/internal/sandbox/pve/pvesim"
)

// stubborn is a machine that can't be suspended.
type stubborn struct{}

func (stubborn) Start(context.Context, bool) (string, error) { return "192.0.2.7", nil }
func (stubborn) Suspend(context.Context) error               { return errors.New("no") }
func (stubborn) Stop(context.Context) error                  { return nil }
func (stubborn) Remove(context.Context) error                { return nil }

func TestAWrongTokenIsAnsweredLateAndEmpty(t *testing.T) {
	t.Parallel()
	c := play(t, pvesim.Config{AuthDelay: 50 * time.Millisecond})
	for token, reason := range map[string]string{"": "No ticket", "edge@pve!test=wrong": "Authentication failed!"} {
		c.token = token
		begun := time.Now()
		a := c.call("GET", "/version", nil)
		if c.want(a, 401, reason); a.body != "" || time.Since(begun) < 50*time.Millisecond {
			t.Errorf("got body %q after %s", a.body, time.Since(begun))
		}
	}
	for _, same := range []string{strings.ReplaceAll(pvesim.Token, "!", "%21"), pvesim.Token + ";x"} {
		c.token = same
		c.want(c.call("GET", "/version", nil), 200, "OK")
	}
}

// TestErrorsAreWrittenAsTheServerWritesThem: on the status line always, in the
// body since 8.4, and the connection ends.
func TestErrorsAreWrittenAsTheServerWritesThem(t *testing.T) {
	t.Parallel()
	for _, old := range []bool{false, true} {
		c := play(t, pvesim.Config{OldErrors: old})
		a := c.call("GET", "/nodes/pve/qemu/100/config", nil)
		want := "Configuration file 'nodes/pve/qemu-server/100.conf' does not exist"
		c.want(a, 500, want)
		if !a.closed || (a.Message == want+"\n") == old {
			t.Errorf("old %t: closed %t, message %q", old, a.closed, a.Message)
		}
	}
}

func TestPrivileges(t *testing.T) {
	t.Parallel()
	c := play(t, pvesim.Config{Privileges: map[string][]string{"/vms/100": {"VM.Audit"}, "/pool/edge": {"VM.Audit", "VM.PowerMgmt"}}},
		pvesim.Guest{VMID: 100, Kind: pvesim.QEMU, Name: "a", Status: "running"},
		pvesim.Guest{VMID: 101, Kind: pvesim.QEMU, Name: "b", Status: "running", Pool: "edge"},
		pvesim.Guest{VMID: 102, Kind: pvesim.QEMU, Name: "c", Status: "running"},
	)
	c.want(c.call("POST", "/nodes/pve/qemu/100/status/stop", nil), 403, "Permission check failed (/vms/100, VM.PowerMgmt)")
	c.want(c.call("GET", "/nodes/pve/qemu/102/config", nil), 403, "Permission check failed (/vms/102, VM.Audit)")
	c.want(c.call("GET", "/nodes/pve/qemu/100/agent/network-get-interfaces", nil), 403, "Permission check failed (/vms/100, VM.GuestAgent.Audit|VM.GuestAgent.Unrestricted)")
	c.want(c.call("POST", "/nodes/pve/qemu/101/status/suspend", form("todisk", "1")), 403, "Permission check failed (/vms/101, VM.Config.Disk)")
	var list []struct{ VMID int }
	if err := json.Unmarshal(c.call("GET", "/nodes/pve/qemu", nil).Data, &list); err != nil || len(list) != 2 {
		t.Errorf("listed %v, %v; want the two that may be seen", list, err)
	}
	if got := c.do("/nodes/pve/qemu/101/status/stop", nil); got != "OK" {
		t.Errorf("the pool's privilege: %q", got)
	}
}

func TestInjectedFaults(t *testing.T) {
	t.Parallel()
	c := play(t, pvesim.Config{}, pvesim.Guest{VMID: 100, Kind: pvesim.QEMU, Name: "a"})
	const start = "POST /nodes/{node}/qemu/{vmid}/status/start"
	begin := func() (answer, error) { return c.try("POST", "/nodes/pve/qemu/100/status/start", "", "") }

	c.sim.Inject(pvesim.Fault{Endpoint: start, Times: 2, Status: 595, Reason: "No route to host", Empty: true})
	for range 2 {
		a, err := begin()
		if err != nil || a.body != "" {
			t.Errorf("got %q, %v", a.body, err)
		}
		c.want(a, 595, "No route to host")
	}
	c.sim.Inject(pvesim.Fault{Endpoint: start, Times: 1, CutBefore: true})
	if _, err := begin(); err == nil {
		t.Error("the connection wasn't cut")
	}
	c.sim.Inject(pvesim.Fault{Endpoint: start, Times: 1, Garbage: "<html>"})
	if a, err := begin(); err != nil || a.body != "<html>" || a.status != 200 {
		t.Errorf("got %+v, %v", a, err)
	}
	if g, _ := c.sim.Guest(100); g.Starts != 0 {
		t.Error("a fault in place of the deed did the deed")
	}
	c.sim.Inject(pvesim.Fault{Endpoint: start, Times: 1, CutAfter: true})
	if _, err := begin(); err == nil {
		t.Error("the connection wasn't cut")
	}
	for {
		if g, _ := c.sim.Guest(100); g.Starts == 1 {
			break
		}
		<-time.After(time.Millisecond)
	}
	off := c.sim.Inject(pvesim.Fault{Delay: time.Minute})
	off()
	c.want(c.call("GET", "/version", nil), 200, "OK")
	if got := c.sim.Calls()[start]; got != 5 {
		t.Errorf("counted %d starts, want 5", got)
	}
}

func TestInjectedTaskFaults(t *testing.T) {
	t.Parallel()
	const start = "/nodes/pve/qemu/100/status/start"
	for _, c := range []struct {
		fault pvesim.TaskFault
		says  string
		then  string
	}{
		{pvesim.TaskFault{Text: "start failed: QEMU exited with code 1"}, "start failed: QEMU exited with code 1", "stopped"},
		{pvesim.TaskFault{Text: "unexpected status", After: true}, "unexpected status", "running"},
		{pvesim.TaskFault{Text: "unexpected status", Midway: true}, "unexpected status", "stopped"},
		{pvesim.TaskFault{Warnings: 3}, "WARNINGS: 3", "running"},
		{pvesim.TaskFault{Type: "qmstop", Text: "no"}, "OK", "running"},
	} {
		p := play(t, pvesim.Config{}, pvesim.Guest{VMID: 100, Kind: pvesim.QEMU, Name: "a"})
		p.sim.InjectTask(c.fault)
		if got := p.do(start, nil); got != c.says {
			t.Errorf("%+v says %q", c.fault, got)
		}
		if g, _ := p.sim.Guest(100); g.Status != c.then {
			t.Errorf("%+v: then %s", c.fault, g.Status)
		}
	}
	p := play(t, pvesim.Config{}, pvesim.Guest{VMID: 100, Kind: pvesim.QEMU, Name: "a"})
	p.sim.InjectTask(pvesim.TaskFault{Never: true, Times: 1})
	a := p.call("POST", start, nil)
	var upid string
	if err := json.Unmarshal(a.Data, &upid); err != nil {
		t.Fatal(err)
	}
	at := "/nodes/pve/tasks/" + url.PathEscape(upid)
	var task struct{ Status, User, TokenID string }
	if err := json.Unmarshal(p.call("GET", at+"/status", nil).Data, &task); err != nil || task.Status != "running" || task.User != "edge@pve" || task.TokenID != "test" {
		t.Errorf("got %+v, %v", task, err)
	}
	p.want(p.call("DELETE", at, nil), 200, "OK")
	if got := p.finish(a); got != "received interrupt" {
		t.Errorf("ended with %q", got)
	}
	p.want(p.call("GET", "/nodes/pve/tasks/UPID:nonsense/status", nil), 400, "unable to parse worker upid 'UPID:nonsense'")
	p.want(p.call("GET", "/nodes/pve/tasks/"+url.PathEscape("UPID:pve:00000001:00000001:00000001:qmstart:100:a@pam:")+"/status", nil), 400, "no such task")
}

func TestAHeldLockTimesOut(t *testing.T) {
	t.Parallel()
	p := play(t, pvesim.Config{LockTimeout: 20 * time.Millisecond},
		pvesim.Guest{VMID: 100, Kind: pvesim.QEMU, Name: "a"}, pvesim.Guest{VMID: 101, Kind: pvesim.LXC, Name: "b"})
	for path, want := range map[string]string{
		"/nodes/pve/qemu/100/status/start": "can't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout",
		"/nodes/pve/lxc/101/status/start":  "can't lock file '/run/lock/lxc/pve-config-101.lock' - got timeout",
	} {
		vmid := 100
		if strings.Contains(path, "101") {
			vmid = 101
		}
		release, err := p.sim.HoldLock(vmid)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.do(path, nil); got != want {
			t.Errorf("says %q, want %q", got, want)
		}
		release()
		if got := p.do(path, nil); got != "OK" {
			t.Errorf("released, it says %q", got)
		}
	}
}

// TestNodes: the cluster answers for a node that is away, with what it last
// knew of its guests' places only.
func TestNodes(t *testing.T) {
	t.Parallel()
	p := play(t, pvesim.Config{Nodes: []string{"pve", "pve2"}}, pvesim.Guest{VMID: 100, Kind: pvesim.QEMU, Node: "pve2", Name: "a", Status: "running"})
	read := func() (guest, node string) {
		var list []struct{ Type, Node, Status, Name string }
		if err := json.Unmarshal(p.call("GET", "/cluster/resources", nil).Data, &list); err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			switch {
			case e.Type == "qemu":
				guest = e.Node + " " + e.Status + " " + e.Name
			case e.Node == "pve2":
				node = e.Status
			}
		}
		return guest, node
	}
	if guest, node := read(); guest != "pve2 running a" || node != "online" {
		t.Errorf("got %q, %q", guest, node)
	}
	p.sim.SetOnline("pve2", false)
	if guest, node := read(); guest != "pve2 unknown " || node != "offline" {
		t.Errorf("offline: got %q, %q", guest, node)
	}
	if a := p.call("GET", "/nodes/pve2/qemu/100/config", nil); a.status != 595 || a.body != "" {
		t.Errorf("got %d %q", a.status, a.body)
	}
	p.sim.SetOnline("pve2", true)
	if err := p.sim.Change(100, func(g *pvesim.Guest) { g.Node = "pve" }); err != nil {
		t.Fatal(err)
	}
	p.want(p.call("GET", "/nodes/pve2/qemu/100/config", nil), 500, "Configuration file 'nodes/pve2/qemu-server/100.conf' does not exist")
	p.want(p.call("GET", "/nodes/pve/qemu/100/config", nil), 200, "OK")
}

func TestCloseEndsRequestsAndTasks(t *testing.T) {
	t.Parallel()
	p := play(t, pvesim.Config{}, pvesim.Guest{VMID: 100, Kind: pvesim.QEMU, Name: "a"})
	p.sim.InjectTask(pvesim.TaskFault{Never: true})
	p.want(p.call("POST", "/nodes/pve/qemu/100/status/start", nil), 200, "OK")
	p.sim.Inject(pvesim.Fault{Delay: time.Hour})
	ended := make(chan error, 1)
	go func() {
		_, err := p.try("GET", "/version", "", "")
		ended <- err
	}()
	for p.sim.Calls()["GET /version"] == 0 {
		<-time.After(time.Millisecond)
	}
	if err := p.sim.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil {
		t.Error("the request was answered")
	}
}

func TestAMachineGivesTheAddress(t *testing.T) {
	t.Parallel()
	p := play(t, pvesim.Config{NewMachine: func(pvesim.Guest) pvesim.Machine { return stubborn{} }}, pvesim.Guest{VMID: 100, Kind: pvesim.LXC, Name: "a"})
	if got := p.do("/nodes/pve/lxc/100/status/start", nil); got != "OK" {
		t.Fatal(got)
	}
	<-time.After(5 * time.Millisecond)
	if a := p.call("GET", "/nodes/pve/lxc/100/interfaces", nil); !strings.Contains(a.body, "192.0.2.7") {
		t.Errorf("got %s", a.body)
	}
}

func TestReadsAndChanges(t *testing.T) {
	t.Parallel()
	p := play(t, pvesim.Config{},
		pvesim.Guest{VMID: 100, Kind: pvesim.QEMU, Name: "a", Pool: "edge", Description: "one line"},
		pvesim.Guest{VMID: 101, Kind: pvesim.LXC, Name: "b", Pool: "edge"},
		pvesim.Guest{VMID: 102, Kind: pvesim.LXC, Name: "c"},
	)
	for path, want := range map[string]string{
		"/version":                           `"version":"9.2.3"`,
		"/cluster/status":                    `"quorate":1`,
		"/nodes":                             `"status":"online"`,
		"/nodes/pve/status":                  `"loadavg"`,
		"/nodes/pve/storage":                 `"storage":"local-lvm"`,
		"/pools":                             `[{"poolid":"edge"}]`,
		"/pools?poolid=edge&type=lxc":        `"members":[{"id":"lxc/101"`,
		"/pools/edge?type=qemu":              `"members":[{"id":"qemu/100"`,
		"/access/permissions?path=/":         `"VM.Audit":1`,
		"/cluster/resources?type=node":       `[{"id":"node/pve"`,
		"/nodes/pve/qemu?full=1":             `"name":"a"`,
		"/nodes/pve/lxc":                     `"name":"c"`,
		"/nodes/pve/qemu/100/config":         `"description":"one line\n"`,
		"/nodes/pve/lxc/101/config":          `"hostname":"b"`,
		"/nodes/pve/qemu/100/status/current": `"qmpstatus":"stopped"`,
	} {
		if a := p.call("GET", path, nil); a.status != 200 || !strings.Contains(a.body, want) {
			t.Errorf("%s: got %d %s, want something with %s", path, a.status, a.body, want)
		}
	}
	p.want(p.call("PUT", "/nodes/pve/lxc/101/config", form("hostname", "renamed", "delete", "memory")), 200, "OK")
	if got := p.do("/nodes/pve/qemu/100/config", form("description", "another")); got != "OK" {
		t.Errorf("the task says %q", got)
	}
	p.want(p.call("POST", "/nodes/pve/lxc/102/template", nil), 200, "OK")
	a, _ := p.sim.Guest(100)
	b, _ := p.sim.Guest(101)
	c, _ := p.sim.Guest(102)
	if a.Description != "another" || b.Name != "renamed" || b.Config["memory"] != "" || !c.Template {
		t.Errorf("got %+v, %+v, %+v", a, b, c)
	}
	start := p.call("POST", "/nodes/pve/qemu/100/status/start", nil)
	if got := p.finish(start); got != "OK" {
		t.Errorf("the task says %q", got)
	}
	var upid string
	if err := json.Unmarshal(start.Data, &upid); err != nil {
		t.Fatal(err)
	}
	if log := p.call("GET", "/nodes/pve/tasks/"+url.PathEscape(upid)+"/log", form("limit", "1")); string(log.Data) != `[{"n":1,"t":"TASK OK"}]` {
		t.Errorf("log: %s", log.Data)
	}
	if list := p.call("GET", "/nodes/pve/tasks", form("typefilter", "qmstart")); !strings.Contains(list.body, upid) || !strings.Contains(list.body, `"status":"OK"`) {
		t.Errorf("archive: %s", list.body)
	}
}
