package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// independent computes a signature from the words of the specification.
func independent(t *testing.T, secret string, s seen) string {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", s.header.Get("webhook-id"), s.header.Get("webhook-timestamp"), s.body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func TestDeliversSigned(t *testing.T) {
	t.Parallel()
	to := &receiver{}
	r := newRig(t, Config{URL: text(serve(t, to) + "/hook?key=q"), Secret: text(testSecret + "\n" + otherSecret)}, nil)
	r.run(t)
	m := msg(Resumed, "a", 7)
	r.Enqueue(t.Context(), m)
	eventually(t, "delivered", func() bool { return r.count(delivered) == 1 })
	got := to.all()[0]
	body, _ := m.normal(m.Time).Body()
	if diff := cmp.Diff(string(body), got.body); diff != "" {
		t.Error(diff)
	}
	want := independent(t, testSecret, got) + " " + independent(t, otherSecret, got)
	if diff := cmp.Diff(want, got.header.Get("webhook-signature")); diff != "" {
		t.Error(diff)
	}
	at, err := strconv.ParseInt(got.header.Get("webhook-timestamp"), 10, 64)
	if err != nil || time.Since(time.Unix(at, 0)).Abs() > time.Minute {
		t.Errorf("timestamp %d, %v", at, err)
	}
	if got.header.Get("webhook-id") != m.Key() || got.header.Get("Content-Type") != "application/json" {
		t.Errorf("header %v", got.header)
	}
	eventually(t, "an empty queue", func() bool { return testutil.ToFloat64(r.metrics.queue) == 0 })
}

func TestRepeatsUntilAccepted(t *testing.T) {
	t.Parallel()
	for _, code := range []int{304, 400, 404, 429, 500, 503} {
		t.Run(strconv.Itoa(code), func(t *testing.T) {
			t.Parallel()
			to := &receiver{answer: firstly(3, code)}
			r := newRig(t, Config{URL: text(serve(t, to)), MinBackoff: time.Millisecond}, nil)
			r.run(t)
			r.Enqueue(t.Context(), msg(Paused, "a", 1))
			eventually(t, "delivered", func() bool { return r.count(delivered) == 1 })
			got := to.all()
			if len(got) != 4 || r.count(failed) != 3 {
				t.Fatalf("%d requests, %d failed", len(got), r.count(failed))
			}
			for _, one := range got[1:] {
				if one.body != got[0].body || one.header.Get("webhook-id") != got[0].header.Get("webhook-id") {
					t.Error("a repetition differs")
				}
			}
		})
	}
}

// The receiver takes the message, but its answer is lost on the way.
func TestLostAnswerIsRepeatedWithTheSameID(t *testing.T) {
	t.Parallel()
	to := &receiver{answer: func(n int, w http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			panic(http.ErrAbortHandler)
		}
	}}
	r := newRig(t, Config{URL: text(serve(t, to)), MinBackoff: time.Millisecond}, nil)
	r.run(t)
	r.Enqueue(t.Context(), msg(Deleted, "a", 1))
	eventually(t, "delivered", func() bool { return r.count(delivered) == 1 })
	if got := to.all(); len(got) != 2 || got[0].header.Get("webhook-id") != got[1].header.Get("webhook-id") {
		t.Errorf("got %s", ids(got))
	}
}

func TestDoesNotFollowRedirects(t *testing.T) {
	t.Parallel()
	other := &receiver{}
	elsewhere := serve(t, other)
	to := &receiver{answer: func(_ int, w http.ResponseWriter, req *http.Request) {
		http.Redirect(w, req, elsewhere, http.StatusTemporaryRedirect)
	}}
	r := newRig(t, Config{URL: text(serve(t, to)), MinBackoff: time.Millisecond}, nil)
	r.run(t)
	r.Enqueue(t.Context(), msg(Started, "a", 1))
	eventually(t, "two failures", func() bool { return r.count(failed) >= 2 })
	if len(other.all()) > 0 {
		t.Error("it followed")
	}
}

