package pve

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cmux.sh/edge/internal/sandbox"
)

func FuzzParseUPID(f *testing.F) {
	for _, seed := range []string{
		"UPID:pve:0000ABCD:0012D687:5F5E1000:qmstart:100:root@pam!edge:", "UPID:pve1:1:2:3:vzclone::a@pve:", "",
		"UPID:", "UPID::::::::", "UPID:a/../b:1:2:3:x:1:u:", "UPID:pve:1:2:3:qmstart:100:",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, err := parseUPID(text)
		if err != nil {
			if failure(err).kind() != sandbox.KindUnavailable {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		if id.node == "" || id.kind == "" || id.text != text || strings.ContainsAny(id.node, "/?#%") {
			t.Errorf("%q: got %+v", text, id)
		}
	})
}

func FuzzReadMark(f *testing.F) {
	f.Add(200, "key", "dev", "")
	f.Add(100, "a&b=c\n%;", "\"\n", "cmux-edge: vmid=100&key=other\n")
	f.Fuzz(func(t *testing.T, vmid int, key, workload, template string) {
		want := mark{vmid: vmid, key: key, workload: workload, created: time.Unix(1_700_000_000, 0).UTC()}
		got, ok := readMark(want.String()+template, vmid)
		if !ok || key == "" {
			if ok != (key != "") && !strings.Contains(template, markPrefix) {
				t.Errorf("read %t from %q", ok, want)
			}
			return
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(mark{})); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if _, ok := readMark(want.String(), vmid+1); ok {
			t.Error("a copy's mark was believed")
		}
	})
}

func FuzzParseID(f *testing.F) {
	for _, seed := range []string{"200.pvevm-1a2b", "100.a.b", "99.a", "0200.a", "+200.a", "200", "200.", ".a", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if r, ok := parseID(sandbox.ID(text)); ok && (r.vmid < 100 || r.name == "" || string(r.id()) != text) {
			t.Errorf("%q: got %+v, which is %q", text, r, r.id())
		}
	})
}

// FuzzChoose: whatever a guest claims, no address outside the rule is taken,
// and none of another interface.
func FuzzChoose(f *testing.F) {
	const net0 = "virtio=BC:24:11:00:00:01,bridge=vmbr0"
	for _, seed := range []string{
		`[{"name":"eth0","hardware-address":"bc:24:11:00:00:01","ip-addresses":[{"ip-address":"10.0.0.5"}]}]`,
		`[{"name":"eth0","hardware-address":"bc:24:11:00:00:01","ip-addresses":[{"ip-address":"169.254.169.254"},{"ip-address":"fd00::1"}]}]`,
		`[{"name":"eth0","hardware-address":"bc:24:11:00:00:01","ip-addresses":[{"ip-address":"::ffff:127.0.0.1"},{"ip-address":"fe80::1%eth0"}]}]`,
		`[{"name":"docker0","hardware-address":"02:42:ac:11:00:01","ip-addresses":[{"ip-address":"172.17.0.1"}]},{"name":"tun0"}]`,
		`[{"hardware-address":"bc:24:11:00:00:01","ip-addresses":[{"ip-address":"fd00::1%1"},{"ip-address":"100.100.100.200"}]}]`,
	} {
		f.Add(seed)
	}
	p := &Provider{client: &Client{}}
	f.Fuzz(func(t *testing.T, claims string) {
		var list []iface
		if json.Unmarshal([]byte(claims), &list) != nil {
			return
		}
		text, err := choose(list, net0, p.allowed)
		if err != nil {
			return
		}
		ip, err := netip.ParseAddr(text)
		if err != nil || ip.Zone() != "" {
			t.Fatalf("%q is no address", text)
		}
		var rule sandbox.AddressRule
		if err := rule.Check(netip.AddrPortFrom(ip, 80), false); err != nil {
			t.Error(err)
		}
		if !strings.Contains(strings.ToUpper(claims), "BC:24:11:00:00:01") {
			t.Errorf("took %s from another interface", text)
		}
	})
}

func TestNumbersComeInThreeForms(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]number{`7`: 7, `"7"`: 7, `true`: 1, `false`: 0, `null`: 0, `1e3`: 1000} {
		var got number
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s: got %d, %v", text, got, err)
		}
	}
	for _, text := range []string{`"x"`, `{}`, `[]`} {
		var got number
		if err := json.Unmarshal([]byte(text), &got); err == nil {
			t.Errorf("%s: got %d", text, got)
		}
	}
}
