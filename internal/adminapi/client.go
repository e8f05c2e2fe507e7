package adminapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Client asks an admin port. It is safe for concurrent use.
type Client struct {
	base  *url.URL
	token string
	http  *http.Client
}

// NewClient makes a client for the admin port at base; token may be empty.
func NewClient(base *url.URL, token string) *Client {
	return &Client{base: base.JoinPath("api", "v1"), token: token, http: &http.Client{}}
}

// List returns all sandboxes.
func (c *Client) List(ctx context.Context) ([]Sandbox, error) {
	var answer Sandboxes
	err := c.call(ctx, http.MethodGet, nil, &answer, "sandboxes")
	return answer.Sandboxes, err
}

// Get returns one sandbox.
func (c *Client) Get(ctx context.Context, slug string) (Sandbox, error) {
	var s Sandbox
	return s, c.call(ctx, http.MethodGet, nil, &s, "sandboxes", slug)
}

// Start makes a sandbox and returns when it runs.
func (c *Client) Start(ctx context.Context, req StartRequest) (Sandbox, error) {
	var s Sandbox
	return s, c.call(ctx, http.MethodPost, req, &s, "sandboxes")
}

// Pause puts a sandbox to sleep.
func (c *Client) Pause(ctx context.Context, slug string, force bool) (Sandbox, error) {
	var s Sandbox
	return s, c.call(ctx, http.MethodPost, PauseRequest{force}, &s, "sandboxes", slug, "pause")
}

// Resume wakes a sandbox.
func (c *Client) Resume(ctx context.Context, slug string) (Sandbox, error) {
	var s Sandbox
	return s, c.call(ctx, http.MethodPost, nil, &s, "sandboxes", slug, "resume")
}

// Stop ends a sandbox's processes.
func (c *Client) Stop(ctx context.Context, slug string) (Sandbox, error) {
	var s Sandbox
	return s, c.call(ctx, http.MethodPost, nil, &s, "sandboxes", slug, "stop")
}

// Boot starts a sandbox that sleeps.
func (c *Client) Boot(ctx context.Context, slug string, cold bool) (Sandbox, error) {
	var s Sandbox
	return s, c.call(ctx, http.MethodPost, BootRequest{cold}, &s, "sandboxes", slug, "start")
}

// Delete removes a sandbox.
func (c *Client) Delete(ctx context.Context, slug string) error {
	return c.call(ctx, http.MethodDelete, nil, nil, "sandboxes", slug)
}

// Providers returns the providers.
func (c *Client) Providers(ctx context.Context) ([]Provider, error) {
	var answer Providers
	err := c.call(ctx, http.MethodGet, nil, &answer, "providers")
	return answer.Providers, err
}

// Resolve explains how the edge resolves a host name.
func (c *Client) Resolve(ctx context.Context, host string) (Resolution, error) {
	var r Resolution
	resp, err := c.request(ctx, http.MethodGet, nil, c.base.JoinPath("resolve").String()+"?"+url.Values{"host": {host}}.Encode())
	if err != nil {
		return r, err
	}
	return r, decode(resp, &r)
}

// Events calls f with each event until ctx ends, f fails, or the edge closes
// the stream.
func (c *Client) Events(ctx context.Context, f func(Event) error) error {
	resp, err := c.do(ctx, http.MethodGet, nil, "events")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if !ok {
			continue
		}
		var e Event
		if err := json.Unmarshal(data, &e); err != nil {
			return fmt.Errorf("read an event: %w", err)
		}
		if err := f(e); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("read events: %w", err)
	}
	return ctx.Err()
}

// call makes one request and reads its answer into out, unless that is nil.
func (c *Client) call(ctx context.Context, method string, in, out any, path ...string) error {
	resp, err := c.do(ctx, method, in, path...)
	if err != nil {
		return err
	}
	return decode(resp, out)
}

// decode reads an answer into out, unless that is nil, and closes it.
func decode(resp *http.Response, out any) error {
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("read the answer of the edge: %w", err)
	}
	return nil
}

// do is request for a path below the API's.
func (c *Client) do(ctx context.Context, method string, in any, path ...string) (*http.Response, error) {
	for i, p := range path {
		path[i] = url.PathEscape(p)
	}
	return c.request(ctx, method, in, c.base.JoinPath(path...).String())
}

// request returns a good answer, whose body the caller closes. A bad one
// becomes a [*Problem].
func (c *Client) request(ctx context.Context, method string, in any, address string) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("no edge answers: %w", err)
	}
	if resp.StatusCode < http.StatusMultipleChoices {
		return resp, nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	var p Problem
	if json.Unmarshal(text, &p) == nil && p.Code != "" {
		return nil, &p
	}
	return nil, fmt.Errorf("the edge answers %s: %s", resp.Status, strings.TrimSpace(string(text)))
}
