package pvesim_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cmux.sh/edge/internal/sandbox/pve/pvesim"
)

// TestTheStatesOfAVM replays the table of a virtual machine's states: what
// each action says in each state, and what the state is then.
func TestTheStatesOfAVM(t *testing.T) {
	t.Parallel()
	const (
		running    = "VM 100 already running"
		notRunning = "VM 100 not running"
		suspending = "VM is locked (suspending)"
	)
	for _, c := range []struct {
		status, qmp, lock string
		action            string
		says              string
		then              string // status qmp lock
	}{
		{"stopped", "", "", "start", "OK", "running running "},
		{"stopped", "", "", "resume", notRunning, "stopped  "},
		{"stopped", "", "", "suspend", notRunning, "stopped  "},
		{"stopped", "", "", "hibernate", notRunning, "stopped  "},
		{"stopped", "", "", "stop", "OK", "stopped  "},

		{"stopped", "", "suspended", "start", "OK", "running running "},
		{"stopped", "", "suspended", "resume", "OK", "running running "},
		{"stopped", "", "suspended", "suspend", notRunning, "stopped  suspended"},
		{"stopped", "", "suspended", "hibernate", notRunning, "stopped  suspended"},
		{"stopped", "", "suspended", "stop", "OK", "stopped  suspended"},

		{"running", "running", "", "start", running, "running running "},
		{"running", "running", "", "resume", "OK", "running running "},
		{"running", "running", "", "suspend", "OK", "running paused "},
		{"running", "running", "", "hibernate", "OK", "stopped  suspended"},
		{"running", "running", "", "stop", "OK", "stopped  "},

		{"running", "paused", "", "start", running, "running paused "},
		{"running", "paused", "", "resume", "OK", "running running "},
		{"running", "paused", "", "suspend", "OK", "running paused "},
		{"running", "paused", "", "hibernate", "OK", "stopped  suspended"},
		{"running", "paused", "", "stop", "OK", "stopped  "},
		{"running", "paused", "", "shutdown", "VM is paused - cannot shutdown", "running paused "},

		{"running", "prelaunch", "", "start", running, "running prelaunch "},
		{"running", "prelaunch", "backup", "start", "OK", "running running backup"},
		{"running", "prelaunch", "", "resume", "OK", "running running "},
		{"running", "prelaunch", "", "suspend", "OK", "running prelaunch "},
		{"running", "prelaunch", "", "stop", "OK", "stopped  "},

		{"running", "running", "suspending", "start", suspending, "running running suspending"},
		{"running", "running", "suspending", "resume", "OK", "running running suspending"},
		{"running", "save-vm", "suspending", "resume", suspending, "running save-vm suspending"},
		{"running", "running", "suspending", "suspend", suspending, "running running suspending"},
		{"running", "running", "suspending", "hibernate", suspending, "running running suspending"},
		{"running", "running", "suspending", "stop", suspending, "running running suspending"},

		{"stopped", "", "backup", "start", "VM is locked (backup)", "stopped  backup"},
		{"stopped", "", "rollback", "resume", notRunning, "stopped  rollback"},
		{"stopped", "", "snapshot", "suspend", notRunning, "stopped  snapshot"},
		{"stopped", "", "migrate", "stop", "OK", "stopped  migrate"},
	} {
		t.Run(fmt.Sprint(c.status, c.qmp, c.lock, " ", c.action), func(t *testing.T) {
			t.Parallel()
			p := play(t, pvesim.Config{}, pvesim.Guest{VMID: 100, Kind: pvesim.QEMU, Name: "a", Status: c.status, QMP: c.qmp, Lock: c.lock})
			path, params := "/nodes/pve/qemu/100/status/"+c.action, form()
			if c.action == "hibernate" {
				path, params = "/nodes/pve/qemu/100/status/suspend", form("todisk", "1")
			}
			if got := p.do(path, params); got != c.says {
				t.Errorf("says %q, want %q", got, c.says)
			}
			g, _ := p.sim.Guest(100)
			if got := g.Status + " " + g.QMP + " " + g.Lock; got != c.then {
				t.Errorf("then %q, want %q", got, c.then)
			}
		})
	}
}

