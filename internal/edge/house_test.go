package edge_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "cmux.sh/edge/"

// top is the root of the checkout.
const top = "../.."

// ours says which of our packages each package may import, and why no other.
// A package that is not here may import none.
var ours = []struct {
	packages string // a path below the module; "/..." includes what lies below
	may      []string
	reason   string
}{
	{"internal/loopguard", nil, "it is pure"},
	{"internal/csp", nil, "it is a parser"},
	{"internal/reply", nil, "words know nothing of what they are about"},
	{"internal/tunnel", nil, "after an upgrade there are only bytes"},
	{"internal/config", nil, "the others get plain values from it, through edge"},
	{"internal/sandbox", nil, "it is the vocabulary"},
	{"internal/sandbox/sandboxtest", []string{"internal/sandbox"}, "a suite sees only the contract"},
	{"internal/sandbox/static", []string{"internal/sandbox"}, "providers never see each other"},
	{"internal/sandbox/pve/...", []string{"internal/sandbox", "internal/sandbox/pve/..."}, "providers never see each other"},
	{"internal/sandbox/morph/...", []string{"internal/sandbox", "internal/sandbox/morph/..."}, "providers never see each other"},
	{"internal/sandbox/docker/...", []string{"internal/sandbox", "internal/sandbox/docker/..."}, "providers never see each other"},
	{"internal/resolve", nil, "a grammar is pure"},
	{"internal/proxy", []string{"internal/resolve", "internal/loopguard", "internal/tunnel", "internal/reply", "internal/sandbox", "internal/csp"}, "look-up and wake come through interfaces it declares"},
	{"internal/sandbox/manager", []string{"internal/sandbox", "internal/catalog"}, "providers and stores come to it through their contracts"},
	{"internal/resolver", []string{"internal/sandbox", "internal/catalog"}, "a slug is found without HTTP"},
	{"internal/adminapi", nil, "it is what goes over the wire"},
	{"internal/admin", []string{"internal/adminapi", "internal/reply", "internal/resolve", "internal/catalog", "internal/sandbox", "internal/sandbox/manager"}, "it acts through an interface it declares, on the manager's types"},
	{"internal/catalog", []string{"internal/sandbox"}, "records speak the vocabulary"},
	{"internal/catalog/memory", []string{"internal/catalog", "internal/sandbox"}, "stores never see each other"},
	{"internal/catalog/redis/...", []string{"internal/catalog", "internal/sandbox"}, "stores never see each other"},
	{"internal/catalog/catalogtest", []string{"internal/catalog", "internal/sandbox"}, "a suite sees only the contract"},
	{"internal/reconciler", []string{"internal/catalog", "internal/sandbox"}, "it compares what two contracts say"},
	{"internal/webhook", nil, "it only delivers"},
	{"internal/edge", []string{"internal/..."}, ""},
	{"internal/demo", []string{"internal/config", "internal/edge", "internal/adminapi", "internal/sandbox/pve/pvesim", "internal/sandbox/morph/morphsim"}, "it is an edge with a configuration of its own, and is used as a user would"},
	{"internal/testnet", nil, "it serves every test"},
	{"internal/e2e", nil, "it sees only the binary"},
	{"cmd/edge", []string{"internal/config", "internal/edge", "internal/demo", "internal/resolve", "internal/adminapi"}, "commands are thin"},
}

// foreign says where modules that would spread may be imported.
var foreign = []struct {
	module string
	may    []string
	reason string
}{
	{"github.com/gorilla/websocket", []string{"internal/demo"}, "tunnels carry bytes, not messages"},
	{"go.yaml.in/yaml/v4", []string{"internal/config"}, "only config reads files"},
	{"github.com/spf13/cobra", []string{"cmd/edge"}, "only the command line parses flags"},
	{"github.com/luthermonson/go-proxmox", []string{"internal/sandbox/pve"}, "its traps are closed in one place"},
	{"github.com/redis/go-redis/v9", []string{"internal/catalog/redis"}, "one store speaks to Redis"},
	{"github.com/maypok86/otter/v2", []string{"internal/resolver"}, "what is remembered is remembered in one place"},
	{"github.com/sony/gobreaker/v2", []string{"internal/sandbox/manager", "internal/sandbox/pve"}, "the manager breaks providers off, and Proxmox its nodes"},
	{"github.com/moby/moby/client", []string{"internal/sandbox/docker"}, "one provider speaks to Docker"},
}

