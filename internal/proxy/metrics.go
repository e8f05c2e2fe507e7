package proxy

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of the proxy. No label holds anything that a client can choose.
type metrics struct {
	requests *prometheus.CounterVec
	inFlight prometheus.Gauge
	panics   prometheus.Counter
	ports    map[string]*portMetrics // by portLabel; complete and never written
}

// portMetrics are the metrics of one port, looked up once for all requests.
type portMetrics struct {
	label      string
	duration   prometheus.Observer
	webSockets prometheus.Gauge
	up, down   prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		ports: make(map[string]*portMetrics, len(portLabels)),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "edge_http_requests_total",
			Help: "Requests answered, by port asked for, status and method; 499 is a client that left.",
		}, []string{"port", "code", "method"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "edge_http_requests_in_flight",
			Help: "Requests that have no complete answer yet, tunnels excluded.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "edge_http_panics_total",
			Help: "Requests whose handler panicked; each is a defect.",
		}),
	}
	duration := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "edge_http_request_duration_seconds",
		Help:    "Time from a request's header to the end of its answer; for an upgrade, to the answer's header.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
	}, []string{"port"})
	webSockets := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "edge_websocket_connections",
		Help: "Open WebSockets, by port asked for.",
	}, []string{"port"})
	bytes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "edge_proxied_bytes_total",
		Help: "Bytes of bodies and tunnels passed up to sandboxes and down to clients.",
	}, []string{"direction", "port"})
	reg.MustRegister(m.requests, duration, m.inFlight, webSockets, bytes, m.panics)
	for _, label := range portLabels {
		m.ports[label] = &portMetrics{
			label:      label,
			duration:   duration.WithLabelValues(label),
			webSockets: webSockets.WithLabelValues(label),
			up:         bytes.WithLabelValues("up", label),
			down:       bytes.WithLabelValues("down", label),
		}
	}
	return m
}

// portLabels are all that portLabel returns.
var portLabels = [...]string{"none", "39377", "39378", "39379", "39380", "39381", "other"}

// of are the metrics of the port that x asks for.
func (m *metrics) of(x *Exchange) *portMetrics { return m.ports[portLabel(x.Route.Port)] }

// observe counts a request that has been answered.
func (m *metrics) observe(w *writer, r *http.Request, x *Exchange, elapsed time.Duration) {
	port := m.of(x)
	m.requests.WithLabelValues(port.label, strconv.Itoa(w.status), methodLabel(r.Method)).Inc()
	if w.hijacked {
		elapsed = x.timings.resolve + x.timings.upstream
	}
	port.duration.Observe(elapsed.Seconds())
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
