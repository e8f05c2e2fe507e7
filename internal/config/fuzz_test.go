package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// FuzzParse holds every input to the promises of Parse: it returns, soon, with
// a configuration that has a domain or with faults that have a place, each on
// a line of its own.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/*.yaml", "../../configs/*.yaml"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, p := range paths {
			data, err := os.ReadFile(p)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		start := time.Now()
		c, err := Parse("edge.yaml", data, environ())
		if took := time.Since(start); took > patience {
			t.Errorf("took %v", took)
		}
		if err == nil {
			if len(c.Domains) == 0 || c.Listen.HTTP == "" {
				t.Errorf("accepted without a domain or listener: %+v", c)
			}
			return
		}
		var faults Faults
		if !errors.As(err, &faults) || len(faults) == 0 {
			t.Fatalf("error is %T with %d faults, want at least one: %v", err, len(faults), err)
		}
		for _, fault := range faults {
			if fault.Line < 1 || fault.Column < 1 || fault.Message == "" || strings.Contains(fault.Error(), "\n") {
				t.Errorf("a fault without a place or with several lines: %q", fault.Error())
			}
		}
	})
}
