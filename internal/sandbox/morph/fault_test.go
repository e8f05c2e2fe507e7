package morph

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/morph/morphsim"
)

func TestFaultsHaveTheirKind(t *testing.T) {
	t.Parallel()
	const page = "<html><body>502 Bad Gateway</body></html>"
	for name, tc := range map[string]struct {
		fault morphsim.Fault
		want  sandbox.Kind
		say   string
	}{
		"BadRequest":     {morphsim.Fault{Status: 400, Body: `{"error":"no"}`}, sandbox.KindInvalid, "no"},
		"Unauthorized":   {morphsim.Fault{Status: 401, Body: `{"detail":"Invalid API key"}`}, sandbox.KindPermission, "the key is refused"},
		"Forbidden":      {morphsim.Fault{Status: 403, Body: ``}, sandbox.KindPermission, "the key is refused"},
		"Billing":        {morphsim.Fault{Status: 402, Body: `{"message":"Insufficient credits"}`}, sandbox.KindQuota, "billing or quota does not allow it: Insufficient credits"},
		"NotFound":       {morphsim.Fault{Status: 404, Body: `{"detail":"Instance not found"}`}, sandbox.KindNotFound, "Instance not found"},
		"NotFoundEmpty":  {morphsim.Fault{Status: 404}, sandbox.KindNotFound, "404"},
		"NotFoundPage":   {morphsim.Fault{Status: 404, Body: page, ContentType: "text/html"}, sandbox.KindUnavailable, "HTML"},
		"Conflict":       {morphsim.Fault{Status: 409, Body: `{"detail":"saving"}`}, sandbox.KindBusy, "saving"},
		"Precondition":   {morphsim.Fault{Status: 412, Body: `{"error":{"message":"not yet"}}`}, sandbox.KindBusy, "not yet"},
		"Unprocessable":  {morphsim.Fault{Status: 422, Body: `{"detail":[{"loc":["query",0],"msg":"bad","type":"x","input":"a secret"}]}`}, sandbox.KindInvalid, "query.0: bad"},
		"TooMany":        {morphsim.Fault{Status: 429, Body: `{"detail":"slow down"}`}, sandbox.KindUnavailable, "slow down"},
		"TooManyForLong": {morphsim.Fault{Status: 429, RetryAfter: "3600"}, sandbox.KindUnavailable, "429"},
		"InternalPage":   {morphsim.Fault{Status: 500, Body: page, ContentType: "text/html; charset=utf-8"}, sandbox.KindUnavailable, "an HTML page"},
		"BadGateway":     {morphsim.Fault{Status: 502}, sandbox.KindUnavailable, "502"},
		"Redirect":       {morphsim.Fault{Status: 302, Body: `{}`}, sandbox.KindUnavailable, "302"},
		"NoJSON":         {morphsim.Fault{Body: "hello"}, sandbox.KindUnavailable, "unreadable"},
		"EmptyObject":    {morphsim.Fault{Body: "{}"}, sandbox.KindUnavailable, "unreadable"},
		"AnotherObject":  {morphsim.Fault{Body: `{"object":"snapshot","id":"morphvm_a"}`}, sandbox.KindUnavailable, "unreadable"},
		"AnotherID":      {morphsim.Fault{Body: `{"id":"morphvm_other","status":"ready","metadata":{"app":"cmux"}}`}, sandbox.KindUnavailable, "another instance"},
		"OddServices":    {morphsim.Fault{Body: `{"id":"morphvm_a","networking":{"http_services":7}}`}, sandbox.KindUnavailable, "unreadable"},
		"Cut":            {morphsim.Fault{CutBefore: true}, sandbox.KindUnavailable, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, morphsim.Config{}, nil)
			id := r.add(t, morphsim.Instance{ID: "morphvm_a"})
			r.sim.Inject(tc.fault)
			_, err := r.Get(t.Context(), id)
			wantKind(t, err, tc.want)
			if err != nil && !strings.Contains(err.Error(), tc.say) {
				t.Errorf("%q does not say %q", err, tc.say)
			}
			if err != nil && strings.Contains(err.Error(), "a secret") {
				t.Errorf("%q repeats the input", err)
			}
			if got := r.Health(t.Context()); got.OK || got.Reason == "" {
				t.Errorf("Health: got %+v, want not OK and a reason", got)
			}
		})
	}
}

func TestAnAbsentAPIIsUnavailable(t *testing.T) {
	t.Parallel()
	r := newRig(t, morphsim.Config{}, nil)
	if err := r.sim.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := r.List(t.Context())
	wantKind(t, err, sandbox.KindUnavailable)
	_, err = r.Start(t.Context(), sandbox.StartRequest{Slug: "a"})
	wantKind(t, err, sandbox.KindUnavailable)
	wantKind(t, r.Delete(t.Context(), "morphvm_a"), sandbox.KindUnavailable)
}