type pkg struct {
	ImportPath string
	Imports    []string
	GoFiles    []string
	Dir        string
}

func TestPackagesImportOnlyWhatTheyMay(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		path := strings.TrimPrefix(p.ImportPath, module)
		i := slices.IndexFunc(ours, func(r struct {
			packages string
			may      []string
			reason   string
		},
		) bool {
			return covers(r.packages, path)
		})
		if i < 0 {
			t.Errorf("%s has no rule: say in this test what it may import, and why", path)
			continue
		}
		for _, imported := range p.Imports {
			if own, is := strings.CutPrefix(imported, module); is {
				if !slices.ContainsFunc(ours[i].may, func(may string) bool { return covers(may, own) }) {
					t.Errorf("%s imports %s: %s", path, own, ours[i].reason)
				}
				continue
			}
			for _, r := range foreign {
				if (imported == r.module || strings.HasPrefix(imported, r.module+"/")) && !slices.Contains(r.may, path) {
					t.Errorf("%s imports %s: %s", path, imported, r.reason)
				}
			}
			if imported == "net/http" && slices.Contains([]string{"internal/resolve", "internal/tunnel", "internal/sandbox"}, path) {
				t.Errorf("%s imports net/http: HTTP stays in proxy, admin and reply", path)
			}
		}
	}
}

// covers tells whether a path matches a pattern that may end in "/...".
func covers(pattern, path string) bool {
	if below, all := strings.CutSuffix(pattern, "/..."); all {
		return path == below || strings.HasPrefix(path, below+"/")
	}
	return path == pattern
}

func packages(t *testing.T) []pkg {
	t.Helper()
	list := exec.Command("go", "list", "-json=ImportPath,Imports,GoFiles,Dir", "./...")
	list.Dir = top
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestEachPackageHasOneDoc(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		var documented []string
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if f.Doc != nil {
				documented = append(documented, name)
			}
		}
		if len(documented) != 1 && len(p.GoFiles) > 0 {
			t.Errorf("%s has package comments in %v; want one", p.ImportPath, documented)
		}
	}
}

func TestModuleReplacesNothing(t *testing.T) {
	t.Parallel()
	mod, err := os.ReadFile(filepath.Join(top, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(mod, []byte("replace")) {
		t.Error("go.mod has a replace: go install of this module would fail")
	}
}

// Each direct dependency has its reason in ARCHITECTURE.md or a decision.
func TestEveryDependencyHasItsReason(t *testing.T) {
	t.Parallel()
	var prose []byte
	for _, name := range pages(t) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if base := filepath.Base(name); base == "ARCHITECTURE.md" || strings.Contains(name, "decisions") {
			prose = append(prose, text...)
		}
	}
	mod, err := os.ReadFile(filepath.Join(top, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^\s+(\S+) v\S+$`).FindAllSubmatch(mod, -1) {
		if !bytes.Contains(prose, m[1]) {
			t.Errorf("nothing says why go.mod requires %s", m[1])
		}
	}
}

// A page that names a path names one that exists.
func TestPathsInThePagesExist(t *testing.T) {
	t.Parallel()
	path := regexp.MustCompile("`((?:cmd|configs|deploy|docs|internal|test|tools|\\.ci)/[a-zA-Z0-9_./-]*)`|\\]\\(([a-zA-Z0-9_./-]+)\\)")
	for _, page := range pages(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range path.FindAllSubmatch(text, -1) {
			name := filepath.Join(top, string(m[1]))
			if len(m[2]) > 0 { // a link, relative to the page
				name = filepath.Join(filepath.Dir(page), string(m[2]))
			}
			if _, err := os.Stat(name); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
}

// pages are the texts for people.
func pages(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(top, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(filepath.Join(top, "docs"), func(name string, _ fs.DirEntry, err error) error {
		if filepath.Ext(name) == ".md" {
			found = append(found, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
