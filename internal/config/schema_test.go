package config

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const example = "../../configs/edge.example.yaml"

// entry is one key of the schema.
type entry struct {
	path     string // "providers.static.instances[].slug"
	field    field
	typ      reflect.Type
	owner    reflect.Type // the struct that declares the key
	goName   string
	siblings []field
}

// entries lists every key below t in the order they are declared. A
// section stands before its keys.
func entries(t reflect.Type, path string) []entry {
	var all []entry
	fs := fields(t)
	for _, f := range fs {
		sf := t.Field(f.index)
		e := entry{path: join(path, f.key), field: f, typ: sf.Type, owner: t, goName: sf.Name, siblings: fs}
		inner, ok := sectionOf(sf.Type)
		if ok && sf.Type.Kind() == reflect.Slice {
			e.path += "[]"
		}
		all = append(all, e)
		if ok {
			all = append(all, entries(inner, e.path)...)
		}
	}
	return all
}

// sectionOf returns the struct of keys that t is, points to or lists.
func sectionOf(t reflect.Type) (reflect.Type, bool) {
	if t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	return t, section(t)
}

// inFile is whether the key can stand in a file.
func (e entry) inFile() bool { return e.field.key != "-" }

func TestSchemaTagsAreUnderstood(t *testing.T) {
	t.Parallel()
	known := []string{"yaml", "default", "min", "max", "above", "oneof", "form", "env", "file"}
	key := regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	tagName := regexp.MustCompile(`(?:^| )(\w+):"`)
	for _, e := range entries(reflect.TypeFor[Config](), "") {
		for _, m := range tagName.FindAllStringSubmatch(string(e.field.tag), -1) {
			if !slices.Contains(known, m[1]) {
				t.Errorf("%s.%s has the unknown tag %q", e.owner, e.goName, m[1])
			}
		}
		if form, ok := e.field.tag.Lookup("form"); ok && grammars[form].check == nil {
			t.Errorf("%s: there is no grammar %q", e.path, form)
		}
		if _, ok := e.field.tag.Lookup("env"); ok && e.typ != secretType && e.typ.Kind() != reflect.Slice {
			t.Errorf("%s: only lists and secrets are read from the environment so far", e.path)
		}
		if e.typ == secretType {
			file := e.field.tag.Get("file")
			if e.inFile() || !slices.ContainsFunc(e.siblings, func(f field) bool { return f.key == file }) {
				t.Errorf("%s.%s: a secret stands in no file and needs a sibling %q", e.owner, e.goName, file)
			}
			continue
		}
		if !e.inFile() {
			continue
		}
		if !key.MatchString(e.field.key) {
			t.Errorf("%s.%s has the key %q, want lower case with underscores", e.owner, e.goName, e.field.key)
		}
		// Default has set them already, so that a default outside its own
		// limits has panicked; this finds limits that can't be read.
		for _, limit := range []string{"above", "min", "max"} {
			if text, ok := e.field.tag.Lookup(limit); ok {
				free := field{tag: reflect.StructTag("")}
				typ := e.typ
				if typ.Kind() == reflect.Map {
					typ = typ.Elem()
				}
				if err := free.set(reflect.New(typ).Elem(), text); err != nil {
					t.Errorf("%s: the %s tag: %v", e.path, limit, err)
				}
			}
		}
	}
}

func TestExampleShowsTheDefaults(t *testing.T) {
	t.Parallel()
	got, err := Load(example, environ())
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Domains = []string{"cmux.localhost"}
	if diff := cmp.Diff(&want, got, equal); diff != "" {
		t.Errorf("%s differs from the defaults (-want +got):\n%s", example, diff)
	}
}

// In the example "#key" without a blank is a key that is commented out.
var commentedKey = regexp.MustCompile(`(?m)^( *)#(\S)`)

func TestExampleNamesEveryKeyAndExplainsIt(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	text := commentedKey.ReplaceAllString(string(data), "$1$2")
	dir := t.TempDir()
	for _, name := range []string{"admin-token", "pve-token", "morph-key", "model-gateway", "webhook-secret"} {
		write(t, dir, name, "correct-horse-battery-staple\n")
	}
	getenv := environ("CREDENTIALS_DIRECTORY", dir)
	if _, err := Parse("edge.example.yaml", []byte(text), getenv); err != nil {
		t.Errorf("with every key: %v", err)
	}

	d := document{file: "edge.example.yaml", getenv: getenv}
	d.parse([]byte(text))
	var c Config
	d.decode(reflect.ValueOf(&c).Elem())
	lines := strings.Split(text, "\n")
	index := regexp.MustCompile(`\[\d+\]`)
	line := make(map[string]int)
	for path, n := range d.nodes {
		line[index.ReplaceAllString(path, "[]")] = n.Line
	}
	for _, e := range entries(reflect.TypeFor[Config](), "") {
		if !e.inFile() {
			continue
		}
		n, ok := line[e.path]
		if !ok {
			t.Errorf("%s does not name %s", example, e.path)
			continue
		}
		// The value of a section begins below its key.
		for n > 1 && !strings.HasPrefix(strings.TrimLeft(lines[n-1], " -"), e.field.key+":") {
			n--
		}
		if n == 1 || !strings.HasPrefix(strings.TrimSpace(lines[n-2]), "# ") {
			t.Errorf("%s:%d: no sentence stands above %s", example, n, e.path)
		}
	}
}