func TestTheStatesOfAContainer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ status, lock, action, says, then string }{
		{"stopped", "", "start", "OK", "running "},
		{"stopped", "", "stop", "CT 100 not running", "stopped "},
		{"stopped", "", "shutdown", "CT 100 not running", "stopped "},
		{"stopped", "", "suspend", "CT 100 not running", "stopped "},
		{"stopped", "backup", "start", "CT is locked (backup)", "stopped backup"},
		{"running", "", "start", "CT 100 already running", "running "},
		{"running", "", "stop", "OK", "stopped "},
		{"running", "", "shutdown", "OK", "stopped "},
		{"running", "", "suspend", "command 'lxc-checkpoint -n 100' failed: exit code 1", "running "},
		{"running", "snapshot", "stop", "CT is locked (snapshot)", "running snapshot"},
	} {
		t.Run(fmt.Sprint(c.status, c.lock, " ", c.action), func(t *testing.T) {
			t.Parallel()
			p := play(t, pvesim.Config{}, pvesim.Guest{VMID: 100, Kind: pvesim.LXC, Name: "a", Status: c.status, Lock: c.lock})
			if got := p.do("/nodes/pve/lxc/100/status/"+c.action, nil); got != c.says {
				t.Errorf("says %q, want %q", got, c.says)
			}
			g, _ := p.sim.Guest(100)
			if got := g.Status + " " + g.Lock; got != c.then {
				t.Errorf("then %q, want %q", got, c.then)
			}
		})
	}
}

func TestAMissingGuestIsA500InItsOwnWords(t *testing.T) {
	t.Parallel()
	p := play(t, pvesim.Config{})
	const gone = "Configuration file 'nodes/pve/qemu-server/100.conf' does not exist"
	for _, path := range []string{"status/current", "config"} {
		p.want(p.call("GET", "/nodes/pve/qemu/100/"+path, nil), 500, gone)
	}
	p.want(p.call("DELETE", "/nodes/pve/qemu/100", nil), 500, gone)
	p.want(p.call("POST", "/nodes/pve/qemu/100/clone", form("newid", "101")), 500, gone)
	for _, action := range []string{"suspend", "resume"} {
		p.want(p.call("POST", "/nodes/pve/qemu/100/status/"+action, nil), 500, "unable to find configuration file for VM 100 on node 'pve'")
	}
	for _, action := range []string{"start", "stop", "shutdown"} {
		if got := p.finish(p.call("POST", "/nodes/pve/qemu/100/status/"+action, nil)); got != gone {
			t.Errorf("%s: the task says %q", action, got)
		}
	}
	if got := p.finish(p.call("POST", "/nodes/pve/lxc/100/status/start", nil)); got != "Configuration file 'nodes/pve/lxc/100.conf' does not exist" {
		t.Errorf("the task says %q", got)
	}
	p.want(p.call("POST", "/nodes/pve/lxc/100/status/stop", nil), 500, "CT 100 not running")
	if a := p.call("GET", "/nodes/pve/lxc/100/interfaces", nil); a.status != 200 || string(a.Data) != "null" {
		t.Errorf("got %d %s, want a null", a.status, a.body)
	}
	p.want(p.call("GET", "/nodes/typo/qemu/100/config", nil), 500, "hostname lookup 'typo' failed - failed to get address info for: typo: Name or service not known")
	p.want(p.call("GET", "/no/such/path", nil), 501, "Method 'GET /no/such/path' not implemented")
}

func TestOnlyADeletionGetsRidOfAHibernatedVM(t *testing.T) {
	t.Parallel()
	p := play(t, pvesim.Config{}, pvesim.Guest{VMID: 100, Kind: pvesim.QEMU, Name: "a", Lock: "suspended"})
	if got := p.finish(p.call("DELETE", "/nodes/pve/qemu/100", form("purge", "1"))); got != "OK" {
		t.Errorf("the task says %q", got)
	}
	if _, ok := p.sim.Guest(100); ok {
		t.Error("it is still there")
	}
}

