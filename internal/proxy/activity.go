package proxy

import "github.com/prometheus/client_golang/prometheus"

// activity is a counter of bytes that also tells that the sandbox is in use: a
// stream or a tunnel is used for as long as something passes, not for as long as
// it is open.
type activity struct {
	prometheus.Counter
	used func()
}

// activity makes count tell that x's sandbox is in use, if there is one.
func (x *Exchange) activity(count prometheus.Counter) prometheus.Counter {
	if x.used == nil {
		return count
	}
	return activity{count, x.used}
}

// Add counts bytes.
func (a activity) Add(n float64) {
	a.Counter.Add(n)
	if n > 0 {
		a.used()
	}
}
