package config

import (
	"errors"
	"flag"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the wanted messages and the reference page anew")

// environ is an environment made of NAME, VALUE pairs.
func environ(pairs ...string) func(string) string {
	env := make(map[string]string)
	for i := 0; i < len(pairs); i += 2 {
		env[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return env[name] }
}

// equal compares configurations, secrets included.
var equal = cmp.Options{
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b Secret) bool { return a.Reveal() == b.Reveal() }),
}

func TestBadFiles(t *testing.T) {
	t.Parallel()
	for _, path := range fixtures(t, "*.bad.yaml") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			c, err := Parse(filepath.Base(path), data, environ())
			if err == nil {
				t.Fatalf("accepted as %+v", c)
			}
			got := err.Error() + "\n"
			golden := strings.TrimSuffix(path, ".yaml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("messages (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGoodFiles(t *testing.T) {
	t.Parallel()
	for _, path := range fixtures(t, "*.good.yaml") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			if _, err := Load(path, environ()); err != nil {
				t.Error(err)
			}
		})
	}
}

func fixtures(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files %s: %v", pattern, err)
	}
	return paths
}

func TestEveryKeyIsDecoded(t *testing.T) {
	t.Parallel()
	got, err := Load("testdata/full.good.yaml", environ())
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Domains: []string{"cmux.sh", "cmux.app"},
		Listen:  Listen{HTTP: "[::]:8080", H2C: true, Admin: "10.0.0.1:9090"},
		Admin:   Admin{TokenFile: "testdata/secrets/admin-token", Token: NewSecret("correct-horse-battery-staple")},
		TrustedProxies: []netip.Prefix{
			netip.MustParsePrefix("173.245.48.0/20"),
			netip.MustParsePrefix("2400:cb00::/32"),
		},
		Redis:   Redis{URL: "redis://127.0.0.1:6379", Prefix: "cmux:"},
		Catalog: Catalog{ServeStale: time.Hour, NegativeTTL: time.Second},
		Upstream: Upstream{
			AllowCIDRs: []netip.Prefix{
				netip.MustParsePrefix("10.0.0.0/8"),
				netip.MustParsePrefix("127.0.0.0/8"),
			},
			HostHeader:            HostPreserve,
			DialTimeout:           1500 * time.Millisecond,
			ResponseHeaderTimeout: 90 * time.Second,
			MaxIdlePerInstance:    0,
		},
		Providers: Providers{Static: &Static{Instances: []StaticInstance{
			{Slug: "demo", Address: "10.0.0.5", Ports: map[uint16]string{39378: "127.0.0.1:40001"}},
			{Slug: "shop", Ports: map[uint16]string{3000: "shop.internal:3000"}},
		}}, PVE: &PVE{
			URL:         "https://pve.example.com:8006",
			TokenFile:   "testdata/secrets/admin-token",
			Token:       NewSecret("correct-horse-battery-staple"),
			Nodes:       []string{"pve1", "pve2"},
			Fingerprint: "00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF",
			VM:          PVEVM{Enabled: true, Templates: map[string]int{"default": 9000, "big": 9002}, Pool: "cmux", StartLimitPerNode: 3},
			LXC:         PVELXC{Enabled: true, Templates: map[string]int{"default": 9001}, StartLimitPerNode: 8},
		}, Morph: &Morph{
			URL:        "http://127.0.0.1:4000",
			APIKeyFile: "testdata/secrets/admin-token",
			APIKey:     NewSecret("correct-horse-battery-staple"),
			CAFile:     "ca.pem",
			HTTPSuffix: "http.morph.localhost:4443",
			Snapshots:  map[string]string{"default": "snapshot_abc"},
		}, Docker: &Docker{
			Host:   "unix:///run/docker.sock",
			Images: map[string]string{"default": "debian:12"},
		}},
		Routing: Routing{
			Primary:   "pve-vm",
			Fallback:  []string{"morph", "pve-lxc"},
			Workloads: map[string]string{"dev": "pve-lxc", "prod": "morph"},
			Rollout:   map[string]int{"pve-vm": 20},
		},
		LoopGuard: LoopGuard{MaxHops: 2},
		Forms:     Forms{Freestyle: true},
		StaticRoutes: []StaticRoute{{Host: "www.cmux.sh", Upstreams: []StaticUpstream{
			{URL: "http://127.0.0.1:3000"},
			{URL: "https://api.example.com/v1", Host: "api.example.com", AuthorizationFile: "testdata/secrets/model-gateway", Authorization: NewSecret("the-value")},
		}}},
		CORS:         CORS{DashboardOrigins: []string{"https://www.cmux.sh", "http://localhost:5173"}},
		ControlPlane: ControlPlane{Webhook: "https://www.cmux.sh/api/edge?tenant=1", SecretFile: "testdata/secrets/model-gateway", Secret: NewSecret("the-value")},
		Compat:       Compat{ServiceWorker: "off"},
		Log:          Log{Format: "json", Level: slog.LevelDebug},
		Warnings:     []string{`the provider name "proxmox-lxc" is read as "pve-lxc"; write that`},
	}
	if diff := cmp.Diff(want, got, equal); diff != "" {
		t.Errorf("full.good.yaml (-want +got):\n%s", diff)
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	want := Config{
		Listen:    Listen{HTTP: ":80", Admin: "127.0.0.1:9090"},
		Redis:     Redis{Prefix: "edge:"},
		Catalog:   Catalog{ServeStale: 10 * time.Minute, NegativeTTL: 5 * time.Second},
		Upstream:  Upstream{HostHeader: HostAuto, DialTimeout: 2 * time.Second, MaxIdlePerInstance: 32},
		LoopGuard: LoopGuard{MaxHops: 1},
		Compat:    Compat{HeadScript: true, ServiceWorker: "retire"},
		Log:       Log{Format: "auto", Level: slog.LevelInfo},
	}
	if diff := cmp.Diff(want, Default(), equal); diff != "" {
		t.Errorf("Default (-want +got):\n%s", diff)
	}
}

func TestASectionWithoutKeysIsAsIfAbsent(t *testing.T) {
	t.Parallel()
	got, err := Load("testdata/sections_without_keys.good.yaml", environ())
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Domains = []string{"cmux.sh"}
	if diff := cmp.Diff(&want, got, equal); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}

func TestFaultsAreFoundByErrorsAs(t *testing.T) {
	t.Parallel()
	_, err := Parse("edge.yaml", []byte("domains: [cmux.sh]\nlisten: {http: 80}\nforms: 1\n"), environ())
	var all Faults
	if !errors.As(err, &all) || len(all) != 2 {
		t.Fatalf("got %T with %d faults, want Faults with 2: %v", err, len(all), err)
	}
	var first Fault
	if !errors.As(err, &first) || first.Line != 2 || first.Column != 16 || first.File != "edge.yaml" {
		t.Errorf("first fault is %+v, want edge.yaml:2:16", first)
	}
}