func TestKeepsOrderPerSandboxAndOthersMoving(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var busy, most atomic.Int64
		var fails atomic.Int64
		to := &receiver{}
		to.answer = func(n int, w http.ResponseWriter, r *http.Request) {
			most.Store(max(most.Load(), busy.Add(1)))
			time.Sleep(time.Duration(n%7) * 10 * time.Millisecond)
			busy.Add(-1)
			if n%3 == 0 {
				fails.Add(1)
				w.WriteHeader(500)
			}
		}
		r := newRig(t, Config{URL: text("http://hook.test"), Transport: to, Parallel: 3}, nil)
		r.run(t)
		want := map[string]int{}
		for g := range 30 {
			for s := range 5 {
				slug := "s" + strconv.Itoa(s)
				r.Enqueue(t.Context(), msg(Started, slug, uint64(g+1)))
				want[slug] = g + 1
			}
		}
		time.Sleep(time.Hour)
		if got := r.count(delivered); got != 150 || r.count(failed) != int(fails.Load()) {
			t.Fatalf("%d delivered, %d failed", got, r.count(failed))
		}
		if most.Load() != 3 {
			t.Errorf("%d at once, want 3", most.Load())
		}
		last := map[string]int{}
		for _, one := range to.all() {
			slug, g := slugAndGeneration(t, one.body)
			if g != last[slug] && g != last[slug]+1 {
				t.Errorf("%s: %d after %d", slug, g, last[slug])
			}
			last[slug] = g
		}
		if diff := cmp.Diff(want, last); diff != "" {
			t.Error(diff)
		}
	})
}

func slugAndGeneration(t *testing.T, body string) (slug string, generation int) {
	t.Helper()
	_, after, _ := strings.Cut(body, `"slug":"`)
	slug, _, _ = strings.Cut(after, `"`)
	_, after, _ = strings.Cut(body, `"generation":`)
	after, _, _ = strings.Cut(after, ",")
	generation, err := strconv.Atoi(after)
	if err != nil {
		t.Fatal(err)
	}
	return slug, generation
}

func TestBacksOffToMinutes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		to := &receiver{answer: status(500)}
		r := newRig(t, Config{URL: text("http://hook.test"), Transport: to}, nil)
		r.run(t)
		r.Enqueue(t.Context(), msg(Started, "a", 1))
		time.Sleep(3 * time.Hour)
		got := to.all()
		for i := range got[1:] {
			gap := got[i+1].at.Sub(got[i].at)
			want := 5 * time.Minute
			if i < 9 {
				want = min(want, time.Second<<i)
			}
			if gap < want/2 || gap > want*3/2+time.Millisecond {
				t.Errorf("gap %d is %v, want about %v", i, gap, want)
			}
		}
		if len(got) < 30 || len(got) > 90 {
			t.Errorf("%d attempts", len(got))
		}
		if n := strings.Count(r.log.String(), "webhook not delivered"); n > len(got) || n == 0 {
			t.Errorf("%d lines", n)
		}
	})
}

func TestRetryAfterHoldsEverythingBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		code  int
		value func() string
		both  bool // the other sandbox waits too
		want  time.Duration
	}{
		"429, seconds":      {429, text("120"), true, 2 * time.Minute},
		"503, a date":       {503, func() string { return time.Now().Add(2 * time.Minute).UTC().Format(http.TimeFormat) }, true, 2 * time.Minute},
		"500, seconds":      {500, text("120"), false, 2 * time.Minute},
		"more than an hour": {503, text("99999999999999999999999"), true, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				to := &receiver{}
				to.answer = firstly(1, c.code, "Retry-After", c.value())
				r := newRig(t, Config{URL: text("http://hook.test"), Transport: to}, nil)
				r.run(t)
				r.Enqueue(t.Context(), msg(Started, "a", 1))
				synctest.Wait()
				r.Enqueue(t.Context(), msg(Started, "b", 1))
				time.Sleep(2 * time.Hour)
				got := to.all()
				if len(got) != 3 {
					t.Fatalf("%d requests", len(got))
				}
				start := got[0].at
				second, third := got[1].at.Sub(start), got[2].at.Sub(start)
				if third < c.want || third > c.want+time.Second {
					t.Errorf("again after %v, want %v", third, c.want)
				}
				if held := second >= c.want; held != c.both {
					t.Errorf("the other was sent after %v", second)
				}
			})
		})
	}
}

func TestRetryAfterValues(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Duration{
		"": 0, "-1": 0, "soon": 0, "0": 0, "7": 7 * time.Second, "3601": time.Hour,
		"Sat, 01 Aug 2026 00:01:00 GMT": time.Minute,
		"Fri, 31 Jul 2026 00:01:00 GMT": 0,
	} {
		if got := retryAfter(in, now); got != want {
			t.Errorf("%q: got %v, want %v", in, got, want)
		}
	}
}

func TestGoneDisablesUntilTheURLChanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		to := &receiver{answer: func(n int, w http.ResponseWriter, _ *http.Request) {
			switch {
			case n < 8: // so that a rest would be long
				w.WriteHeader(http.StatusInternalServerError)
			case n == 8:
				w.WriteHeader(http.StatusGone)
			}
		}}
		var url atomic.Value
		url.Store("http://hook.test/?old")
		r := newRig(t, Config{URL: func() string { return url.Load().(string) }, Transport: to}, nil)
		r.run(t)
		r.Enqueue(t.Context(), msg(Started, "a", 1))
		for !r.Disabled() {
			time.Sleep(time.Second)
		}
		r.Enqueue(t.Context(), msg(Started, "b", 1))
		time.Sleep(time.Second)
		if len(to.all()) != 8 || !r.Disabled() || r.count(gone) != 1 {
			t.Fatalf("%d requests, disabled %t", len(to.all()), r.Disabled())
		}
		url.Store("http://hook.test/?new")
		time.Sleep(10 * time.Second)
		if r.count(delivered) != 2 || r.Disabled() {
			t.Errorf("%d delivered", r.count(delivered))
		}
	})
}

func TestGivesUpWhatIsTooOld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		to := &receiver{answer: status(400)}
		r := newRig(t, Config{URL: text("http://hook.test"), Transport: to, MaxAge: time.Hour}, nil)
		r.run(t)
		r.Enqueue(t.Context(), msg(Started, "a", 1))
		time.Sleep(2 * time.Hour)
		if n, _ := r.queue.Len(t.Context()); n != 0 || r.count(expired) != 1 || !strings.Contains(r.log.String(), "given up") {
			t.Errorf("%d queued, %d expired", n, r.count(expired))
		}
	})
}

func TestWithoutURLNothingIsKept(t *testing.T) {
	t.Parallel()
	r := newRig(t, Config{}, nil)
	r.run(t)
	r.Enqueue(t.Context(), msg(Started, "a", 1))
	if n, _ := r.intake.Len(t.Context()); n != 0 || r.Disabled() {
		t.Errorf("%d kept", n)
	}
}

func TestEnqueueCountsWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		to := &receiver{answer: status(500)}
		r := newRig(t, Config{URL: text("http://hook.test"), Transport: to}, NewMemory(10))
		r.run(t)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		for i := range 50 {
			r.Enqueue(ended, msg(Started, "s"+strconv.Itoa(i), 1))
		}
		time.Sleep(time.Second / 10)
		if got := r.count(dropped); got != 40 || testutil.ToFloat64(r.metrics.queue) != 10 {
			t.Errorf("%d dropped, %v queued", got, testutil.ToFloat64(r.metrics.queue))
		}
		if n := strings.Count(r.log.String(), "webhook queue full"); n != 1 {
			t.Errorf("%d lines for 40 drops at once", n)
		}
	})
}

// slowQueue is a store that is away.
type slowQueue struct {
	*Memory
	away atomic.Bool
}

func (q *slowQueue) Put(ctx context.Context, m Message) ([]Message, error) {
	if q.away.Load() {
		<-ctx.Done()
		return nil, errors.New("redis is away")
	}
	return q.Memory.Put(ctx, m)
}

func (q *slowQueue) Lease(ctx context.Context, d time.Duration) (*Lease, time.Duration, error) {
	if q.away.Load() {
		<-ctx.Done()
		return nil, 0, errors.New("redis is away")
	}
	return q.Memory.Lease(ctx, d)
}

func TestEnqueueNeverWaitsForTheQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		to := &receiver{}
		q := &slowQueue{Memory: NewMemory(0)}
		q.away.Store(true)
		r := newRig(t, Config{URL: text("http://hook.test"), Transport: to}, q)
		stop := r.run(t)
		start := time.Now()
		for g := range 100 {
			r.Enqueue(t.Context(), msg(Started, "a", uint64(g+1)))
			synctest.Wait()
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("it took %v", took)
		}
		time.Sleep(time.Minute)
		q.away.Store(false)
		time.Sleep(time.Minute)
		got := to.all()
		for i, one := range got {
			if _, g := slugAndGeneration(t, one.body); g != i+1 {
				t.Errorf("number %d is %d", i+1, g)
			}
		}
		if len(got) != 100 {
			t.Errorf("%d delivered", len(got))
		}
		q.away.Store(true)
		r.Enqueue(t.Context(), msg(Paused, "a", 101))
		synctest.Wait()
		start = time.Now()
		stop()
		if took := time.Since(start); took > time.Second {
			t.Errorf("Run took %v to end", took)
		}
	})
}

