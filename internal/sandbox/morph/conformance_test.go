package morph

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/morph/morphsim"
	"cmux.sh/edge/internal/sandbox/sandboxtest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	for name, simulated := range map[string]morphsim.Config{
		"AnswersWhenDone":   {},
		"AnswersAtOnce":     {Async: true},
		"LegacyServices":    {LegacyServices: true},
		"ServicesComeLater": {EmptyReads: 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conform(t, simulated)
		})
	}
}

func conform(t *testing.T, simulated morphsim.Config) {
	sandboxtest.Test(t, sandboxtest.Harness{
		Name: Name,
		Capabilities: sandbox.Capabilities{
			RAMSnapshot: true, Create: true, Suspend: true,
			StartTime: sandbox.Slow, ResumeTime: sandbox.Quick, Price: sandbox.Metered,
		},
		New: func(t *testing.T) sandboxtest.Backend {
			if strings.Contains(t.Name(), "/StopOf") || strings.HasSuffix(t.Name(), "/ResumeWakesAStoppedInstance") {
				t.Skip("Morph has no stop that keeps the disk; see TestStopIsInvalid")
			}
			r := newRig(t, simulated, nil)
			var slow, garbage func()
			return sandboxtest.Backend{
				Provider: r.Provider,
				Slow: func(d time.Duration) {
					if slow != nil {
						slow()
						slow = nil
					}
					if d > 0 {
						slow = r.sim.Inject(morphsim.Fault{Delay: d})
					}
				},
				Garbage: func(on bool) {
					if !on {
						garbage()
						return
					}
					garbage = r.sim.Inject(morphsim.Fault{Body: `{"status":"ok"}`})
				},
				Vanish: func(id sandbox.ID) { r.sim.Remove(string(id)) },
				Break: func() {
					r.sim.Inject(morphsim.Fault{Status: http.StatusServiceUnavailable, Body: `{"detail":"maintenance"}`})
				},
				Count: func() int { return len(r.sim.Instances()) },
			}
		},
	})
}
