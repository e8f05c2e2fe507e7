package webhook

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config says where messages go and how patient the sender is.
type Config struct {
	// URL returns where to send; "" sends nothing, and what is enqueued
	// meanwhile is forgotten. nil is "". It must not wait.
	URL func() string
	// Secret returns what to sign with: see [ParseSecret]. It must not wait.
	Secret func() string
	// Timeout bounds one attempt; 0 is 10 s.
	Timeout time.Duration
	// Parallel bounds the attempts under way; 0 is 4.
	Parallel int
	// MinBackoff is how long a message rests after its first failure; 0 is 1 s.
	MinBackoff time.Duration
	// MaxBackoff is the longest rest, apart from Retry-After; 0 is 5 min.
	MaxBackoff time.Duration
	// MaxAge is how old a message may become; 0 is 72 h.
	MaxAge time.Duration
	// Poll is how often the queue is looked at without a reason; 0 is 5 s.
	Poll time.Duration
	// Transport sends; nil is one of the sender's own.
	Transport http.RoundTripper
}

func (c Config) withDefaults() Config {
	if c.URL == nil {
		c.URL = func() string { return "" }
	}
	if c.Secret == nil {
		c.Secret = func() string { return "" }
	}
	or := func(d *time.Duration, standard time.Duration) {
		if *d <= 0 {
			*d = standard
		}
	}
	or(&c.Timeout, 10*time.Second)
	or(&c.MinBackoff, time.Second)
	or(&c.MaxBackoff, 5*time.Minute)
	or(&c.MaxAge, 72*time.Hour)
	or(&c.Poll, 5*time.Second)
	if c.Parallel <= 0 {
		c.Parallel = 4
	}
	if c.Transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.DisableCompression = true
		t.MaxResponseHeaderBytes = 64 << 10
		c.Transport = t
	}
	return c
}

const (
	// queueTimeout bounds one call to the queue.
	queueTimeout = 2 * time.Second
	// drain is how long Run goes on after the end of its context; what is left
	// after cut is for giving back what was under way.
	drain = time.Second
	cut   = 850 * time.Millisecond
)

// Sender delivers messages to the control plane.
type Sender struct {
	config  Config
	queue   Queue
	log     *slog.Logger
	metrics *metrics
	// intake holds what the queue has not taken yet: a queue may be slow or
	// away, Enqueue may not.
	intake *Memory
	wake   chan struct{}
	drops  throttle
	faults throttle

	mu    sync.Mutex
	until time.Time // nothing is sent before
	gone  string    // the URL that answered 410
}

// New returns a sender. A nil queue is a [Memory] of the default size.
func New(config Config, queue Queue, log *slog.Logger, reg prometheus.Registerer) *Sender {
	if queue == nil {
		queue = NewMemory(0)
	}
	return &Sender{
		config:  config.withDefaults(),
		queue:   queue,
		log:     log,
		metrics: newMetrics(reg),
		intake:  NewMemory(0),
		wake:    make(chan struct{}, 1),
	}
}

