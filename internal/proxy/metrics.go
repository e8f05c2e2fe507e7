package proxy

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of the proxy. No label holds anything that a client can choose.
type metrics struct {
	requests   *prometheus.CounterVec
	duration   *prometheus.HistogramVec
	inFlight   prometheus.Gauge
	webSockets *prometheus.GaugeVec
	bytes      *prometheus.CounterVec
	panics     prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "edge_http_requests_total",
			Help: "Requests answered, by port asked for, status and method; 499 is a client that left.",
		}, []string{"port", "code", "method"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "edge_http_request_duration_seconds",
			Help:    "Time from a request's header to the end of its answer; for an upgrade, to the answer's header.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"port"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "edge_http_requests_in_flight",
			Help: "Requests that have no complete answer yet, tunnels excluded.",
		}),
		webSockets: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "edge_websocket_connections",
			Help: "Open WebSockets, by port asked for.",
		}, []string{"port"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "edge_proxied_bytes_total",
			Help: "Bytes of bodies and tunnels passed up to sandboxes and down to clients.",
		}, []string{"direction", "port"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "edge_http_panics_total",
			Help: "Requests whose handler panicked; each is a defect.",
		}),
	}
	reg.MustRegister(m.requests, m.duration, m.inFlight, m.webSockets, m.bytes, m.panics)
	return m
}

// observe counts a request that has been answered.
func (m *metrics) observe(w *writer, r *http.Request, x *Exchange, elapsed time.Duration) {
	port := portLabel(x.Route.Port)
	m.requests.WithLabelValues(port, strconv.Itoa(w.status), methodLabel(r.Method)).Inc()
	if w.hijacked {
		elapsed = x.timings.resolve + x.timings.upstream
	}
	m.duration.WithLabelValues(port).Observe(elapsed.Seconds())
}

// portLabel names a port in a metric: the tool ports by number, every other
// one "other", and "none" where a request has no port.
func portLabel(port uint16) string {
	switch {
	case port == 0:
		return "none"
	case 39377 <= port && port <= 39381:
		return strconv.Itoa(int(port))
	default:
		return "other"
	}
}

// methodLabel keeps made-up methods out of the labels.
func methodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodOptions:
		return method
	}
	return "other"
}
