package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/catalog/memory"
	"cmux.sh/edge/internal/catalog/redis"
	"cmux.sh/edge/internal/config"
)

// store is the catalogue's, and where it lies.
type store struct {
	catalog.Catalog
	io.Closer
	shared bool
	addrs  []netip.AddrPort // no sandbox may have them
}

// openStore opens the catalogue: Redis where an address is configured, else
// this process's memory. A Redis that does not answer yet is no error; one that
// is set up to forget records is.
func openStore(ctx context.Context, c config.Redis, log *slog.Logger) (*store, error) {
	if c.URL == "" {
		return &store{Catalog: memory.New(memory.Config{}), Closer: closing(func() {})}, nil
	}
	options, err := redis.Parse(c.URL)
	if err != nil {
		return nil, fmt.Errorf("redis.url: %w", err)
	}
	redis.SetLogger(log)
	s, err := redis.New(options, redis.Config{Prefix: c.Prefix, Log: log}) //nolint:contextcheck // it dials nobody; each call brings its context
	if err != nil {
		return nil, err
	}
	if err := s.Check(ctx); errors.Is(err, redis.ErrPolicy) {
		return nil, errors.Join(err, s.Close())
	} else if err != nil {
		log.Warn("redis does not answer yet", "error", err)
	}
	opened := &store{Catalog: s, Closer: s, shared: true}
	for _, addr := range options.Addrs {
		opened.addrs = append(opened.addrs, addresses(ctx, "redis://"+addr)...)
	}
	return opened, nil
}
