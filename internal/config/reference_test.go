package config

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const reference = "../../docs/reference/config.md"

const referenceHead = `<!-- Generated from internal/config/config.go by "go generate ./internal/config"; do not edit. -->

# Configuration

The edge reads one YAML file: the one named with ` + "`--config`" + `, else ` + "`edge.yaml`" + ` in the working directory, else ` + "`/etc/edge/edge.yaml`" + `.
A variable of the environment wins over the file, the file over the default. [edge.example.yaml](../../configs/edge.example.yaml) shows every key.

The file is read strictly: an unknown key, a wrong type, a value out of range, a key that is there twice, an anchor, alias, merge key or tag, or a second document stops the start.
Every fault is reported at once, as ` + "`FILE:LINE:COLUMN: what is wrong; what to write instead`" + `. A section with nothing below it is as if it were not there.

- Durations are written as ` + "`500ms`, `2s`, `1m30s`" + `.
- Networks are CIDRs without bits after the mask: ` + "`10.0.0.0/8`, `fd00::/8`" + `.
- Addresses to listen on are ` + "`host:port` or `:port`" + `.
- Secrets are never written in the file: a ` + "`*_file`" + ` key names a file that holds one alone. A name without a slash is looked up in ` + "`$CREDENTIALS_DIRECTORY`" + `, a path is relative to the working directory; the last line end is not part of the secret.
- Variables such as ` + "`${NAME}`" + ` are not expanded.
`

// deploymentVariables are read by code rather than by tags.
const deploymentVariables = "| `EDGE_REDIS_URL` | overrides `redis.url` |\n" +
	"| `PVE_API_URL` | overrides `providers.pve.url`; it, or PVE_API_TOKEN, stands for the section |\n" +
	"| `PVE_NODE` | overrides `providers.pve.node` and `providers.pve.nodes` |\n" +
	"| `PROXMOX_KVM_ENABLED`, `PROXMOX_LXC_ENABLED` | override `providers.pve.vm.enabled` and `providers.pve.lxc.enabled` |\n" +
	"| `PROXMOX_DEFAULT` | what the provider name `proxmox` means: kvm (without it) or lxc |\n" +
	"| `PROXMOX_USE_KVM` | false makes `proxmox` mean lxc where PROXMOX_DEFAULT is not set |\n" +
	"| `SANDBOX_PRIMARY_PROVIDER`, else `SANDBOX_PROVIDER` | overrides `routing.primary` |\n" +
	"| `SANDBOX_FALLBACK_PROVIDERS` | overrides `routing.fallback`, comma separated |\n" +
	"| `SANDBOX_ROUTE_DEV`, `_PROD`, `_LONG_RUNNING`, `_EPHEMERAL` | override single `routing.workloads` |\n"

// TestReference compares the reference page with the schema it is made from.
func TestReference(t *testing.T) {
	t.Parallel()
	got := page(t)
	if *update {
		if err := os.WriteFile(reference, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs from the schema; run go generate ./internal/config (-page +schema):\n%s", reference, diff)
	}
}

func page(t *testing.T) string {
	t.Helper()
	docs := comments(t)
	var b, variables strings.Builder
	b.WriteString(referenceHead)
	all := entries(reflect.TypeFor[Config](), "")
	b.WriteString("\n## Top level\n")
	rows(t, &b, all, reflect.TypeFor[Config](), docs)
	for _, e := range all {
		if inner, ok := sectionOf(e.typ); ok {
			fmt.Fprintf(&b, "\n## %s\n\n%s\n", e.path, doc(t, e, docs))
			rows(t, &b, all, inner, docs)
		}
		if name, ok := e.field.tag.Lookup("env"); ok {
			what := "overrides `" + e.path + "`, comma separated"
			if !e.inFile() {
				what = "holds the secret itself and wins over `" + strings.TrimSuffix(e.path, "-") + e.field.tag.Get("file") + "`"
			}
			fmt.Fprintf(&variables, "| `%s` | %s |\n", name, what)
		}
	}
	b.WriteString("\n## Environment\n\n| variable | meaning |\n|---|---|\n")
	b.WriteString(variables.String())
	b.WriteString(deploymentVariables)
	b.WriteString("| `CREDENTIALS_DIRECTORY` | the directory of secrets that `*_file` keys name without a slash; systemd sets it |\n")
	return b.String()
}

// rows writes the table of the single keys that owner declares.
func rows(t *testing.T, b *strings.Builder, all []entry, owner reflect.Type, docs map[string]string) {
	t.Helper()
	head := "\n| key | value | default | meaning |\n|---|---|---|---|\n"
	for _, e := range all {
		if _, ok := sectionOf(e.typ); ok || e.owner != owner || !e.inFile() {
			continue
		}
		fmt.Fprintf(b, "%s| `%s` | %s | `%s` | %s |\n", head, e.field.key, value(e), byDefault(e), doc(t, e, docs))
		head = ""
	}
}

// value says what is written for a single key.
func value(e entry) string {
	switch e.typ.Kind() {
	case reflect.Slice:
		return "list, each " + e.field.wanted(reflect.Zero(e.typ.Elem()))
	case reflect.Map:
		if e.typ.Key().Kind() == reflect.String {
			return "mapping of words, each to " + e.field.wanted(reflect.Zero(e.typ.Elem()))
		}
		return "mapping of ports, each to " + e.field.wanted(reflect.Zero(e.typ.Elem()))
	}
	wanted := e.field.wanted(reflect.Zero(e.typ))
	if limits := e.field.limits(); limits != "" && !strings.Contains(wanted, limits) {
		wanted += ", " + limits
	}
	return wanted
}

func byDefault(e entry) string {
	if text, ok := e.field.tag.Lookup("default"); ok {
		return text
	}
	switch e.typ.Kind() {
	case reflect.Slice:
		return "[]"
	case reflect.Map:
		return "{}"
	default:
		return `""`
	}
}

// doc is the comment of the key, which every key needs.
func doc(t *testing.T, e entry, docs map[string]string) string {
	t.Helper()
	text := docs[e.owner.Name()+"."+e.goName]
	if !strings.HasSuffix(text, ".") {
		t.Errorf("%s.%s has the comment %q, want a sentence for the operator", e.owner, e.goName, text)
	}
	return strings.ReplaceAll(text, "|", `\|`)
}

// comments returns the comments of the fields in config.go by Type.Field.
func comments(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	docs := make(map[string]string)
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		st, ok := spec.Type.(*ast.StructType)
		if !ok {
			return true
		}
		for _, f := range st.Fields.List {
			for _, name := range f.Names {
				docs[spec.Name.Name+"."+name.Name] = strings.Join(strings.Fields(f.Doc.Text()), " ")
			}
		}
		return true
	})
	return docs
}
