package edge

import (
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
)

// Version is set by the linker for a release: -X
// cmux.sh/edge/internal/edge.Version=v1.2.3.
var Version = "dev"

// Build is what this binary was built from.
type Build struct{ Version, Commit, Go string }

// BuildInfo reads what the linker and the compiler left in the binary. Commit
// is "unknown" outside a checkout, and ends in "+changes" when there were
// uncommitted ones.
func BuildInfo() Build {
	b := Build{Version: Version, Commit: "unknown", Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	changed := false
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			changed = s.Value == "true"
		}
	}
	if changed {
		b.Commit += "+changes"
	}
	return b
}

func buildInfo() prometheus.Collector {
	b := BuildInfo()
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "edge_build_info",
		Help:        "What the running binary was built from; always 1.",
		ConstLabels: prometheus.Labels{"version": b.Version, "commit": b.Commit, "go_version": b.Go},
	})
	g.Set(1)
	return g
}
