package resolver

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// source is who decided an answer.
type source uint8

const (
	local source = iota
	store        // the catalogue
	provider
	sources
)

// sourceLabels are the values of a metric's label. The catalogue is "redis" in
// it whichever store it is.
var sourceLabels = [sources]string{local: "local", store: "redis", provider: "provider"}

// result is what an answer is.
type result uint8

const (
	hit      result = iota
	miss            // nobody knows the slug
	negative        // known to be unknown, or deleted
	stale           // used without having been confirmed
	failed
	results
)

var resultLabels = [results]string{hit: "hit", miss: "miss", negative: "negative", stale: "stale", failed: "error"}

type metrics struct {
	// total are the children of the vector: finding one by its labels takes
	// longer than a hit may.
	total    [sources][results]prometheus.Counter
	duration prometheus.Histogram
	up       prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer, shared bool) *metrics {
	total := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "edge_resolve_total",
		Help: "Searches for the instance of a sandbox, by who had the last word and what it was.",
	}, []string{"source", "result"})
	m := &metrics{
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "edge_resolve_duration_seconds",
			Help:    "Time a search for the instance of a sandbox took.",
			Buckets: []float64{1e-6, 1e-5, 1e-4, .001, .005, .025, .1, .5, 1, 5, 10},
		}),
		up: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "edge_redis_up",
			Help: "1 while Redis answers.",
		}),
	}
	for s := range sources {
		for r := range results {
			m.total[s][r] = total.WithLabelValues(sourceLabels[s], resultLabels[r])
		}
	}
	reg.MustRegister(total, m.duration)
	if shared {
		reg.MustRegister(m.up)
	}
	return m
}

func (m *metrics) observe(s source, r result, took time.Duration) {
	m.total[s][r].Inc()
	m.duration.Observe(took.Seconds())
}
