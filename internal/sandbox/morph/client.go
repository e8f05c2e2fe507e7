package morph

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// maxAnswer bounds what is read of an answer: a list of some ten thousand
// instances fits.
const maxAnswer = 32 << 20

// maxTries is how often a call is tried in all.
const maxTries = 4

// redacted stands for the key in the words of servers that repeat the
// credentials they refuse.
const redacted = "[redacted]"

// client sends single calls to the API. It is safe for concurrent use.
type client struct {
	base   *url.URL
	key    func() string
	http   *http.Client
	timing Timing
}

func newClient(cfg Config) (*client, error) {
	base, err := cfg.base()
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: cfg.RootCAs, MinVersion: tls.VersionTLS12}
	return &client{
		base: base,
		key:  cfg.APIKey,
		http: &http.Client{
			Transport: transport,
			// The API does not redirect, and the key must not follow one.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		timing: cfg.Timing,
	}, nil
}

func (c *client) close() { c.http.CloseIdleConnections() }

// call is one request to the API.
type call struct {
	method string
	path   string // below the base, already escaped
	query  url.Values
	body   any // nil is none
}

// read sends a call that changes nothing, and tries again while that may help.
func (c *client) read(ctx context.Context, what call, into any) error {
	return c.retry(ctx, func(f *failure) bool { return f.transient() }, func() error {
		return c.once(ctx, what, into, c.timing.Read)
	})
}

// act sends a call that changes something. It is tried again only when it
// certainly was not carried out; whether to repeat it otherwise is known only
// to a caller that has looked at the instance.
func (c *client) act(ctx context.Context, what call, into any) error {
	return c.retry(ctx, func(f *failure) bool { return f.transient() && f.unsent }, func() error {
		return c.once(ctx, what, into, c.timing.Act)
	})
}

// insist sends a call that sets something to a value, so that doing it twice
// is doing it once.
func (c *client) insist(ctx context.Context, what call, into any) error {
	return c.retry(ctx, func(f *failure) bool { return f.transient() }, func() error {
		return c.once(ctx, what, into, c.timing.Act)
	})
}

func (c *client) retry(ctx context.Context, again func(*failure) bool, attempt func() error) error {
	pace := newPace(c.timing.Retry, c.timing.RetryMax)
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := attempt()
		if f, ok := asFailure(err); ok && again(f) {
			pace.heed(err)
			return struct{}{}, err
		}
		if err != nil {
			return struct{}{}, backoff.Permanent(err)
		}
		return struct{}{}, nil
	}, backoff.WithBackOff(pace), backoff.WithMaxTries(maxTries), backoff.WithMaxElapsedTime(0))
	if ctx.Err() != nil && err != nil {
		return ctx.Err() // not its cause: the contract promises this one
	}
	return err
}

// once sends a call a single time and decodes the answer into into, unless
// that is nil.
func (c *client) once(ctx context.Context, what call, into any, limit time.Duration) error {
	attempt, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	req, err := c.request(attempt, what)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return unanswered(ctx, err, limit)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	// First of all, lest a piece of the key is left where a text is cut off.
	body = bytes.ReplaceAll(body, []byte(c.key()), []byte(redacted))
	switch {
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return refusal(resp.StatusCode, resp.Header, body, time.Now())
	case err != nil:
		return unanswered(ctx, err, limit)
	case len(body) > maxAnswer:
		return garbage("more than %d bytes", maxAnswer)
	case into == nil:
		return nil
	}
	if err := json.Unmarshal(body, into); err != nil {
		return garbage("%s", plain(err.Error()))
	}
	return nil
}

func (c *client) request(ctx context.Context, what call) (*http.Request, error) {
	u := c.base.JoinPath(what.path)
	u.RawQuery = what.query.Encode()
	var body io.Reader
	if what.body != nil {
		text, err := json.Marshal(what.body)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, what.method, u.String(), body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.key())
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}
