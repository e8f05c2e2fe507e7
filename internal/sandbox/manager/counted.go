package manager

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"cmux.sh/edge/internal/sandbox"
)

// Counted returns providers whose calls are counted and timed, whoever makes
// them, and registers the metrics. It is called once for a registry.
func Counted(reg prometheus.Registerer, providers ...sandbox.Provider) []sandbox.Provider {
	m := &callMetrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "edge_provider_calls_total",
			Help: "Operations asked of providers, by what they ended in: ok or a kind of error.",
		}, []string{"provider", "op", "result"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "edge_provider_call_duration_seconds",
			Help:    "Time an operation took, until the provider reported its end.",
			Buckets: []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300},
		}, []string{"provider", "op"}),
	}
	reg.MustRegister(m.calls, m.duration)
	list := make([]sandbox.Provider, len(providers))
	for i, p := range providers {
		list[i] = &counted{p, m}
	}
	return list
}

type callMetrics struct {
	calls    *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

// extender is what a provider that sleeps by itself can do besides, counted or
// not.
func extender(p sandbox.Provider) (sandbox.Extender, bool) {
	if c, ok := p.(*counted); ok {
		p = c.Provider
	}
	e, ok := p.(sandbox.Extender)
	return e, ok
}

// counted is a provider whose calls are counted and timed.
type counted struct {
	sandbox.Provider
	metrics *callMetrics
}

// count is deferred with the time of the call and a pointer to its error.
func (c *counted) count(op string, since time.Time, err *error) {
	result := "ok"
	if *err != nil {
		result = sandbox.KindOf(*err).Label()
	}
	c.metrics.calls.WithLabelValues(c.Name(), op, result).Inc()
	c.metrics.duration.WithLabelValues(c.Name(), op).Observe(time.Since(since).Seconds())
}

// Start counts and makes an instance.
func (c *counted) Start(ctx context.Context, req sandbox.StartRequest) (in sandbox.Instance, err error) {
	defer c.count("start", time.Now(), &err)
	return c.Provider.Start(ctx, req)
}

// Pause counts and puts an instance to sleep.
func (c *counted) Pause(ctx context.Context, id sandbox.ID) (err error) {
	defer c.count("pause", time.Now(), &err)
	return c.Provider.Pause(ctx, id)
}

// Resume counts and wakes an instance.
func (c *counted) Resume(ctx context.Context, id sandbox.ID) (in sandbox.Instance, err error) {
	defer c.count("resume", time.Now(), &err)
	return c.Provider.Resume(ctx, id)
}

// Stop counts and ends an instance's processes.
func (c *counted) Stop(ctx context.Context, id sandbox.ID) (err error) {
	defer c.count("stop", time.Now(), &err)
	return c.Provider.Stop(ctx, id)
}

// Delete counts and removes an instance.
func (c *counted) Delete(ctx context.Context, id sandbox.ID) (err error) {
	defer c.count("delete", time.Now(), &err)
	return c.Provider.Delete(ctx, id)
}

// Get counts and reads an instance.
func (c *counted) Get(ctx context.Context, id sandbox.ID) (in sandbox.Instance, err error) {
	defer c.count("get", time.Now(), &err)
	return c.Provider.Get(ctx, id)
}

// Find counts and looks for a slug.
func (c *counted) Find(ctx context.Context, slug string) (in sandbox.Instance, err error) {
	defer c.count("find", time.Now(), &err)
	return c.Provider.Find(ctx, slug)
}

// List counts and lists what is ours.
func (c *counted) List(ctx context.Context) (list []sandbox.Instance, err error) {
	defer c.count("list", time.Now(), &err)
	return c.Provider.List(ctx)
}