func TestASilentAPIEndsWithTheAttemptsOwnLimit(t *testing.T) {
	t.Parallel()
	r := newRig(t, morphsim.Config{}, func(c *Config) { c.Timing.Read = 20 * time.Millisecond })
	r.sim.Inject(morphsim.Fault{Delay: time.Minute})
	_, err := r.Get(t.Context(), "morphvm_a")
	wantKind(t, err, sandbox.KindUnavailable)
	if errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v pretends that the caller's deadline passed", err)
	}
}

func TestAReadIsTriedAgain(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]morphsim.Fault{
		"AfterAServerError": {Status: 503, Body: `{"detail":"busy"}`},
		"AfterGarbage":      {Body: "}"},
		"AfterACut":         {CutBefore: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, morphsim.Config{}, nil)
			id := r.add(t, morphsim.Instance{})
			fault.Times = maxTries - 1
			r.sim.Inject(fault)
			if _, err := r.Get(t.Context(), id); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	t.Parallel()
	r := newRig(t, morphsim.Config{}, nil)
	id := r.add(t, morphsim.Instance{})
	r.sim.Inject(morphsim.Fault{Endpoint: "GET /instance/{id}", Status: 429, RetryAfter: "1", Times: 1})
	begun := time.Now()
	if _, err := r.Get(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took < time.Second {
		t.Errorf("tried again after %s, want 1s", took)
	}
}

func TestACreateThatWasRateLimitedIsSentAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, morphsim.Config{}, nil)
	r.sim.Inject(morphsim.Fault{Endpoint: "POST /instance", Status: 429, Times: 2})
	r.start(t, "a")
	if got := len(r.sim.Instances()); got != 1 {
		t.Errorf("%d instances, want 1", got)
	}
}

func TestALostAnswerOfACreateIsLookedUp(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]morphsim.Fault{
		"Cut":         {CutAfter: true},
		"ServerError": {Status: 504, After: true},
		"Garbage":     {Body: "<>", After: true},
		"NeverSent":   {CutBefore: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, morphsim.Config{}, nil)
			fault.Endpoint, fault.Times = "POST /instance", 1
			r.sim.Inject(fault)
			in := r.start(t, "a")
			all := r.sim.Instances()
			if len(all) != 1 || all[0].ID != string(in.ID) {
				t.Errorf("got %s of %+v, want the only one", in.ID, all)
			}
		})
	}
}

func TestALostCreateThatCannotBeLookedUpIsNotRepeated(t *testing.T) {
	t.Parallel()
	r := newRig(t, morphsim.Config{}, nil)
	r.sim.Inject(morphsim.Fault{Endpoint: "POST /instance", CutAfter: true})
	// The first list looks for the slug; those after the create fail.
	r.sim.Inject(morphsim.Fault{Endpoint: "GET /instance", Delay: time.Millisecond, Times: 1})
	r.sim.Inject(morphsim.Fault{Endpoint: "GET /instance", Status: 500})
	_, err := r.Start(t.Context(), sandbox.StartRequest{Slug: "a"})
	wantKind(t, err, sandbox.KindUnavailable)
	if got := r.sim.Calls()["POST /instance"]; got != 1 {
		t.Errorf("%d creates were sent, want 1", got)
	}
}

func TestALostActionIsDecidedByTheNextLook(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]morphsim.Fault{
		"CutAfter":    {CutAfter: true},
		"CutBefore":   {CutBefore: true},
		"ServerError": {Status: 500, After: true},
		"Conflict":    {Status: 409, Body: `{"detail":"busy"}`},
		"Garbage":     {Body: `{}`, After: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, morphsim.Config{}, nil)
			id := r.add(t, morphsim.Instance{})
			for _, op := range []string{"pause", "resume"} {
				fault.Endpoint, fault.Times = "POST /instance/{id}/"+op, 1
				r.sim.Inject(fault)
			}
			if err := r.Pause(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			if in, _ := r.sim.Get(string(id)); in.Status != morphsim.Paused {
				t.Errorf("it is %s", in.Status)
			}
			in, err := r.Resume(t.Context(), id)
			if err != nil || in.State != sandbox.Running {
				t.Errorf("got %+v, %v, want it running", in, err)
			}
		})
	}
}

func TestAnActionThatNeverWorksIsNotRepeatedForEver(t *testing.T) {
	t.Parallel()
	r := newRig(t, morphsim.Config{}, nil)
	id := r.add(t, morphsim.Instance{Status: morphsim.Paused})
	r.sim.Inject(morphsim.Fault{Endpoint: "POST /instance/{id}/resume", Status: 500, Body: `{"detail":"no host"}`})
	_, err := r.Resume(t.Context(), id)
	wantKind(t, err, sandbox.KindUnavailable)
	if got := r.sim.Calls()["POST /instance/{id}/resume"]; got != maxActs {
		t.Errorf("asked %d times, want %d", got, maxActs)
	}
}

