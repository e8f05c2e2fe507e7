package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// scratch holds what all tests of a run share: the binary. It is made on first
// use and removed when the run ends.
var scratch = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "edge-e2e-") })

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if dir, err := scratch(); err == nil {
			os.RemoveAll(dir)
		}
		os.Exit(code)
	}))
}

// buildEdge builds the binary once, with the race detector when the tests have
// it, and returns its path.
//
// It is not built in TestMain on purpose: go test knows what a cached result
// depends on by what the tests themselves have opened, and the compiler's reads
// are not theirs. Walking the sources makes an edit anywhere run the tests again.
var buildEdge = sync.OnceValues(func() (string, error) {
	if binary := os.Getenv("EDGE_E2E_BINARY"); binary != "" {
		return filepath.Abs(binary)
	}
	for _, dir := range []string{"cmd", "internal", "test", "tools"} {
		err := filepath.WalkDir(filepath.Join(top, dir), func(_ string, _ os.DirEntry, err error) error { return err })
		if err != nil {
			return "", err
		}
	}
	dir, err := scratch()
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "edge")
	args := []string{"build", "-o", binary}
	if raceEnabled {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "./cmd/edge")...)
	build.Dir = top
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(build.Args[1:], " "), err, out)
	}
	return binary, nil
})

// top is the root of the checkout.
var top = func() string {
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		panic(err)
	}
	return dir
}()

func edgeBinary(t *testing.T) string {
	t.Helper()
	binary, err := buildEdge()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}
