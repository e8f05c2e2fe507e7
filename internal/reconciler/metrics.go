package reconciler

import "github.com/prometheus/client_golang/prometheus"

// Results of a round, a metric's label.
const (
	roundOK      = "ok"
	roundPartial = "partial" // a provider or a sandbox was left out
	roundFailed  = "error"   // the catalogue could not be listed
)

type metrics struct {
	changes, rounds *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "edge_reconciler_changes_total",
			Help: "Records that the reconciler made, buried or corrected.",
		}, []string{"kind"}),
		rounds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "edge_reconciler_rounds_total",
			Help: "Comparisons of the catalogue with the providers, by what they ended in: partial left something out.",
		}, []string{"result"}),
	}
	for _, kind := range []string{Adopted, Forgotten, Repaired} {
		m.changes.WithLabelValues(kind)
	}
	for _, result := range []string{roundOK, roundPartial, roundFailed} {
		m.rounds.WithLabelValues(result)
	}
	reg.MustRegister(m.changes, m.rounds)
	return m
}
