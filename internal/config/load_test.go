package config

import (
	"os"
	"strings"
	"testing"
	"time"
)

// Not parallel: the working directory belongs to the whole process.
func TestLoadLooksInTheWorkingDirectory(t *testing.T) {
	if _, err := os.Stat(defaultPaths[1]); err == nil {
		t.Skipf("%s exists on this machine", defaultPaths[1])
	}
	t.Chdir(t.TempDir())

	_, err := Load("", environ())
	want := "edge.yaml: neither this file nor /etc/edge/edge.yaml exists; write one of them, name another with --config, or set EDGE_DOMAINS"
	if err == nil || err.Error() != want {
		t.Errorf("without a file: %v, want %s", err, want)
	}
	c, err := Load("", environ("EDGE_DOMAINS", "cmux.app"))
	if err != nil || c.Domains[0] != "cmux.app" {
		t.Errorf("with the environment alone: %+v, %v", c, err)
	}
	write(t, ".", "edge.yaml", "domains: [cmux.sh]\n")
	c, err = Load("", environ())
	if err != nil || c.Domains[0] != "cmux.sh" {
		t.Errorf("with edge.yaml: %+v, %v", c, err)
	}
	if err := os.Remove("edge.yaml"); err != nil {
		t.Fatal(err)
	}
	// One that is there and can't be read is no reason to go on to the next.
	if err := os.Mkdir("edge.yaml", 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err = Load("", environ()); err == nil || !strings.HasPrefix(err.Error(), "edge.yaml: is a directory") {
		t.Errorf("with a directory: %v", err)
	}
}

func TestLoadRefusesWhatIsNoFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, tt := range []struct{ name, path, want string }{
		{"a missing file", dir + "/none.yaml", dir + "/none.yaml: no such file or directory; name a readable YAML file"},
		{"a directory", dir, dir + ": is a directory; name a readable YAML file"},
		{
			"a file above 1 MiB",
			write(t, dir, "large.yaml", "# "+strings.Repeat("x", maxSize)),
			dir + "/large.yaml:1:1: the file is larger than 1 MiB; a configuration has a few KiB, so this must be another file",
		},
		{"an endless file", "/dev/zero", "/dev/zero:1:1: the file is larger than 1 MiB; a configuration has a few KiB, so this must be another file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Load(tt.path, environ())
			if err == nil || err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// patience is how long the worst file may take. They take about 1 s on a slow
// machine; the race detector makes that six times as long.
const patience = 30 * time.Second

func TestHostileFilesAreRefusedQuickly(t *testing.T) {
	t.Parallel()
	fill := func(unit string) string { return strings.Repeat(unit, maxSize/len(unit)) }
	for name, data := range map[string]string{
		"open lists":          fill("["),
		"open mappings":       fill("{a: "),
		"nested list lines":   fill("- "),
		"nested complex keys": fill("? "),
		// A quarter, because each item is a fault: they are all reported.
		"a long list":           "domains: [" + fill("x,")[:maxSize/4] + "]",
		"a long key":            fill("a"),
		"a long plain value":    "domains: " + fill("a")[:maxSize-10],
		"a long quoted value":   `domains: "` + fill("a")[:maxSize-12] + `"`,
		"many equal keys":       fill("a: b\n"),
		"many anchors":          "domains: [" + fill("&a x,")[:maxSize-20] + "]",
		"only comments":         fill("#\n"),
		"only colons":           fill(": "),
		"only quotes":           fill(`"`),
		"tabs":                  fill("\t"),
		"many documents":        fill("---\n"),
		"only commas in a list": "domains: [" + fill(",")[:maxSize-20] + "]",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			if _, err := Parse("edge.yaml", []byte(data), environ()); err == nil {
				t.Error("accepted")
			}
			if took := time.Since(start); took > patience {
				t.Errorf("took %v", took)
			}
		})
	}
}
