package pve_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/pve"
	"cmux.sh/edge/internal/sandbox/pve/pvesim"
)

// secret is the part of the simulator's token that must never be seen.
var secret = pvesim.Token[strings.IndexByte(pvesim.Token, '=')+1:]

func TestTheTokenIsNowhere(t *testing.T) {
	t.Parallel()
	b := newBench(t, pvesim.QEMU, setup{})
	cfg := pve.Config{URL: b.sim.URL(), Token: pvesim.Token, CA: b.sim.CAPEM()}
	client, err := pve.Connect(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var seen bytes.Buffer
	show := func(v any) {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&seen, verb+"\n", v)
		}
	}
	for _, v := range []any{cfg, &cfg, cfg.Token, []pve.Config{cfg}, client, b.Provider} {
		show(v)
	}
	if text, err := json.Marshal(cfg.Token); err != nil {
		t.Error(err)
	} else {
		seen.Write(text)
	}
	slog.New(slog.NewJSONHandler(&seen, nil)).Info("x", "config", cfg, "token", cfg.Token, "provider", b.Provider)
	slog.New(slog.NewTextHandler(&seen, nil)).Info("x", "config", cfg, "token", cfg.Token, "provider", b.Provider)

	in := b.start("a")
	for _, fault := range []pvesim.Fault{
		{Status: 401, Reason: "Authentication failed!", Empty: true},
		{Status: 500, Reason: "oops"},
		{Status: 596, Empty: true},
		{CutBefore: true},
		{Garbage: "nonsense"},
		{Garbage: `{"data":null}`},
		{Status: 302, Reason: "Found"},
	} {
		off := b.sim.Inject(fault)
		_, err := b.Get(t.Context(), in.ID)
		show(err)
		_, err = b.Start(t.Context(), b.request("b"))
		show(err)
		show(b.Health(t.Context()))
		off()
	}
	if err := b.sim.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = b.Get(t.Context(), in.ID)
	show(err)
	for _, bad := range []pve.Secret{pve.Secret(secret), pve.Secret("edge@pve!" + secret), pve.Secret("edge@pve!test=" + secret + " "), pve.Secret("x=" + secret)} {
		_, err := pve.Connect(pve.Config{URL: "https://pve:8006", Token: bad})
		if sandbox.KindOf(err) != sandbox.KindInvalid {
			t.Errorf("got %v, want %s", err, sandbox.KindInvalid)
		}
		show(err)
	}
	for _, form := range []string{secret, fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), strings.Trim(fmt.Sprint([]byte(secret)), "[]")} {
		if strings.Contains(seen.String(), form) {
			t.Errorf("the token's secret was shown as %q", form)
		}
	}
}

