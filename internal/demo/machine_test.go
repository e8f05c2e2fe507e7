package demo

import (
	"errors"
	"io"
	"net/http"
	"testing"
	"time"
)

// count adds one to a machine's counter and returns the sum.
func count(t *testing.T, address string) string {
	t.Helper()
	// A connection of its own for each: those to a former life are dead.
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Post("http://"+address+"/counter", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	sum, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(sum)
}

func TestMachineKeepsItsMemoryOverASuspendAndLosesItWithAStop(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	m := &pveMachine{machine: &machine{name: "box", log: t.Output()}}
	t.Cleanup(func() { _ = m.Remove(ctx) })
	start := func(fresh bool) string {
		t.Helper()
		address, err := m.Start(ctx, fresh)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.addresses()[3000]; got != address+":3000" {
			t.Fatalf("port 3000 of %s is at %q", address, got)
		}
		return address
	}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	address := start(true)
	if got := count(t, address+":39378"); got != "1" {
		t.Errorf("a new machine counts %s", got)
	}
	do(m.Suspend(ctx))
	if got := start(false); got != address {
		t.Errorf("the address changed with a suspend, from %s to %s", address, got)
	}
	if got := count(t, address+":3000"); got != "2" {
		t.Errorf("a resumed machine counts %s, want 2", got)
	}
	do(m.Stop(ctx))
	if _, err := m.Start(ctx, false); !errors.Is(err, errNoRAM) {
		t.Errorf("resuming a stopped machine: got %v", err)
	}
	if err := m.Suspend(ctx); !errors.Is(err, errNoRAM) {
		t.Errorf("suspending a stopped machine: got %v", err)
	}
	if got := count(t, start(true)+":39378"); got != "1" {
		t.Errorf("a machine that was stopped counts %s, want 1", got)
	}
	do(m.Suspend(ctx)) // one that stands still ends as well, by the cleanup
}

func TestMachinesHaveAddressesOfTheirOwn(t *testing.T) {
	t.Parallel()
	one, first, err := listenAlone(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(first)
	other, second, err := listenAlone(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(second)
	if one == other {
		t.Errorf("both have %s", one)
	}
}
