package pve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	proxmox "github.com/luthermonson/go-proxmox"
)

// Client is a cluster's API. It is safe for concurrent use, and shared by the
// providers of one cluster.
type Client struct {
	cfg       Config // without the token
	api       *proxmox.Client
	transport *http.Transport

	mu       sync.Mutex
	reserved map[int]bool // VMIDs that a clone of ours is about to take
}

// Connect makes a client. It doesn't send anything yet. Close ends it.
func Connect(cfg Config) (*Client, error) {
	cfg = cfg.withDefaults()
	base, err := cfg.base()
	if err != nil {
		return nil, err
	}
	if err := cfg.checkToken(); err != nil {
		return nil, err
	}
	trust, err := cfg.trust()
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 3 * time.Second}).DialContext,
		TLSClientConfig:     trust,
		TLSHandshakeTimeout: 5 * time.Second,
		MaxIdleConnsPerHost: 8,
		// The server closes idle connections after 5 s. One that it closes
		// while an action is being written would leave the outcome unknown.
		IdleConnTimeout: 4 * time.Second,
	}
	client := &http.Client{
		Transport:     &gate{next: transport, authorize: authorize(cfg.Token)},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	cfg.Token = ""
	return &Client{
		cfg:       cfg,
		api:       proxmox.NewClient(base, proxmox.WithHTTPClient(client), proxmox.WithLogger(silence{}), proxmox.WithUserAgent("cmux-edge")),
		transport: transport,
		reserved:  map[int]bool{},
	}, nil
}

// Close drops idle connections. Calls under way end with their contexts.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// authorize keeps the token inside a closure, where no formatting of any
// struct finds it.
func authorize(token Secret) func(http.Header) {
	// The server unescapes the value.
	value := "PVEAPIToken=" + strings.ReplaceAll(string(token), "%", "%25")
	return func(h http.Header) { h.Set("Authorization", value) }
}

// silence is the library's logger: it would log bodies, and to stdout.
type silence struct{}

func (silence) Errorf(string, ...any) {}
func (silence) Warnf(string, ...any)  {}
func (silence) Infof(string, ...any)  {}
func (silence) Debugf(string, ...any) {}

// get reads a path into a new value; null is garbage.
func (c *Client) get(ctx context.Context, path string, query url.Values, into any) error {
	null, err := c.getOrNull(ctx, path, query, into)
	if err == nil && null {
		return garbage("null")
	}
	return err
}

// getOrNull is get for the endpoints that may say null.
func (c *Client) getOrNull(ctx context.Context, path string, query url.Values, into any) (null bool, err error) {
	if len(query) > 0 {
		// The library's own encoder turns numbers into floats: 1000000 would
		// be sent as 1e+06.
		path += "?" + query.Encode()
	}
	var raw json.RawMessage
	err = c.bounded(ctx, c.cfg.ReadTimeout, func(ctx context.Context) error { return c.api.Get(ctx, path, &raw) })
	if err != nil {
		return false, err
	}
	if len(raw) == 0 {
		return true, nil
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return false, garbage(err.Error())
	}
	return false, nil
}

// post begins an action and returns its task.
func (c *Client) post(ctx context.Context, path string, params map[string]any) (upid, error) {
	return c.act(ctx, func(ctx context.Context, raw *json.RawMessage) error { return c.api.Post(ctx, path, params, raw) })
}

// remove begins a deletion and returns its task. Its options go into the
// query: the server refuses a body.
func (c *Client) remove(ctx context.Context, path string, query url.Values) (upid, error) {
	return c.act(ctx, func(ctx context.Context, raw *json.RawMessage) error {
		return c.api.Delete(ctx, path+"?"+query.Encode(), raw)
	})
}

func (c *Client) act(ctx context.Context, send func(context.Context, *json.RawMessage) error) (upid, error) {
	var raw json.RawMessage
	if err := c.bounded(ctx, c.cfg.ActionTimeout, func(ctx context.Context) error { return send(ctx, &raw) }); err != nil {
		return upid{}, err
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return upid{}, garbage("no task in it")
	}
	return parseUPID(text)
}

// bounded makes one request. What it returns is always a [*Failure].
func (c *Client) bounded(ctx context.Context, limit time.Duration, send func(context.Context) error) error {
	if ctx.Err() != nil {
		return &Failure{Text: "not asked", cause: ctx.Err()}
	}
	inner, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := send(inner)
	if err == nil {
		return nil
	}
	f, ok := errors.AsType[*Failure](err)
	if !ok { // the library could not read an answer that was well formed
		return garbage(err.Error())
	}
	switch {
	case f.Status != 0:
	case ctx.Err() != nil:
		f.cause = ctx.Err()
	case inner.Err() != nil:
		f.slow, f.Text = true, fmt.Sprintf("no answer within %s", limit)
	}
	return f
}

// pause waits for one poll interval.
func (c *Client) pause(ctx context.Context) error {
	timer := time.NewTimer(c.cfg.PollInterval)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return &Failure{Text: "gave up waiting", Lost: true, cause: ctx.Err()}
	}
}

// reserve takes the lowest free VMID for a clone. The ids below 200 are base
// templates by convention, those from 9000 to 9999 templates.
func (c *Client) reserve(used map[int]bool) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := firstVMID; ; id++ {
		if id == 9000 {
			id = 10000
		}
		if !used[id] && !c.reserved[id] {
			c.reserved[id] = true
			return id
		}
	}
}

func (c *Client) release(vmid int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.reserved, vmid)
}