func TestTheServerIsVerified(t *testing.T) {
	t.Parallel()
	b := newBench(t, pvesim.QEMU, setup{})
	other := newBench(t, pvesim.QEMU, setup{})
	for _, c := range []struct {
		name string
		cfg  pve.Config
		ok   bool
	}{
		{"its CA", pve.Config{CA: b.sim.CAPEM()}, true},
		{"its fingerprint", pve.Config{Fingerprint: b.sim.Fingerprint()}, true},
		{"its fingerprint without colons, in lower case", pve.Config{Fingerprint: strings.ToLower(strings.ReplaceAll(b.sim.Fingerprint(), ":", ""))}, true},
		{"both", pve.Config{CA: b.sim.CAPEM(), Fingerprint: b.sim.Fingerprint()}, true},
		{"the system's CAs", pve.Config{}, false},
		{"another CA", pve.Config{CA: other.sim.CAPEM()}, false},
		{"another fingerprint", pve.Config{Fingerprint: other.sim.Fingerprint()}, false},
		{"its CA, another fingerprint", pve.Config{CA: b.sim.CAPEM(), Fingerprint: other.sim.Fingerprint()}, false},
		{"another CA, its fingerprint", pve.Config{CA: other.sim.CAPEM(), Fingerprint: b.sim.Fingerprint()}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.URL, c.cfg.Token = b.sim.URL(), pvesim.Token
			client, err := pve.Connect(c.cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			p, err := pve.NewVM(client, pve.Guests{})
			if err != nil {
				t.Fatal(err)
			}
			calls := len(b.sim.Calls())
			if h := p.Health(t.Context()); h.OK != c.ok {
				t.Errorf("health: %+v, want OK %t", h, c.ok)
			}
			if !c.ok && len(b.sim.Calls()) != calls {
				t.Error("a request was sent to a server that isn't trusted")
			}
			_, err = p.Find(t.Context(), "pvevm-a")
			if want := map[bool]sandbox.Kind{true: sandbox.KindNotFound, false: sandbox.KindUnavailable}[c.ok]; sandbox.KindOf(err) != want {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
}

func TestAConfigurationThatCannotWorkIsInvalid(t *testing.T) {
	t.Parallel()
	good := pve.Config{URL: "https://pve.example.com:8006", Token: pvesim.Token}
	for name, spoil := range map[string]func(*pve.Config){
		"no URL":              func(c *pve.Config) { c.URL = "" },
		"plain HTTP":          func(c *pve.Config) { c.URL = "http://pve.example.com:8006" },
		"a path":              func(c *pve.Config) { c.URL += "/api2/json" },
		"credentials":         func(c *pve.Config) { c.URL = "https://a:b@pve.example.com" },
		"no token":            func(c *pve.Config) { c.Token = "" },
		"no certificate":      func(c *pve.Config) { c.CA = []byte("nonsense") },
		"half a fingerprint":  func(c *pve.Config) { c.Fingerprint = "AA:BB" },
		"no hexadecimal":      func(c *pve.Config) { c.Fingerprint = strings.Repeat("ZZ:", 31) + "ZZ" },
		"a line in the token": func(c *pve.Config) { c.Token += "\r\nX: y" },
	} {
		cfg := good
		spoil(&cfg)
		if _, err := pve.Connect(cfg); sandbox.KindOf(err) != sandbox.KindInvalid {
			t.Errorf("%s: got %v, want %s", name, err, sandbox.KindInvalid)
		}
	}
	good.URL += "/"
	client, err := pve.Connect(good)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, g := range []pve.Guests{{Templates: map[string]int{"default": 0}}, {StartLimitPerNode: -1}} {
		if _, err := pve.NewVM(client, g); sandbox.KindOf(err) != sandbox.KindInvalid {
			t.Errorf("%+v: got %v, want %s", g, err, sandbox.KindInvalid)
		}
	}
	p, err := pve.NewLXC(client, pve.Guests{})
	if err != nil || p.Capabilities().Create {
		t.Errorf("without templates: %+v, %v", p.Capabilities(), err)
	}
}

// TestARedirectIsNotFollowed: it would carry the token to somebody else.
func TestARedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	var other *httptest.Server
	other = httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("%s got %s", other.URL, r.URL)
	}))
	defer other.Close()
	first := httptest.NewTLSServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer first.Close()
	client, err := pve.Connect(pve.Config{URL: first.URL, Token: pvesim.Token, Fingerprint: fingerprintOf(first)})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	p, err := pve.NewVM(client, pve.Guests{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.List(t.Context()); sandbox.KindOf(err) != sandbox.KindUnavailable {
		t.Errorf("got %v, want %s", err, sandbox.KindUnavailable)
	}
}

// TestASlowReadIsGivenUpWithoutADeadline: requests have their own limits.
func TestASlowReadIsGivenUpWithoutADeadline(t *testing.T) {
	t.Parallel()
	b := newBench(t, pvesim.LXC, setup{client: pve.Config{ReadTimeout: 30 * time.Millisecond}})
	b.sim.Inject(pvesim.Fault{Delay: time.Minute})
	begun := time.Now()
	_, err := b.List(t.Context())
	if b.wantKind(err, sandbox.KindUnavailable); !strings.Contains(err.Error(), "no answer within") {
		t.Errorf("got %v", err)
	}
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestNothingIsWrittenToTheTerminal(t *testing.T) { //nolint:paralleltest // replaces os.Stdout
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr := os.Stdout, os.Stderr
	os.Stdout, os.Stderr = write, write
	b := newBench(t, pvesim.QEMU, setup{})
	b.sim.Inject(pvesim.Fault{Garbage: "nonsense"})
	_, _ = b.Find(t.Context(), "pvevm-a")
	os.Stdout, os.Stderr = stdout, stderr
	_ = write.Close()
	var said bytes.Buffer
	if _, err := said.ReadFrom(read); err != nil || said.Len() > 0 {
		t.Errorf("said %q, %v", said.String(), err)
	}
}

// TestLargeVMIDsAreSentAsWholeNumbers, not as 1e+08.
func TestLargeVMIDsAreSentAsWholeNumbers(t *testing.T) {
	t.Parallel()
	b := newBench(t, pvesim.QEMU, setup{})
	add(t, b.sim, pvesim.Guest{VMID: 100000000, Kind: pvesim.QEMU, Name: "pvevm-a", Status: "running", Lock: "suspending"})
	b.wantState("100000000.pvevm-a", sandbox.Running)
}

func fingerprintOf(s *httptest.Server) string {
	return fmt.Sprintf("%x", sha256.Sum256(s.Certificate().Raw))
}