func TestEndDeliversWhatIsDue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		to := &receiver{answer: func(int, http.ResponseWriter, *http.Request) { time.Sleep(50 * time.Millisecond) }}
		r := newRig(t, Config{URL: text("http://hook.test"), Transport: to, Parallel: 1}, nil)
		stop := r.run(t)
		for g := range 10 {
			r.Enqueue(t.Context(), msg(Started, "a", uint64(g+1)))
		}
		stop()
		if got := r.count(delivered); got != 10 {
			t.Errorf("%d delivered", got)
		}
	})
}

func TestEndIsWithinASecondAndKeepsTheRest(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	to := &receiver{answer: func(_ int, _ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}}
	url := serve(t, to)
	t.Cleanup(func() { close(release) })
	r := newRig(t, Config{URL: text(url)}, nil)
	stop := r.run(t)
	for i := range 10 {
		r.Enqueue(t.Context(), msg(Started, "s"+strconv.Itoa(i), 1))
	}
	eventually(t, "four under way", func() bool { return len(to.all()) == 4 })
	start := time.Now()
	stop()
	if took := time.Since(start); took > 1500*time.Millisecond {
		t.Errorf("Run took %v to end", took)
	}
	for i := range 10 {
		if l, _ := lease(t, r.queue); l == nil {
			t.Fatalf("only %d of 10 are due in the queue", i)
		}
	}
	if r.count(failed) != 0 {
		t.Error("what the edge ended counts as a failure of the receiver")
	}
}

func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	const query, password = "token=Qu3rySecret", "P4ssSecret"
	// A server that quotes what it was sent where errors quote it.
	quoting := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // else closing resets the connection
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "HTTP/1.1 %s %s\r\n\r\n", r.URL.RawQuery, r.Header.Get("Authorization"))
	}))
	refusing := serve(t, &receiver{answer: firstly(1<<30, 307, "Location", "http://%zz/?"+query)})
	ended := serve(t, &receiver{answer: status(410)})
	for name, c := range map[string]struct{ url, secret string }{
		"malformed answer": {quoting, testSecret},
		"bad location":     {refusing, testSecret},
		"gone":             {ended, testSecret},
		"nobody listens":   {"http://127.0.0.1:1", testSecret},
		"bad secret":       {ended, testSecret + "!"},
		"bad scheme":       {"ftp://hook.test", testSecret},
		"bad port":         {"http://hook.test:x", testSecret},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := strings.Replace(c.url, "://", "://user:"+password+"@", 1) + "/p4th?" + query
			r := newRig(t, Config{URL: text(url), Secret: text(c.secret), MinBackoff: time.Millisecond}, nil)
			r.run(t)
			r.Enqueue(t.Context(), msg(Started, "a", 1))
			eventually(t, "an attempt", func() bool {
				return r.count(failed)+r.count(gone) > 0 && strings.Contains(r.log.String(), "webhook")
			})
			families, err := r.reg.Gather()
			if err != nil {
				t.Fatal(err)
			}
			for _, where := range []string{r.log.String(), fmt.Sprint(families)} {
				for _, secret := range []string{"Qu3ry", "P4ss", "p4th", "MfKQ9r8G", "user:", "dXNlcjpQ"} {
					if strings.Contains(where, secret) {
						t.Errorf("%q is in %s", secret, where)
					}
				}
			}
		})
	}
}

func TestSendsTheURLsUser(t *testing.T) {
	t.Parallel()
	to := &receiver{}
	r := newRig(t, Config{URL: text(strings.Replace(serve(t, to), "://", "://u:p@", 1))}, nil)
	r.run(t)
	r.Enqueue(t.Context(), msg(Started, "a", 1))
	eventually(t, "delivered", func() bool { return r.count(delivered) == 1 })
	if got := to.all()[0].header.Get("Authorization"); got != "Basic dTpw" {
		t.Errorf("got %q", got)
	}
}

func TestErrorsOfTransportsArePlain(t *testing.T) {
	t.Parallel()
	for in, want := range map[error]string{
		&net.OpError{Op: "dial", Err: &net.DNSError{Name: "secret"}}:    "the receiver's name does not resolve",
		&net.OpError{Op: "dial", Err: errors.New("connection refused")}: "dial: connection refused",
		&tls.CertificateVerificationError{Err: errors.New("secret")}:    "the receiver's certificate is not valid",
		fmt.Errorf("read: %w", io.ErrUnexpectedEOF):                     "no valid answer",
		fmt.Errorf("read: %w", io.EOF):                                  "the connection ended before the answer",
		errors.New(`malformed HTTP response "secret"`):                  "no valid answer",
	} {
		if got := plain(t.Context(), in).Error(); got != want {
			t.Errorf("%v: got %q, want %q", in, got, want)
		}
	}
}
