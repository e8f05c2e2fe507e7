package static_test

import (
	"testing"

	"go.uber.org/goleak"

	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/sandboxtest"
	"cmux.sh/edge/internal/sandbox/static"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestProviderKeepsThePromises(t *testing.T) {
	t.Parallel()
	sandboxtest.Test(t, sandboxtest.Harness{
		Name: static.Name,
		New: func(t *testing.T) sandboxtest.Backend {
			p, err := static.New([]static.Instance{
				{Slug: "a", Address: "10.0.0.5", Ports: map[uint16]string{39378: "127.0.0.1:40001"}},
				{Slug: "b", Ports: map[uint16]string{39378: "127.0.0.1:40002"}},
			})
			if err != nil {
				t.Fatal(err)
			}
			return sandboxtest.Backend{Provider: p, Existing: []string{"a", "b"}}
		},
	})
}

func TestASlugThatIsThereTwiceIsInvalid(t *testing.T) {
	t.Parallel()
	_, err := static.New([]static.Instance{{Slug: "a", Address: "10.0.0.5"}, {Slug: "a", Address: "10.0.0.6"}})
	if got := sandbox.KindOf(err); err == nil || got != sandbox.KindInvalid {
		t.Errorf("got %v, want %s", err, sandbox.KindInvalid)
	}
}

func TestStaticSandboxesCannotBePutToSleep(t *testing.T) {
	t.Parallel()
	p, err := static.New([]static.Instance{{Slug: "a", Address: "10.0.0.5"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"pause":  p.Pause(t.Context(), "a"),
		"stop":   p.Stop(t.Context(), "a"),
		"delete": p.Delete(t.Context(), "a"),
	} {
		if got := sandbox.KindOf(err); err == nil || got != sandbox.KindRefused {
			t.Errorf("%s: got %v, want %s", name, err, sandbox.KindRefused)
		}
	}
}