func TestNoMoneyIsQuota(t *testing.T) {
	t.Parallel()
	r := newRig(t, morphsim.Config{}, nil)
	id := r.add(t, morphsim.Instance{Status: morphsim.Paused})
	for _, endpoint := range []string{"POST /instance", "POST /instance/{id}/resume"} {
		r.sim.Inject(morphsim.Fault{Endpoint: endpoint, Status: http.StatusPaymentRequired, Body: `{"detail":"Add credits"}`})
	}
	_, err := r.Resume(t.Context(), id)
	wantKind(t, err, sandbox.KindQuota)
	_, err = r.Start(t.Context(), sandbox.StartRequest{Slug: "a"})
	wantKind(t, err, sandbox.KindQuota)
}

func TestAStartThatFailsHalfWayLeavesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, morphsim.Config{Latency: morphsim.Latency{Create: time.Minute}}, nil)
	fail := make(chan error, 1)
	go func() {
		_, err := r.Start(t.Context(), sandbox.StartRequest{Slug: "a"})
		fail <- err
	}()
	waitFor(t, func() bool { return len(r.sim.Instances()) == 1 })
	r.sim.Edit(r.sim.Instances()[0].ID, func(in *morphsim.Instance) { in.Status = morphsim.Failed })
	wantKind(t, <-fail, sandbox.KindInvalid)
	if got := r.sim.Instances(); len(got) != 0 {
		t.Errorf("left: %+v", got)
	}
}

func TestWhatCannotBeDeletedIsNamed(t *testing.T) {
	t.Parallel()
	r := newRig(t, morphsim.Config{Latency: morphsim.Latency{Create: time.Minute}}, func(c *Config) { c.Timing.Grace = 30 * time.Millisecond })
	r.sim.Inject(morphsim.Fault{Endpoint: "DELETE /instance/{id}", Status: 403})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := r.Start(ctx, sandbox.StartRequest{Slug: "a"})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v does not wrap the context's error", err)
	}
	left, ok := errors.AsType[*sandbox.Leftover](err)
	if !ok {
		t.Fatalf("%v names no leftover", err)
	}
	if _, there := r.sim.Get(string(left.ID)); !there {
		t.Errorf("there is no %s", left.ID)
	}
}

func TestAnAbandonedCreateIsDeletedWhenItsAnswerComes(t *testing.T) {
	t.Parallel()
	r := newRig(t, morphsim.Config{}, func(c *Config) { c.Timing.Grace = time.Millisecond })
	r.sim.Inject(morphsim.Fault{Endpoint: "POST /instance", Delay: 200 * time.Millisecond, Times: 1})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := r.Start(ctx, sandbox.StartRequest{Slug: "a", Key: "k"})
	wantKind(t, err, sandbox.KindUnavailable)
	waitFor(t, func() bool { return r.sim.Calls()["DELETE /instance/{id}"] == 1 })
	waitFor(t, func() bool { return len(r.sim.Instances()) == 0 })
	// The next start with the key waits for that, and makes a new one.
	in, err := r.Start(t.Context(), sandbox.StartRequest{Slug: "a", Key: "k"})
	if err != nil || in.State != sandbox.Running {
		t.Errorf("got %+v, %v", in, err)
	}
}

func TestTheKeyIsNeverShown(t *testing.T) {
	t.Parallel()
	const key = "morph_sk_do_not_show_me"
	r := newRig(t, morphsim.Config{Key: key}, func(c *Config) { c.APIKey = func() string { return key } })
	id := r.add(t, morphsim.Instance{})
	var shown []string
	for _, fault := range []morphsim.Fault{
		{Status: 401, Body: `{"detail":"bad key ` + key + `"}`},
		{Status: 500, Body: strings.Repeat("x", maxDetail-10) + key},
		{Status: 422, Body: `{"detail":[{"loc":["header"],"msg":"` + key + `"}]}`},
		{Body: `"` + key + `"`},
		{Body: `{"id":"morphvm_a","object":"` + key + `"}`},
		{CutBefore: true},
	} {
		remove := r.sim.Inject(fault)
		_, err := r.Get(t.Context(), id)
		_, startErr := r.Start(t.Context(), sandbox.StartRequest{Slug: "a"})
		shown = append(shown, fmt.Sprintf("%v %+v %#v %v %+v %s", err, err, errors.Unwrap(err), startErr, startErr, r.Health(t.Context()).Reason))
		remove()
	}
	shown = append(shown, fmt.Sprintf("%+v", r.Provider), fmt.Sprintf("%+v %#v", r.cfg, r.cfg), fmt.Sprintf("%+v", *r.api), r.log.String())
	slog.New(slog.NewTextHandler(r.log, nil)).Info("dump", slog.Any("provider", r.Provider), slog.Any("config", r.cfg))
	shown = append(shown, r.log.String())
	for _, text := range shown {
		if strings.Contains(text, key) || strings.Contains(text, key[:12]) {
			t.Errorf("the key is in %s", text)
		}
	}
}

// waitFor waits until a condition that other goroutines bring about holds.
func waitFor(t *testing.T, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(5 * time.Second)
	defer deadline.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatal("it never came to that")
		}
	}
}
