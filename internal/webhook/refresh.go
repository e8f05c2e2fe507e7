package webhook

import (
	"context"
	"log/slog"
	"time"
)

// Use is a sandbox that runs, and when somebody last used it.
type Use struct {
	Slug       string
	ID         string
	Provider   string
	Generation uint64
	LastActive time.Time
}

// RefresherConfig says what is refreshed and when.
type RefresherConfig struct {
	// List returns the sandboxes that run.
	List func(context.Context) ([]Use, error)
	// Enqueue takes the messages: [Sender.Enqueue].
	Enqueue func(context.Context, Message)
	// Every is how often the list is looked at; 0 is 5 min.
	Every time.Duration
	// Batch is how many messages one look makes, so that the first look of a day
	// does not fill the queue; 0 is 500. The others follow at the next looks.
	Batch int
	// Window is how long after its last use a sandbox is in use; 0 is 24 h.
	Window time.Duration
}

// Refresher repeats that a sandbox is in use: at most once a day in UTC for each
// sandbox, within Every of its first use on that day, or of midnight when it is in
// use then. It remembers for as long as the process lives; after a restart, or
// from another replica, the message of a day has the same key.
type Refresher struct {
	config RefresherConfig
	log    *slog.Logger
	day    string
	told   map[string]struct{} // slugs of that day
}

// NewRefresher returns a refresher.
func NewRefresher(config RefresherConfig, log *slog.Logger) *Refresher {
	if config.Every <= 0 {
		config.Every = 5 * time.Minute
	}
	if config.Batch <= 0 {
		config.Batch = 500
	}
	if config.Window <= 0 {
		config.Window = 24 * time.Hour
	}
	return &Refresher{config: config, log: log}
}

// Run refreshes at once and then regularly, until ctx ends. Its error is nil.
func (r *Refresher) Run(ctx context.Context) error {
	ticker := time.NewTicker(r.config.Every)
	defer ticker.Stop()
	for {
		if err := r.refresh(ctx, time.Now()); err != nil && ctx.Err() == nil {
			r.log.WarnContext(ctx, "sandboxes in use not refreshed", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (r *Refresher) refresh(ctx context.Context, now time.Time) error {
	uses, err := r.config.List(ctx)
	if err != nil {
		return err
	}
	if day := now.UTC().Format(time.DateOnly); day != r.day {
		r.day, r.told = day, map[string]struct{}{}
	}
	made := 0
	for _, use := range uses {
		m := Message{InUse, use.ID, use.Slug, use.Provider, use.Generation, now, "traffic"}
		if _, told := r.told[m.Sandbox()]; told || now.Sub(use.LastActive) > r.config.Window {
			continue
		}
		if made++; made > r.config.Batch {
			break
		}
		r.config.Enqueue(ctx, m)
		r.told[m.Sandbox()] = struct{}{}
	}
	return nil
}