func TestWhatDeletionRefuses(t *testing.T) {
	t.Parallel()
	p := play(t, pvesim.Config{},
		pvesim.Guest{VMID: 100, Kind: pvesim.QEMU, Name: "a", Status: "running"},
		pvesim.Guest{VMID: 101, Kind: pvesim.LXC, Name: "b", Status: "running"},
		pvesim.Guest{VMID: 102, Kind: pvesim.QEMU, Name: "c", Protected: true},
		pvesim.Guest{VMID: 103, Kind: pvesim.QEMU, Name: "d", Template: true},
		pvesim.Guest{VMID: 104, Kind: pvesim.QEMU, Name: "e", Base: 103},
		pvesim.Guest{VMID: 105, Kind: pvesim.QEMU, Name: "f", Lock: "clone"},
	)
	p.want(p.call("DELETE", "/nodes/pve/qemu/100", nil), 500, "VM 100 is running - destroy failed")
	p.want(p.call("DELETE", "/nodes/pve/lxc/101", nil), 500, "unable to destroy CT 101 - container is running")
	p.want(p.call("DELETE", "/nodes/pve/qemu/102", nil), 500, "can't remove VM 102 - protection mode enabled")
	for path, want := range map[string]string{
		"/nodes/pve/qemu/103": "base volume 'local-lvm:base-103-disk-0' is still in use by linked clones",
		"/nodes/pve/qemu/105": "VM is locked (clone)",
	} {
		if got := p.finish(p.call("DELETE", path, nil)); got != want {
			t.Errorf("%s: the task says %q, want %q", path, got, want)
		}
	}
	if got := p.finish(p.call("DELETE", "/nodes/pve/lxc/101", form("force", "1"))); got != "OK" {
		t.Errorf("with force the task says %q", got)
	}
}

func TestClones(t *testing.T) {
	t.Parallel()
	p := play(t, pvesim.Config{},
		pvesim.Guest{VMID: 100, Kind: pvesim.QEMU, Name: "t", Template: true, Description: "from the template"},
		pvesim.Guest{VMID: 101, Kind: pvesim.QEMU, Name: "plain"},
		pvesim.Guest{VMID: 102, Kind: pvesim.LXC, Name: "ct", Template: true},
	)
	const at = "/nodes/pve/qemu/100/clone"
	p.want(p.call("POST", at, form("newid", "101")), 500, "unable to create VM 101: config file already exists")
	p.want(p.call("POST", "/nodes/pve/lxc/102/clone", form("newid", "101")), 500, "VM 101 already exists on node 'pve'")
	p.want(p.call("POST", at, form("newid", "200", "storage", "local-lvm")), 500, "parameter 'storage' not allowed for linked clones")
	p.want(p.call("POST", at, form("newid", "200", "name", "a_b")), 400, "Parameter verification failed.")
	a := p.call("POST", at, form("newid", "200", "name", "copy", "pool", "edge"))
	if g, ok := p.sim.Guest(200); !ok || g.Lock != "clone" {
		t.Errorf("while the task runs: %+v, %t; want it there and locked", g, ok)
	}
	if got := p.finish(a); got != "OK" {
		t.Errorf("the task says %q", got)
	}
	g, _ := p.sim.Guest(200)
	if g.Name != "copy" || g.Pool != "edge" || g.Base != 100 || g.Lock != "" || g.Description != "from the template" {
		t.Errorf("got %+v", g)
	}
	if got := p.do("/nodes/pve/qemu/101/clone", form("newid", "201")); got != "OK" {
		t.Errorf("a full clone says %q", got)
	}
	if full, _ := p.sim.Guest(201); full.Base != 0 || full.Config["net0"] == g.Config["net0"] {
		t.Errorf("got %+v, want its own disk and hardware address", full)
	}
	if got := p.do("/nodes/pve/qemu/100/status/start", nil); got != "you can't start a vm if it's a template" {
		t.Errorf("starting the template says %q", got)
	}
	if got := p.do("/nodes/pve/qemu/100/status/resume", nil); got != "VM 100 is a template and cannot be resumed!" {
		t.Errorf("resuming the template says %q", got)
	}
}

// TestASaveIsSeenInItsPhases: running on under the lock, then save-vm, then
// gone; and a resume meanwhile is answered OK and lost.
func TestASaveIsSeenInItsPhases(t *testing.T) {
	t.Parallel()
	p := play(t, pvesim.Config{Latency: pvesim.Latency{Suspend: 200 * time.Millisecond}}, pvesim.Guest{VMID: 100, Kind: pvesim.QEMU, Name: "a", Status: "running"})
	saving := p.call("POST", "/nodes/pve/qemu/100/status/suspend", form("todisk", "1"))
	for {
		if g, _ := p.sim.Guest(100); g.Lock == "suspending" {
			break
		}
		<-time.After(time.Millisecond)
	}
	var tasks []struct{ UPID, Type, Status, ID string }
	if err := json.Unmarshal(p.call("GET", "/nodes/pve/tasks", form("source", "active", "vmid", "100")).Data, &tasks); err != nil {
		t.Fatal(err)
	}
	if len(tasks) != 1 || tasks[0].Type != "qmsuspend" || tasks[0].Status != "RUNNING" {
		t.Errorf("active tasks: %+v", tasks)
	}
	if got := p.do("/nodes/pve/qemu/100/status/resume", nil); got != "OK" {
		t.Errorf("resume says %q", got)
	}
	if got := p.finish(saving); got != "OK" {
		t.Errorf("the save says %q", got)
	}
	if g, _ := p.sim.Guest(100); g.Status != "stopped" || g.Lock != "suspended" {
		t.Errorf("got %+v, want it hibernated", g)
	}
}

