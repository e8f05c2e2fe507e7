package morph

import (
	"bytes"
	"log/slog"
	"sync"
	"testing"
	"time"

	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/morph/morphsim"
)

// rig is a provider on a simulator of its own.
type rig struct {
	*Provider
	sim *morphsim.Server
	log *logBuffer
}

// logBuffer collects log lines from any goroutine.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// quick are the simulator's times of waiting.
var quick = Timing{
	Read: 5 * time.Second, Act: 5 * time.Second,
	Retry: 5 * time.Millisecond, RetryMax: 1200 * time.Millisecond,
	Poll: 3 * time.Millisecond, PollMax: 20 * time.Millisecond,
}

func newSim(t *testing.T, cfg morphsim.Config) *morphsim.Server {
	t.Helper()
	sim, err := morphsim.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	return sim
}

func newRig(t *testing.T, simulated morphsim.Config, adjust func(*Config)) *rig {
	t.Helper()
	sim := newSim(t, simulated)
	cfg := Config{
		URL:        sim.URL(),
		APIKey:     func() string { return morphsim.Key },
		RootCAs:    sim.CertPool(),
		HTTPSuffix: sim.Suffix(),
		Snapshots:  map[string]string{"default": morphsim.Snapshot},
		Timing:     quick,
	}
	if adjust != nil {
		adjust(&cfg)
	}
	lines := &logBuffer{}
	p, err := New(slog.New(slog.NewTextHandler(lines, nil)), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return &rig{Provider: p, sim: sim, log: lines}
}

// start makes an instance that a test is about.
func (r *rig) start(t *testing.T, slug string) sandbox.Instance {
	t.Helper()
	in, err := r.Start(t.Context(), sandbox.StartRequest{Slug: slug, Key: "key-of-" + slug})
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// add puts one of the control plane's own instances into the account.
func (r *rig) add(t *testing.T, in morphsim.Instance) sandbox.ID {
	t.Helper()
	if in.Metadata == nil {
		in.Metadata = map[string]string{"app": "cmux-devbox"}
	}
	if in.Services == nil {
		in.Services = []morphsim.Service{{Port: 39378}}
	}
	id, err := r.sim.Add(in)
	if err != nil {
		t.Fatal(err)
	}
	return sandbox.ID(id)
}

func wantKind(t *testing.T, err error, want sandbox.Kind) {
	t.Helper()
	if err == nil || sandbox.KindOf(err) != want {
		t.Errorf("got %v, want an error of kind %s", err, want)
	}
}
