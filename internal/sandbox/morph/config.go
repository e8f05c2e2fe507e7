package morph

import (
	"crypto/x509"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"cmux.sh/edge/internal/sandbox"
)

// The values of [Config]'s fields that are left empty.
const (
	DefaultURL        = "https://cloud.morph.so"
	DefaultHTTPSuffix = "http.cloud.morph.so"
	DefaultMark       = "cmux-edge"
	DefaultMinTTL     = 10 * time.Minute
)

// Config says which account to use and how. Its zero value lacks only APIKey.
type Config struct {
	// URL is the API's base, with or without /api; empty is [DefaultURL].
	// Plain http is accepted for a loopback address only.
	URL string
	// APIKey gives the account's key, at each call. It is a function so that
	// nothing which prints a Config can print the key.
	APIKey func() string
	// RootCAs verify the API's certificate; nil is the system's.
	RootCAs *x509.CertPool
	// HTTPSuffix is the domain below which service URLs are accepted, with a
	// port when it is not 443; empty is [DefaultHTTPSuffix].
	HTTPSuffix string
	// DisableWakeOnHTTP turns off, on instances that the edge made, that any
	// request to a service URL wakes them: the edge then decides alone.
	DisableWakeOnHTTP bool
	// Snapshots names the snapshot for each preset; "default" is the preset of
	// a request without one.
	Snapshots map[string]string
	// Metadata is stored with each instance that Start makes, besides the
	// edge's own keys, which win.
	Metadata map[string]string
	// Mark is the metadata value that says "made by the edge"; empty is
	// [DefaultMark].
	Mark string
	// MinTTL is what an instance with a time to live has at least left after
	// a resume: the API may not restart it. 0 is [DefaultMinTTL]; it should
	// not be less than the time after which the edge itself suspends.
	MinTTL time.Duration
	// Timing bounds calls and waits; zero fields have defaults.
	Timing Timing
}

// Timing bounds calls and waits. Zero fields take the values named here.
type Timing struct {
	// Read is the longest that one attempt at reading may take: 10 s.
	Read time.Duration
	// Act is the same for calls that do something: 60 s, because a start takes
	// 10 to 20.
	Act time.Duration
	// Retry is the wait before the first retry: 500 ms; it doubles up to
	// RetryMax: 10 s. A longer Retry-After ends the retries at once, so that
	// the caller hears of it while it can still choose another provider.
	Retry, RetryMax time.Duration
	// Poll is the wait before the second look at an instance that changes its
	// state: 250 ms; it grows up to PollMax: 2 s.
	Poll, PollMax time.Duration
	// Grace is how long Start goes on cleaning up after its context ended: 2 s.
	Grace time.Duration
}

func (t Timing) withDefaults() Timing {
	for _, f := range []struct {
		d    *time.Duration
		zero time.Duration
	}{
		{&t.Read, 10 * time.Second},
		{&t.Act, time.Minute},
		{&t.Retry, 500 * time.Millisecond},
		{&t.RetryMax, 10 * time.Second},
		{&t.Poll, 250 * time.Millisecond},
		{&t.PollMax, 2 * time.Second},
		{&t.Grace, 2 * time.Second},
	} {
		if *f.d <= 0 {
			*f.d = f.zero
		}
	}
	return t
}

func (c Config) withDefaults() Config {
	if c.URL == "" {
		c.URL = DefaultURL
	}
	if c.HTTPSuffix == "" {
		c.HTTPSuffix = DefaultHTTPSuffix
	}
	if c.Mark == "" {
		c.Mark = DefaultMark
	}
	if c.MinTTL <= 0 {
		c.MinTTL = DefaultMinTTL
	}
	c.Timing = c.Timing.withDefaults()
	return c
}

// base is the URL below which the endpoints lie.
func (c Config) base() (*url.URL, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		// The text of a faulty URL may hold credentials and is left out.
		return nil, sandbox.Errorf(sandbox.KindInvalid, "configure", Name, "providers.morph.url is not an absolute URL without credentials and query")
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return nil, sandbox.Errorf(sandbox.KindInvalid, "configure", Name, "providers.morph.url must be https: the key is sent to it")
	}
	u.Path = strings.TrimRight(u.Path, "/")
	if !strings.HasSuffix(u.Path, "/api") {
		u.Path += "/api"
	}
	u.RawPath = ""
	return u, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// suffix is what accepted service URLs lie below.
func (c Config) suffix() (suffix, error) {
	host, port := strings.ToLower(c.HTTPSuffix), ""
	if h, p, err := net.SplitHostPort(host); err == nil {
		host, port = h, p
	}
	host = strings.TrimPrefix(host, ".")
	if !isHostName(host) || !strings.Contains(host, ".") || port != "" && !isPort(port) {
		return suffix{}, sandbox.Errorf(sandbox.KindInvalid, "configure", Name, "providers.morph.http_suffix %q is not a domain name", c.HTTPSuffix)
	}
	if port == "443" {
		port = ""
	}
	return suffix{domain: host, port: port}, nil
}
