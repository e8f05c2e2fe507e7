package manager

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	healthy         *prometheus.GaugeVec
	rolloutsStopped *prometheus.CounterVec
	leftovers       prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		healthy: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "edge_provider_healthy",
			Help: "1 while new work goes to the provider.",
		}, []string{"provider"}),
		rolloutsStopped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "edge_rollouts_stopped_total",
			Help: "Rollouts that ended themselves because too many starts failed.",
		}, []string{"provider"}),
		leftovers: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "edge_leftovers",
			Help: "Instances of failed starts that are still to be removed, or looked for.",
		}),
	}
	reg.MustRegister(m.healthy, m.rolloutsStopped, m.leftovers)
	return m
}

// sandboxCollector counts sandboxes when it is asked.
type sandboxCollector struct{ manager *Manager }

// collectTimeout bounds what a scrape waits for the catalogue.
const collectTimeout = 5 * time.Second

var sandboxesDesc = prometheus.NewDesc("edge_sandboxes", "Sandboxes known, by provider and state.", []string{"provider", "state"}, nil)

// Describe implements prometheus.Collector.
func (*sandboxCollector) Describe(ch chan<- *prometheus.Desc) { ch <- sandboxesDesc }

// Collect implements prometheus.Collector.
func (c *sandboxCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	for name, states := range c.manager.count(ctx) {
		for state, n := range states {
			ch <- prometheus.MustNewConstMetric(sandboxesDesc, prometheus.GaugeValue, float64(n), name, state.String())
		}
	}
}