func TestAFailedSaveLeavesItsLock(t *testing.T) {
	t.Parallel()
	p := play(t, pvesim.Config{NewMachine: func(pvesim.Guest) pvesim.Machine { return stubborn{} }}, pvesim.Guest{VMID: 100, Kind: pvesim.QEMU, Name: "a", Status: "running"})
	if got := p.do("/nodes/pve/qemu/100/status/suspend", form("todisk", "1")); got != "suspend failed: no" {
		t.Errorf("the save says %q", got)
	}
	g, _ := p.sim.Guest(100)
	if g.Status != "running" || g.QMP != "running" || g.Lock != "suspending" || g.Config["vmstate"] != "" {
		t.Errorf("got %+v, want it running and locked", g)
	}
}

func TestAShutdownThatTakesTooLong(t *testing.T) {
	t.Parallel()
	for _, kind := range []pvesim.Kind{pvesim.QEMU, pvesim.LXC} {
		p := play(t, pvesim.Config{Latency: pvesim.Latency{Shutdown: time.Minute}}, pvesim.Guest{VMID: 100, Kind: kind, Name: "a", Status: "running"})
		at := "/nodes/pve/" + string(kind) + "/100/status/shutdown"
		if got := p.do(at, form("timeout", "0")); got != "VM quit/powerdown failed - got timeout" {
			t.Errorf("%s: says %q", kind, got)
		}
		if got := p.do(at, form("timeout", "0", "forceStop", "1")); got != "OK" {
			t.Errorf("%s: with force says %q", kind, got)
		}
	}
}

func TestAgentsAndInterfaces(t *testing.T) {
	t.Parallel()
	p := play(t, pvesim.Config{},
		pvesim.Guest{VMID: 100, Kind: pvesim.QEMU, Name: "a", Status: "running"},
		pvesim.Guest{VMID: 101, Kind: pvesim.QEMU, Name: "b", Status: "running", Agent: pvesim.AgentDead},
		pvesim.Guest{VMID: 102, Kind: pvesim.QEMU, Name: "c", Status: "running", Agent: pvesim.AgentOff},
		pvesim.Guest{VMID: 103, Kind: pvesim.QEMU, Name: "d"},
		pvesim.Guest{VMID: 104, Kind: pvesim.QEMU, Name: "e", Status: "running", QMP: "paused"},
		pvesim.Guest{VMID: 105, Kind: pvesim.LXC, Name: "f", Status: "running"},
	)
	ask := func(vmid int) answer {
		return p.call("GET", fmt.Sprintf("/nodes/pve/qemu/%d/agent/network-get-interfaces", vmid), nil)
	}
	type iface struct {
		Name string `json:"name"`
		MAC  string `json:"hardware-address"`
	}
	var said struct{ Result []iface }
	if err := json.Unmarshal(ask(100).Data, &said); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]iface{{"lo", "00:00:00:00:00:00"}, {"docker0", "02:42:ac:11:00:01"}, {"tun0", ""}, {"eth0", "bc:24:11:00:00:64"}}, said.Result); diff != "" {
		t.Errorf("interfaces (-want +got):\n%s", diff)
	}
	p.want(ask(101), 500, "QEMU guest agent is not running")
	p.want(ask(102), 500, "No QEMU guest agent configured")
	p.want(ask(103), 500, "VM 103 is not running")
	p.want(ask(104), 500, "QEMU guest agent is not running")
	p.want(p.call("POST", "/nodes/pve/qemu/100/agent/ping", nil), 200, "OK")
	var list []struct {
		Name, Inet string
		Addresses  []struct {
			Type string `json:"ip-address-type"`
		} `json:"ip-addresses"`
	}
	if err := json.Unmarshal(p.call("GET", "/nodes/pve/lxc/105/interfaces", nil).Data, &list); err != nil {
		t.Fatal(err)
	}
	if list[1].Name != "eth0" || list[1].Inet != "10.77.0.105/16" || list[1].Addresses[0].Type != "inet" {
		t.Errorf("got %+v", list)
	}
}
