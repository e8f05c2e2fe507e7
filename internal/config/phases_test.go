package config

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// phases are the examples in configs, each as variables (.env) and as a file
// (.yaml), and the routing that both must mean.
var phases = []struct {
	name      string
	want      Routing
	providers []string
}{
	{"phase-1-morph", Routing{Primary: MorphName}, []string{MorphName}},
	{"phase-2-proxmox-first", Routing{Primary: PVEVMName, Fallback: []string{MorphName}, Workloads: map[string]string{"prod": MorphName}}, []string{MorphName, PVEVMName, PVELXCName}},
	{"phase-3-production", Routing{Primary: PVEVMName, Fallback: []string{MorphName}, Workloads: map[string]string{"prod": PVEVMName}}, []string{MorphName, PVEVMName, PVELXCName}},
	{"phase-4-proxmox", Routing{Primary: PVEVMName, Fallback: []string{MorphName}}, []string{MorphName, PVEVMName, PVELXCName}},
}

const examples = "../../configs/"

// Each phase of the migration is the same configuration from its variables
// alone and from its file alone.
func TestPhases(t *testing.T) {
	t.Parallel()
	for _, phase := range phases {
		t.Run(phase.name, func(t *testing.T) {
			t.Parallel()
			variables := readVariables(t, examples+phase.name+".env")
			asked := make(map[string]bool)
			fromVariables, err := Parse("edge.yaml", nil, func(name string) string {
				asked[name] = true
				return variables[name]
			})
			if err != nil {
				t.Fatalf("the variables: %v", err)
			}
			for name := range variables {
				if !asked[name] {
					t.Errorf("nothing reads the variable %s", name)
				}
			}

			// The secrets of the variables, as systemd would hand them over.
			credentials := t.TempDir()
			write(t, credentials, "pve-token", variables["PVE_API_TOKEN"]+"\n")
			write(t, credentials, "morph-key", variables["MORPH_API_KEY"]+"\n")
			fromFile, err := Load(examples+phase.name+".yaml", environ("CREDENTIALS_DIRECTORY", credentials))
			if err != nil {
				t.Fatalf("the file: %v", err)
			}

			// What stands there in comments is right too.
			text, err := os.ReadFile(examples + phase.name + ".yaml")
			if err != nil {
				t.Fatal(err)
			}
			whole, err := Parse("uncommented", commentedKey.ReplaceAll(text, []byte("$1$2")), environ("CREDENTIALS_DIRECTORY", credentials))
			if err != nil {
				t.Fatalf("the file with its commented keys: %v", err)
			}
			if len(whole.Providers.Morph.Snapshots) == 0 || whole.Providers.PVE != nil && len(whole.Providers.PVE.VM.Templates) == 0 {
				t.Error("the file does not show how sandboxes are created")
			}

			if len(fromFile.Warnings) > 0 {
				t.Errorf("the file is warned of: %q", fromFile.Warnings)
			}
			if got := fromFile.Providers.makers(); !slices.Equal(got, phase.providers) {
				t.Errorf("the file configures %q, want %q", got, phase.providers)
			}
			if diff := cmp.Diff(phase.want, fromFile.Routing); diff != "" {
				t.Errorf("the file's routing (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(anySource(fromVariables), anySource(fromFile), equal); diff != "" {
				t.Errorf("they differ (-variables +file):\n%s", diff)
			}
		})
	}
}

// No example is left out of [TestPhases], or lacks its twin.
func TestEveryPhaseIsTested(t *testing.T) {
	t.Parallel()
	var want []string
	for _, phase := range phases {
		want = append(want, phase.name+".env", phase.name+".yaml")
	}
	paths, err := filepath.Glob(examples + "phase-*")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, path := range paths {
		got = append(got, filepath.Base(path))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("examples (-tested +there):\n%s", diff)
	}
}

// anySource is a configuration without what tells where it came from.
func anySource(c *Config) Config {
	same := *c
	same.Warnings = nil
	if c.Providers.PVE != nil {
		pve := *c.Providers.PVE
		pve.TokenFile = ""
		same.Providers.PVE = &pve
	}
	if c.Providers.Morph != nil {
		morph := *c.Providers.Morph
		morph.APIKeyFile = ""
		same.Providers.Morph = &morph
	}
	return same
}

// readVariables reads the lines that systemd and Docker understand alike:
// NAME=value without quotes, and comments on lines of their own.
func readVariables(t *testing.T, path string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	variables, err := parseVariables(string(text))
	if err != nil {
		t.Fatalf("%s:%v", path, err)
	}
	return variables
}

var variableForm = regexp.MustCompile(`^([A-Z][A-Z0-9_]*)=([^\s"'\\$#]+)$`)

func parseVariables(text string) (map[string]string, error) {
	variables := make(map[string]string)
	for i, line := range strings.Split(text, "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		m := variableForm.FindStringSubmatch(line)
		switch {
		case m == nil:
			return nil, fmt.Errorf("%d: %q is not NAME=value, without quotes and blanks", i+1, line)
		case variables[m[1]] != "":
			return nil, fmt.Errorf("%d: %s is set twice", i+1, m[1])
		}
		variables[m[1]] = m[2]
	}
	return variables, nil
}
