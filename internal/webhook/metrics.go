package webhook

import "github.com/prometheus/client_golang/prometheus"

// result is what became of an attempt or a message.
type result uint8

const (
	delivered result = iota
	failed           // will be tried again
	gone             // the receiver answered 410
	expired          // given up as too old
	dropped          // given up as the queue was full
	results
)

var resultLabels = [results]string{delivered: "ok", failed: "failed", gone: "gone", expired: "expired", dropped: "dropped"}

type metrics struct {
	deliveries [results]prometheus.Counter
	queue      prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	deliveries := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "edge_webhook_deliveries_total",
		Help: "Attempts to tell the control plane, and messages given up, by what became of them.",
	}, []string{"result"})
	m := &metrics{queue: prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "edge_webhook_queue",
		Help: "Messages to the control plane that are not delivered yet.",
	})}
	for r := range results {
		m.deliveries[r] = deliveries.WithLabelValues(resultLabels[r])
	}
	reg.MustRegister(deliveries, m.queue)
	return m
}
