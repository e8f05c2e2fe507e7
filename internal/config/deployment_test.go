package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// pve and both are the variables of deployments with one and two providers.
var (
	pve  = []string{"EDGE_DOMAINS", "cmux.sh", "PVE_API_URL", "https://pve.example.com:8006", "PVE_API_TOKEN", "root@pam!edge=uuid", "PVE_NODE", "pve1"}
	both = append([]string{"MORPH_API_KEY", "key"}, pve...)
)

func with(base []string, more ...string) func(string) string {
	return environ(append(append([]string(nil), base...), more...)...)
}

// The four phases of a migration, each from the environment alone, and what
// else the variables say.
func TestDeploymentByVariablesAlone(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		env      func(string) string
		want     Routing
		warnings []string
	}{
		{
			name: "phase 1: Morph",
			env:  with(both, "SANDBOX_PRIMARY_PROVIDER", "morph"),
			want: Routing{Primary: "morph"},
		},
		{
			name: "phase 2: Proxmox first, production on Morph",
			env:  with(both, "SANDBOX_PRIMARY_PROVIDER", "proxmox", "SANDBOX_FALLBACK_PROVIDERS", "morph", "SANDBOX_ROUTE_PROD", "morph"),
			want: Routing{Primary: "pve-vm", Fallback: []string{"morph"}, Workloads: map[string]string{"prod": "morph"}},
			warnings: []string{
				`the provider name "proxmox" is read as "pve-vm"; write that`,
			},
		},
		{
			name:     "phase 3: production on Proxmox too",
			env:      with(both, "SANDBOX_PRIMARY_PROVIDER", "proxmox", "SANDBOX_FALLBACK_PROVIDERS", "morph", "SANDBOX_ROUTE_PROD", "proxmox"),
			want:     Routing{Primary: "pve-vm", Fallback: []string{"morph"}, Workloads: map[string]string{"prod": "pve-vm"}},
			warnings: []string{`the provider name "proxmox" is read as "pve-vm"; write that`},
		},
		{
			name:     "phase 4: Proxmox, with Morph behind it",
			env:      with(both, "SANDBOX_PRIMARY_PROVIDER", "proxmox", "SANDBOX_FALLBACK_PROVIDERS", "morph"),
			want:     Routing{Primary: "pve-vm", Fallback: []string{"morph"}},
			warnings: []string{`the provider name "proxmox" is read as "pve-vm"; write that`},
		},
		{
			name: "the older variable names the primary",
			env:  with(both, "SANDBOX_PROVIDER", "pve-lxc"),
			want: Routing{Primary: "pve-lxc"},
		},
		{
			name: "unless the newer one does",
			env:  with(both, "SANDBOX_PROVIDER", "pve-lxc", "SANDBOX_PRIMARY_PROVIDER", "pve-vm"),
			want: Routing{Primary: "pve-vm"},
		},
		{
			name: "Morph is primary without a word",
			env:  with(both),
			want: Routing{Primary: "morph"},
		},
		{
			name: "the only provider is primary",
			env:  with(pve, "PROXMOX_LXC_ENABLED", "false"),
			want: Routing{Primary: "pve-vm"},
		},
		{
			name: "proxmox means containers when it is said so",
			env:  with(pve, "PROXMOX_DEFAULT", "lxc"),
			want: Routing{Primary: "pve-lxc"},
		},
		{
			name: "or when virtual machines are not to be used",
			env:  with(pve, "PROXMOX_USE_KVM", "false", "SANDBOX_ROUTE_DEV", "proxmox-kvm"),
			want: Routing{Primary: "pve-lxc", Workloads: map[string]string{"dev": "pve-vm"}},
			warnings: []string{
				`the provider name "proxmox-kvm" is read as "pve-vm"; write that`,
			},
		},
		{
			name:     "a provider that is not there is passed over with one warning",
			env:      with(pve, "PROXMOX_LXC_ENABLED", "0", "SANDBOX_FALLBACK_PROVIDERS", "morph, pve-vm, morph", "SANDBOX_ROUTE_EPHEMERAL", "pve-lxc"),
			want:     Routing{Primary: "pve-vm", Fallback: []string{"pve-vm"}},
			warnings: []string{"SANDBOX_FALLBACK_PROVIDERS names the provider morph, which is not configured; it is passed over", "SANDBOX_ROUTE_EPHEMERAL names the provider pve-lxc, which is not configured; it is passed over"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, err := Parse("edge.yaml", nil, test.env)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, c.Routing); diff != "" {
				t.Errorf("routing (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.warnings, c.Warnings); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
			if got := c.Providers.PVE; got == nil || got.Token.Reveal() != "root@pam!edge=uuid" || got.Node != "pve1" || got.VM.StartLimitPerNode != 2 {
				t.Errorf("the provider is %+v", got)
			}
		})
	}
}

func TestDeploymentVariablesWinOverTheFile(t *testing.T) {
	t.Parallel()
	const file = `
domains: [cmux.sh]
providers:
  pve: {url: "https://old.example.com", token_file: /nowhere, nodes: [a, b]}
routing: {primary: pve-lxc, fallback: [pve-vm], workloads: {dev: pve-lxc, other: pve-lxc}}
`
	c, err := Parse("edge.yaml", []byte(file), with(both, "SANDBOX_PRIMARY_PROVIDER", "morph", "SANDBOX_FALLBACK_PROVIDERS", "pve-lxc", "SANDBOX_ROUTE_DEV", "morph"))
	if err != nil {
		t.Fatal(err)
	}
	want := Routing{Primary: "morph", Fallback: []string{"pve-lxc"}, Workloads: map[string]string{"dev": "morph", "other": "pve-lxc"}}
	if diff := cmp.Diff(want, c.Routing); diff != "" {
		t.Errorf("routing (-want +got):\n%s", diff)
	}
	if p := c.Providers.PVE; p.URL != "https://pve.example.com:8006" || p.Node != "pve1" || p.Nodes != nil {
		t.Errorf("the provider is %+v", p)
	}
}

func TestDeploymentVariablesAreChecked(t *testing.T) {
	t.Parallel()
	_, err := Parse("edge.yaml", nil, with(both, "PVE_API_URL", "http://pve:8006", "PVE_NODE", "pve 1", "PROXMOX_DEFAULT", "qemu",
		"PROXMOX_KVM_ENABLED", "no", "SANDBOX_PRIMARY_PROVIDER", "morhp", "SANDBOX_ROUTE_PROD", "aws"))
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		`PVE_API_URL:1:1: plain http would show the token to anybody in between; write "https://pve:8006"`,
		`PVE_NODE:1:1: "pve 1" is not a node`,
		`PROXMOX_DEFAULT:1:1: "qemu" is unknown; write kvm or lxc`,
		`PROXMOX_KVM_ENABLED:1:1: "no"; write true or false`,
		`SANDBOX_PRIMARY_PROVIDER:1:1: "morhp" is not a provider; did you mean "morph"?`,
		`SANDBOX_ROUTE_PROD:1:1: "aws" is not a provider; write morph, pve-vm, pve-lxc or docker`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not among the faults:\n%v", want, err)
		}
	}
}