// Enqueue takes a message for delivery. It never waits, and takes the message
// also when ctx has ended: what happened has happened.
func (s *Sender) Enqueue(ctx context.Context, m Message) {
	ctx = context.WithoutCancel(ctx)
	switch {
	case s.config.URL() == "":
		return
	case !m.Type.valid():
		s.log.ErrorContext(ctx, "webhook message of an unknown type", "type", string(m.Type))
		return
	}
	lost, _ := s.intake.Put(ctx, m.normal(time.Now())) // fails only with its context
	s.countDropped(ctx, lost)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Disabled tells whether the receiver said, by a 410, that it wants to hear no
// more.
func (s *Sender) Disabled() bool {
	url := s.config.URL()
	s.mu.Lock()
	defer s.mu.Unlock()
	return url != "" && s.gone == url
}

// Run delivers until ctx ends and for a second after it at most. Its error is
// nil.
func (s *Sender) Run(ctx context.Context) error {
	// Calls to the queue end with hard, requests a little earlier.
	hard, cancelHard := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelHard()
	soft, cancelSoft := context.WithCancel(hard)
	defer cancelSoft()
	defer context.AfterFunc(ctx, func() {
		time.AfterFunc(cut, cancelSoft)
		time.AfterFunc(drain, cancelHard)
	})()
	if c, ok := s.config.Transport.(interface{ CloseIdleConnections() }); ok {
		defer c.CloseIdleConnections()
	}

	finished := make(chan struct{}, s.config.Parallel)
	running := 0
	ended := ctx.Done()
	for {
		wait := s.fill(hard)
		for running < s.config.Parallel {
			var lease *Lease
			if lease, wait = s.lease(soft, wait); lease == nil {
				break
			}
			running++
			go func() { // ends with soft, and Run waits for it
				defer func() { finished <- struct{}{} }()
				s.deliver(soft, hard, lease)
			}()
		}
		s.count(hard)
		if running == 0 && ended == nil {
			s.report(hard)
			return nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-finished:
			running--
		case <-s.wake:
		case <-timer.C:
		case <-ended:
			ended = nil
		}
		timer.Stop()
	}
}

// fill moves what was enqueued to the queue, in order, and returns how long the
// loop may sleep.
func (s *Sender) fill(ctx context.Context) time.Duration {
	for {
		lease, _, err := s.intake.Lease(ctx, queueTimeout+time.Minute)
		if lease == nil || err != nil {
			return s.config.Poll
		}
		bounded, cancel := context.WithTimeout(ctx, queueTimeout)
		lost, err := s.queue.Put(bounded, lease.Message)
		cancel()
		if err != nil {
			_ = s.intake.Retry(context.WithoutCancel(ctx), lease, 0) // nobody else leases from it
			s.fault(ctx, "webhook queue does not take messages", "error", err)
			return min(time.Second, s.config.Poll)
		}
		_ = s.intake.Done(context.WithoutCancel(ctx), lease)
		s.countDropped(ctx, lost)
	}
}

// lease returns what to deliver now, or nil and how long to sleep at most.
func (s *Sender) lease(ctx context.Context, most time.Duration) (*Lease, time.Duration) {
	if rest := s.held(); rest > 0 {
		return nil, min(rest, most)
	}
	bounded, cancel := context.WithTimeout(ctx, queueTimeout)
	defer cancel()
	lease, wait, err := s.queue.Lease(bounded, 2*s.config.Timeout+2*queueTimeout)
	switch {
	case err != nil:
		if ctx.Err() == nil {
			s.fault(ctx, "webhook queue does not answer", "error", err)
		}
		return nil, min(time.Second, most)
	case lease == nil && wait > 0:
		return nil, min(wait, most)
	}
	return lease, most
}

// held is how long nothing may be sent.
func (s *Sender) held() time.Duration {
	url := s.config.URL()
	s.mu.Lock()
	defer s.mu.Unlock()
	if url == "" || url == s.gone {
		return s.config.Poll
	}
	return time.Until(s.until)
}

// deliver makes one attempt and settles the lease.
func (s *Sender) deliver(ctx, hard context.Context, lease *Lease) {
	m := lease.Message
	attrs := []any{"type", string(m.Type), "slug", m.Slug, "id", m.ID, "message", m.Key(), "attempt", lease.Attempt + 1}
	if age := time.Since(m.Time); age > s.config.MaxAge {
		s.metrics.deliveries[expired].Inc()
		s.log.ErrorContext(hard, "webhook message given up", append(attrs, "age", age)...)
		s.settle(hard, func(ctx context.Context) error { return s.queue.Done(ctx, lease) })
		return
	}
	url := s.config.URL()
	answer := s.post(ctx, url, m)
	if answer.err == nil {
		s.metrics.deliveries[delivered].Inc()
		s.settle(hard, func(ctx context.Context) error { return s.queue.Done(ctx, lease) })
		if _, failing := s.faults.reset(); failing {
			s.log.InfoContext(hard, "webhook delivers again")
		}
		return
	}
	rest := max(pause(s.config.MinBackoff, s.config.MaxBackoff, lease.Attempt), answer.retryAfter)
	switch {
	case ctx.Err() != nil: // ended by us: it is due at once for whoever comes next
		rest = 0
	case answer.status == http.StatusGone:
		s.metrics.deliveries[gone].Inc()
		s.disable(hard, url)
		rest = 0 // it is due once there is another URL
	default:
		s.metrics.deliveries[failed].Inc()
		s.fault(hard, "webhook not delivered", append(attrs, "error", answer.err, "again_in", rest)...)
		s.hold(answer)
	}
	s.settle(hard, func(ctx context.Context) error { return s.queue.Retry(ctx, lease, rest) })
}

// settle tells the queue how a lease ended. When it can't be told, the lease
// runs out and the message is sent once more.
func (s *Sender) settle(ctx context.Context, end func(context.Context) error) {
	bounded, cancel := context.WithTimeout(ctx, queueTimeout)
	defer cancel()
	if err := end(bounded); err != nil {
		s.fault(ctx, "webhook queue does not settle", "error", err)
	}
}

// disable stops sending to a URL.
func (s *Sender) disable(ctx context.Context, url string) {
	s.mu.Lock()
	known := s.gone == url
	s.gone = url
	s.mu.Unlock()
	if !known {
		s.log.ErrorContext(ctx, "webhook disabled: the receiver answered 410", "host", host(url))
	}
}

// hold keeps every message back when the receiver as a whole asked for time.
func (s *Sender) hold(a answer) {
	if a.status != http.StatusTooManyRequests && a.status != http.StatusServiceUnavailable {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if until := time.Now().Add(a.retryAfter); until.After(s.until) {
		s.until = until
	}
}

// count sets the gauge.
func (s *Sender) count(ctx context.Context) {
	bounded, cancel := context.WithTimeout(ctx, queueTimeout)
	defer cancel()
	waiting, _ := s.intake.Len(bounded)
	if n, err := s.queue.Len(bounded); err == nil {
		s.metrics.queue.Set(float64(n + waiting))
	}
}

func (s *Sender) countDropped(ctx context.Context, lost []Message) {
	for _, m := range lost {
		s.metrics.deliveries[dropped].Inc()
		if n := s.drops.pass(time.Now()); n > 0 {
			s.log.ErrorContext(ctx, "webhook queue full, messages dropped", "count", n, "type", string(m.Type), "slug", m.Slug, "id", m.ID)
		}
	}
}

// fault logs what goes wrong, once a minute at most.
func (s *Sender) fault(ctx context.Context, text string, attrs ...any) {
	if n := s.faults.pass(time.Now()); n > 0 {
		s.log.WarnContext(ctx, text, append(attrs, "faults", n)...)
	}
}

// report tells at the end what was not told before.
func (s *Sender) report(ctx context.Context) {
	waiting, _ := s.intake.Len(ctx)
	n, _ := s.queue.Len(ctx) // 0 when there is no time left to ask
	if lost, _ := s.drops.reset(); n+waiting+lost > 0 {
		s.log.InfoContext(ctx, "webhook ends", "queued", n, "not_queued", waiting, "dropped", lost)
	}
}
