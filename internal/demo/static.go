package demo

import (
	"context"
	"errors"
	"fmt"
	"io"

	"cmux.sh/edge/internal/config"
)

var errEnded = errors.New("nobody asked it to")

// openStatic starts sandboxes that are there before the edge is.
func openStatic(ctx context.Context, log io.Writer) (_ *source, err error) {
	broken := make(chan error, 1)
	s := &source{slugs: []string{"demo", "other"}, broken: broken}
	var children []*child
	s.close = func() {
		for _, c := range children {
			c.stop()
		}
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	static := &config.Static{}
	for _, slug := range s.slugs {
		listeners, err := listenAnywhere(ctx)
		if err != nil {
			return nil, err
		}
		c, err := startChild(slug, listeners, log)
		if err != nil {
			return nil, fmt.Errorf("start the sandbox %s: %w", slug, err)
		}
		children = append(children, c)
		static.Instances = append(static.Instances, config.StaticInstance{Slug: slug, Ports: c.addresses})
		go func() { // ends with the child, which close ends
			<-c.ended
			select {
			case broken <- fmt.Errorf("the sandbox %s ended: %w", slug, errors.Join(errEnded, c.err)):
			default:
			}
		}()
	}
	s.configure = func(c *config.Config) { c.Providers.Static = static }
	return s, nil
}
