package sandbox_test

import (
	"encoding/json"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cmux.sh/edge/internal/sandbox"
)

// names are the states in the words of the admin API.
var names = map[sandbox.State]string{
	sandbox.Unknown: "unknown", sandbox.Starting: "starting", sandbox.Running: "running", sandbox.Pausing: "pausing",
	sandbox.Paused: "paused", sandbox.Resuming: "resuming", sandbox.Stopping: "stopping", sandbox.Stopped: "stopped",
	sandbox.Failed: "failed",
}

func TestStatesAreReadAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	for state, name := range names {
		text, err := json.Marshal(map[string]sandbox.State{"state": state})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := string(text), `{"state":"`+name+`"}`; got != want || state.String() != name {
			t.Errorf("state %d is written %s, its name is %q; want %s", state, got, state, want)
		}
		var back struct{ State sandbox.State }
		if err := json.Unmarshal(text, &back); err != nil || back.State != state {
			t.Errorf("%s is read as %v, %v, want %v", text, back.State, err, state)
		}
	}
}

func TestAStateNobodyKnowsIsUnknown(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "hibernated", "Running", "running ", "0", "unknown"} {
		state := sandbox.Running
		if err := state.UnmarshalText([]byte(name)); err != nil || state != sandbox.Unknown {
			t.Errorf("%q is read as %v, %v, want unknown", name, state, err)
		}
	}
	if got := sandbox.State(len(names)).String(); got != "unknown" {
		t.Errorf("a state behind the last is %q, want unknown", got)
	}
	if got := sandbox.State(255).String(); got != "unknown" {
		t.Errorf("state 255 is %q, want unknown", got)
	}
}

func TestUpstream(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		address string
		place   string // of port 8080
		want    sandbox.Upstream
	}{
		{"an address", "10.0.0.5", "", sandbox.Upstream{Address: "10.0.0.5:8080"}},
		{"an IPv6 address", "fd00::5", "", sandbox.Upstream{Address: "[fd00::5]:8080"}},
		{"an IPv6 address with a zone", "fe80::5%eth0", "", sandbox.Upstream{Address: "[fe80::5%eth0]:8080"}},
		{"a host name", "guest.internal", "", sandbox.Upstream{Address: "guest.internal:8080"}},
		{"a place alone", "", "127.0.0.1:40001", sandbox.Upstream{Address: "127.0.0.1:40001", Named: true}},
		{"a place before the address", "10.0.0.5", "127.0.0.1:40001", sandbox.Upstream{Address: "127.0.0.1:40001", Named: true}},
		{"an IPv6 place", "", "[::1]:40001", sandbox.Upstream{Address: "[::1]:40001", Named: true}},
		{"a place with a name", "", "localhost:40001", sandbox.Upstream{Address: "localhost:40001", Named: true}},
		{"a place with a dotted name", "", "guest.internal:40001", sandbox.Upstream{Address: "guest.internal:40001", Named: true}},
		{
			"an https URL", "", "https://port-8080-morphvm-x.http.cloud.morph.so",
			sandbox.Upstream{TLS: true, Address: "port-8080-morphvm-x.http.cloud.morph.so:443", Authority: "port-8080-morphvm-x.http.cloud.morph.so"},
		},
		{
			"an https URL before the address", "10.0.0.5", "https://x.morph.test/",
			sandbox.Upstream{TLS: true, Address: "x.morph.test:443", Authority: "x.morph.test"},
		},
		{
			"an https URL with a port", "", "https://x.morph.test:8443",
			sandbox.Upstream{TLS: true, Address: "x.morph.test:8443", Authority: "x.morph.test:8443"},
		},
		{"an http URL", "", "http://x.morph.test", sandbox.Upstream{Address: "x.morph.test:80", Authority: "x.morph.test"}},
		{
			"an http URL with a port", "", "http://127.0.0.1:3000/path?q",
			sandbox.Upstream{Address: "127.0.0.1:3000", Authority: "127.0.0.1:3000"},
		},
		{"a URL in capitals", "", "HTTPS://X.morph.test", sandbox.Upstream{TLS: true, Address: "X.morph.test:443", Authority: "X.morph.test"}},
		{"an IPv6 URL", "", "http://[fd00::5]", sandbox.Upstream{Address: "[fd00::5]:80", Authority: "[fd00::5]"}},
		{
			"an IPv6 URL with a port", "", "https://[fd00::5]:8443",
			sandbox.Upstream{TLS: true, Address: "[fd00::5]:8443", Authority: "[fd00::5]:8443"},
		},
		{"a URL with a user", "", "https://me:secret@x.morph.test", sandbox.Upstream{TLS: true, Address: "x.morph.test:443", Authority: "x.morph.test"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := sandbox.Instance{Slug: "demo", Address: tt.address}
			if tt.place != "" {
				in.Ports = map[uint16]string{8080: tt.place}
			}
			got, err := in.Upstream(8080)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("upstream (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAPlaceNobodyCanDialIsInvalid(t *testing.T) {
	t.Parallel()
	for _, place := range []string{
		"", "guest", "10.0.0.5", "fd00::5", ":8080", "10.0.0.5:http", "10.0.0.5:65536", "10.0.0.5:-1", "https://:9090",
		"http://", "https:///path", "https:", "http:127.0.0.1", "https://%zz", "https://a b/", "ftp://127.0.0.1", "//10.0.0.5:80",
	} {
		in := sandbox.Instance{Slug: "demo", Address: "10.0.0.5", Ports: map[uint16]string{80: place}}
		_, err := in.Upstream(80)
		if want := "address demo: invalid: port 80 lies at neither a URL nor host:port"; err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", place, err, want)
		}
	}
}

// Only the operator's own words free an address from the allow-list. What
// comes as a URL may be a provider's.
func TestAURLIsNeverNamed(t *testing.T) {
	t.Parallel()
	for _, place := range []string{
		"http://127.0.0.1:9090", "https://169.254.169.254", "http://[::1]", "http://localhost:9090/",
	} {
		in := sandbox.Instance{Slug: "demo", Ports: map[uint16]string{80: place}}
		if u, err := in.Upstream(80); err != nil || u.Named {
			t.Errorf("%s is %+v, %v, want it held to the allow-list", place, u, err)
		}
	}
}

func TestAMissingPortIsNotFound(t *testing.T) {
	t.Parallel()
	in := sandbox.Instance{Slug: "demo", Ports: map[uint16]string{39378: "127.0.0.1:40001"}}
	_, err := in.Upstream(8080)
	if want := "address demo: not found: no address for port 8080"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if diff := cmp.Diff(sandbox.KindNotFound, sandbox.KindOf(err)); diff != "" {
		t.Errorf("kind (-want +got):\n%s", diff)
	}
}

func TestAddrPortTellsNamesFromAddresses(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"10.0.0.5:80": "10.0.0.5:80", "[fd00::5]:80": "[fd00::5]:80", "localhost:80": "", "x.morph.test:443": "", ":80": "", "": "",
	} {
		got, ok := sandbox.Upstream{Address: address}.AddrPort()
		var wanted netip.AddrPort
		if want != "" {
			wanted = netip.MustParseAddrPort(want)
		}
		if diff := cmp.Diff(wanted, got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" || ok != (want != "") {
			t.Errorf("%q: ok %v (-want +got):\n%s", address, ok, diff)
		}
	}
}
