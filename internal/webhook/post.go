package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	neturl "net/url"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// answer is what came of an attempt. Its error holds nothing that came from the
// receiver or that is secret.
type answer struct {
	status     int // 0: none
	retryAfter time.Duration
	err        error
}

const (
	// maxRetryAfter bounds what a receiver may ask for.
	maxRetryAfter = time.Hour
	// maxAnswer is how much of an answer is read so that its connection can be
	// used again.
	maxAnswer = 64 << 10
)

// post makes one attempt. It uses the transport without a client: that would
// look at Location, and put the URL into its errors.
func (s *Sender) post(ctx context.Context, url string, m Message) answer {
	secret, err := ParseSecret(s.config.Secret())
	if err != nil {
		return answer{err: err}
	}
	body, err := m.Body()
	if err != nil {
		return answer{err: fmt.Errorf("encode: %w", err)}
	}
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil || req.URL.Host == "" || (req.URL.Scheme != "http" && req.URL.Scheme != "https") {
		return answer{err: errors.New("the webhook's URL is not an http or https one")}
	}
	now := time.Now()
	id := m.Key()
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "cmux-edge")
	// Lower case as the specification writes them; HTTP does not care.
	req.Header.Set("webhook-id", id)
	req.Header.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
	req.Header.Set("webhook-signature", secret.Sign(id, now, body))
	if user := req.URL.User; user != nil {
		password, _ := user.Password()
		req.SetBasicAuth(user.Username(), password)
	}
	res, err := s.config.Transport.RoundTrip(req)
	if err != nil {
		return answer{err: plain(ctx, err)}
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxAnswer))
	if res.StatusCode >= 200 && res.StatusCode < 300 {
		return answer{status: res.StatusCode}
	}
	return answer{
		status:     res.StatusCode,
		retryAfter: retryAfter(res.Header.Get("Retry-After"), now),
		err:        fmt.Errorf("the receiver answered %d", res.StatusCode),
	}
}

// plain is an error of a transport without anything that the receiver may have
// put into it: a malformed answer is quoted in its error, and may quote the query.
func plain(ctx context.Context, err error) error {
	var (
		op   *net.OpError
		name *net.DNSError
		cert *tls.CertificateVerificationError
	)
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return errors.New("no answer in time")
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &name):
		return errors.New("the receiver's name does not resolve")
	case errors.As(err, &cert):
		return errors.New("the receiver's certificate is not valid")
	case errors.As(err, &op) && op.Op == "dial":
		return fmt.Errorf("dial: %w", op.Err)
	case errors.Is(err, io.EOF):
		return errors.New("the connection ended before the answer")
	}
	return errors.New("no valid answer")
}

// retryAfter reads seconds or a date (RFC 9110 section 10.2.3).
func retryAfter(value string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(value, 10, 63); err == nil {
		return time.Duration(min(n, uint64(maxRetryAfter/time.Second))) * time.Second
	} else if errors.Is(err, strconv.ErrRange) {
		return maxRetryAfter
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}

// pause is how long to rest after so many attempts before.
func pause(least, most time.Duration, attempts int) time.Duration {
	interval := most
	if attempts < 32 && least < most>>attempts {
		interval = least << attempts
	}
	b := backoff.ExponentialBackOff{InitialInterval: interval, MaxInterval: interval, Multiplier: 1, RandomizationFactor: .5}
	return b.NextBackOff()
}

// host is what of a URL may be logged.
func host(url string) string {
	u, err := neturl.Parse(url)
	if err != nil {
		return ""
	}
	return u.Host
}
