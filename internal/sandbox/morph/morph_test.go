package morph

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cmux.sh/edge/internal/sandbox"
	"cmux.sh/edge/internal/sandbox/morph/morphsim"
)

func TestStartTellsTheAPIWhatTheInstanceIs(t *testing.T) {
	t.Parallel()
	r := newRig(t, morphsim.Config{WakeOnHTTP: true}, func(c *Config) {
		c.DisableWakeOnHTTP = true
		c.Metadata = map[string]string{"teamId": "t1", "app": "mine"}
	})
	in, err := r.Start(t.Context(), sandbox.StartRequest{Slug: "a", Key: "k", WorkloadType: "dev", TTL: 90*time.Minute + time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	got, _ := r.sim.Get(string(in.ID))
	want := morphsim.Instance{
		ID: string(in.ID), Status: morphsim.Ready, Snapshot: morphsim.Snapshot,
		Metadata: map[string]string{"app": "cmux", "edge_slug": "a", "edge_key": "k", "edge_mark": DefaultMark, "edge_workload": "dev", "teamId": "t1"},
		TTL:      5401, Action: "pause",
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(morphsim.Instance{}, "Created", "Expires", "Services")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStartWithoutASlugIsKnownByItsID(t *testing.T) {
	t.Parallel()
	r := newRig(t, morphsim.Config{}, nil)
	in, err := r.Start(t.Context(), sandbox.StartRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.TrimPrefix(string(in.ID), "morphvm_"); in.Slug != want {
		t.Errorf("got slug %q, want %q", in.Slug, want)
	}
}

func TestStartNamesTheKeyThatIsMissing(t *testing.T) {
	t.Parallel()
	r := newRig(t, morphsim.Config{}, func(c *Config) { c.Snapshots = nil })
	_, err := r.Start(t.Context(), sandbox.StartRequest{Slug: "a"})
	wantKind(t, err, sandbox.KindInvalid)
	if err != nil && !strings.Contains(err.Error(), "providers.morph.snapshots") {
		t.Errorf("%v does not name the key", err)
	}
}

func TestFindByEverySpelling(t *testing.T) {
	t.Parallel()
	r := newRig(t, morphsim.Config{}, nil)
	r.add(t, morphsim.Instance{ID: "morphvm_v2j67ci0"})
	named := r.add(t, morphsim.Instance{ID: "morphvm_aaaa", Metadata: map[string]string{"app": "cmux", "edge_slug": "shop"}})
	r.add(t, morphsim.Instance{ID: "morphvm_shop", Metadata: map[string]string{"app": "cmux", "edge_slug": "other"}})
	for slug, want := range map[string]sandbox.ID{
		"v2j67ci0": "morphvm_v2j67ci0", "morphvm-v2j67ci0": "morphvm_v2j67ci0",
		"shop": named, "aaaa": named, "morphvm-shop": "morphvm_shop",
	} {
		if in, err := r.Find(t.Context(), slug); err != nil || in.ID != want {
			t.Errorf("%s: got %s, %v, want %s", slug, in.ID, err, want)
		}
	}
	for _, slug := range []string{"nobody", "", "../x", "A", "a_b", strings.Repeat("a", 64)} {
		_, err := r.Find(t.Context(), slug)
		wantKind(t, err, sandbox.KindNotFound)
	}
}

func TestOnlyTheEdgesScopeExists(t *testing.T) {
	t.Parallel()
	r := newRig(t, morphsim.Config{}, nil)
	ours := map[sandbox.ID]bool{
		r.add(t, morphsim.Instance{Metadata: map[string]string{"app": "cmux-devbox"}}):                        false,
		r.add(t, morphsim.Instance{Metadata: map[string]string{"app": "manaflow"}}):                           false,
		r.add(t, morphsim.Instance{Metadata: map[string]string{"app": "cmux", "edge_mark": DefaultMark}}):     true,
		r.add(t, morphsim.Instance{Metadata: map[string]string{"app": "cmux", "edge_mark": "somebody else"}}): false,
	}
	foreign := r.add(t, morphsim.Instance{Metadata: map[string]string{"app": "billing", "edge_mark": DefaultMark, "edge_slug": "a"}})
	r.add(t, morphsim.Instance{Metadata: map[string]string{}})
	list, err := r.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[sandbox.ID]bool{}
	for _, in := range list {
		got[in.ID] = in.Marked
	}
	if diff := cmp.Diff(ours, got); diff != "" {
		t.Errorf("id -> marked (-want +got):\n%s", diff)
	}
	_, err = r.Get(t.Context(), foreign)
	wantKind(t, err, sandbox.KindNotFound)
	_, err = r.Find(t.Context(), "a")
	wantKind(t, err, sandbox.KindNotFound)
	wantKind(t, r.Pause(t.Context(), foreign), sandbox.KindNotFound)
	wantKind(t, r.Delete(t.Context(), foreign), sandbox.KindNotFound)
	wantKind(t, r.Extend(t.Context(), foreign, time.Hour), sandbox.KindNotFound)
	if in, there := r.sim.Get(string(foreign)); !there || in.Status != morphsim.Ready {
		t.Errorf("the stranger is %+v", in)
	}
}

func TestStatusesAreMapped(t *testing.T) {
	t.Parallel()
	r := newRig(t, morphsim.Config{}, nil)
	id := r.add(t, morphsim.Instance{})
	for status, want := range map[string]sandbox.State{
		"ready": sandbox.Running, "running": sandbox.Running, "paused": sandbox.Paused, "saving": sandbox.Pausing,
		"pending": sandbox.Starting, "": sandbox.Starting, "stopped": sandbox.Stopped, "error": sandbox.Failed, "migrating": sandbox.Starting,
	} {
		r.sim.Edit(string(id), func(in *morphsim.Instance) { in.Status = status })
		in, err := r.Get(t.Context(), id)
		if err != nil || in.State != want {
			t.Errorf("%q: got %s, %v, want %s", status, in.State, err, want)
		}
		if hasPorts := len(in.Ports) > 0; hasPorts != (want == sandbox.Running) {
			t.Errorf("%q: got ports %v: a place is for a running instance only", status, in.Ports)
		}
	}
	if got := strings.Count(r.log.String(), "migrating"); got != 1 {
		t.Errorf("the unknown status was warned of %d times, want once:\n%s", got, r.log)
	}
}

func TestAFailedInstanceIsNotResumed(t *testing.T) {
	t.Parallel()
	r := newRig(t, morphsim.Config{}, nil)
	id := r.add(t, morphsim.Instance{Status: morphsim.Failed})
	_, err := r.Resume(t.Context(), id)
	wantKind(t, err, sandbox.KindInvalid)
	if got := r.sim.Calls()["POST /instance/{id}/resume"]; got != 0 {
		t.Errorf("asked %d times", got)
	}
}

func TestStopIsInvalid(t *testing.T) {
	t.Parallel()
	r := newRig(t, morphsim.Config{}, nil)
	id := r.add(t, morphsim.Instance{})
	wantKind(t, r.Stop(t.Context(), id), sandbox.KindInvalid)
	wantKind(t, r.Stop(t.Context(), "morphvm_none"), sandbox.KindNotFound)
	if in, _ := r.sim.Get(string(id)); in.Status != morphsim.Ready {
		t.Errorf("it is %s", in.Status)
	}
}

func TestResumeWaitsForASnapshotThatIsUnderWay(t *testing.T) {
	t.Parallel()
	r := newRig(t, morphsim.Config{}, nil)
	id := r.add(t, morphsim.Instance{Status: morphsim.Saving})
	waited := make(chan error, 1)
	go func() {
		_, err := r.Resume(t.Context(), id)
		waited <- err
	}()
	waitFor(t, func() bool { return r.sim.Calls()["GET /instance/{id}"] > 3 })
	if got := r.sim.Calls()["POST /instance/{id}/resume"]; got != 0 {
		t.Errorf("a resume was sent while the instance was saved")
	}
	r.sim.Edit(string(id), func(in *morphsim.Instance) { in.Status = morphsim.Paused })
	if err := <-waited; err != nil {
		t.Error(err)
	}
}

// TestNothingIsEverSentToAServiceURL runs every method on running, saving and
// paused instances that would wake at a knock.
func TestNothingIsEverSentToAServiceURL(t *testing.T) {
	t.Parallel()
	r := newRig(t, morphsim.Config{WakeOnHTTP: true}, nil)
	paused := r.add(t, morphsim.Instance{ID: "morphvm_asleep", Status: morphsim.Paused, WakeOnHTTP: true})
	for range 3 {
		r.Health(t.Context())
		if _, err := r.List(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := r.Get(t.Context(), paused); err != nil {
			t.Error(err)
		}
		if _, err := r.Find(t.Context(), "asleep"); err != nil {
			t.Error(err)
		}
		if err := r.Extend(t.Context(), paused, time.Hour); err != nil {
			t.Error(err)
		}
		if err := r.Pause(t.Context(), paused); err != nil {
			t.Error(err)
		}
	}
	started := r.start(t, "a")
	if err := r.Pause(t.Context(), started.ID); err != nil {
		t.Error(err)
	}
	for _, id := range []sandbox.ID{paused, started.ID} {
		if in, _ := r.sim.Get(string(id)); in.Status != morphsim.Paused {
			t.Errorf("%s is %s", id, in.Status)
		}
		if _, err := r.Resume(t.Context(), id); err != nil {
			t.Error(err)
		}
		if got := r.sim.Probes(string(id)); got != 0 {
			t.Errorf("%d probes of %s", got, id)
		}
	}
}

func TestPortsLeadToTheServices(t *testing.T) {
	t.Parallel()
	r := newRig(t, morphsim.Config{}, nil)
	in := r.start(t, "a")
	up, err := in.Upstream(39378)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DialContext: r.sim.DialContext, TLSClientConfig: &tls.Config{RootCAs: r.sim.CertPool()}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+up.Authority+"/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if !up.TLS || resp.StatusCode != http.StatusOK {
		t.Errorf("%+v answers %s", up, resp.Status)
	}
	if _, err := in.Upstream(8080); sandbox.KindOf(err) != sandbox.KindNotFound {
		t.Errorf("a port that is not exposed: %v", err)
	}
}

func TestServicesThatAreNotRoutableAreReported(t *testing.T) {
	t.Parallel()
	r := newRig(t, morphsim.Config{}, nil)
	id := r.add(t, morphsim.Instance{Services: []morphsim.Service{
		{Port: 80, URL: "https://evil.example/"}, {Port: 81, AuthMode: "api_key"}, {Port: 39378},
	}})
	in, err := r.Resume(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if len(in.Ports) != 1 || in.Ports[39378] == "" {
		t.Errorf("got %v, want 39378 only", in.Ports)
	}
	for _, text := range []string{"port 80", "port 81"} {
		if !strings.Contains(r.log.String(), text) {
			t.Errorf("%s is not in the log:\n%s", text, r.log)
		}
	}
	if strings.Contains(r.log.String(), "evil.example") {
		t.Error("a tenant's text is in the log")
	}
}

func TestWakingByRequestsIsTurnedOffOnTheEdgesOwn(t *testing.T) {
	t.Parallel()
	r := newRig(t, morphsim.Config{}, func(c *Config) { c.DisableWakeOnHTTP = true })
	own := r.add(t, morphsim.Instance{WakeOnHTTP: true, WakeOnSSH: true, Metadata: map[string]string{"app": "cmux", "edge_mark": DefaultMark}})
	other := r.add(t, morphsim.Instance{WakeOnHTTP: true})
	for _, id := range []sandbox.ID{own, other} {
		if err := r.Pause(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	if in, _ := r.sim.Get(string(own)); in.WakeOnHTTP || !in.WakeOnSSH {
		t.Errorf("the edge's own: %+v, want SSH alone to wake it", in)
	}
	if in, _ := r.sim.Get(string(other)); !in.WakeOnHTTP {
		t.Error("another's instance was changed")
	}
}

func TestATimeToLiveThatRanOutIsRenewedByAResume(t *testing.T) {
	t.Parallel()
	for name, expires := range map[string]time.Time{
		"InThePast": time.Now().Add(-time.Hour), "Soon": time.Now().Add(time.Minute),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, morphsim.Config{Latency: morphsim.Latency{Expiry: 50 * time.Millisecond}}, nil)
			id := r.add(t, morphsim.Instance{Status: morphsim.Paused, TTL: 3600, Action: "pause", Expires: expires})
			if _, err := r.Resume(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			in, _ := r.sim.Get(string(id))
			if left := time.Until(in.Expires); left < 59*time.Minute || in.TTL != 3600 || in.Action != "pause" {
				t.Errorf("got %+v with %s left, want an hour anew", in, left)
			}
		})
	}
}

func TestATimeToLiveWithEnoughLeftIsNotTouched(t *testing.T) {
	t.Parallel()
	r := newRig(t, morphsim.Config{}, nil)
	long := r.add(t, morphsim.Instance{Status: morphsim.Paused, TTL: 3600, Action: "pause", Expires: time.Now().Add(50 * time.Minute)})
	none := r.add(t, morphsim.Instance{Status: morphsim.Paused})
	for _, id := range []sandbox.ID{long, none} {
		if _, err := r.Resume(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	if got := r.sim.Calls()["POST /instance/{id}/ttl"]; got != 0 {
		t.Errorf("it was set %d times", got)
	}
}

func TestExtendIsCheapAndAlwaysPauses(t *testing.T) {
	t.Parallel()
	r := newRig(t, morphsim.Config{}, nil)
	id := r.add(t, morphsim.Instance{TTL: 60, Action: "stop", Expires: time.Now().Add(time.Minute)})
	for range 5 {
		if err := r.Extend(t.Context(), id, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.sim.Calls(); got["POST /instance/{id}/ttl"] != 1 || got["GET /instance/{id}"] != 1 {
		t.Errorf("got calls %v, want one of each", got)
	}
	if in, _ := r.sim.Get(string(id)); in.TTL != 3600 || in.Action != "pause" {
		t.Errorf("got %+v", in)
	}
	if err := r.Extend(t.Context(), id, 2*time.Hour); err != nil {
		t.Fatal(err)
	}
	if in, _ := r.sim.Get(string(id)); in.TTL != 7200 {
		t.Errorf("another time to live is %d s", in.TTL)
	}
	wantKind(t, r.Extend(t.Context(), id, 0), sandbox.KindInvalid)
	wantKind(t, r.Extend(t.Context(), "morphvm_none", time.Hour), sandbox.KindNotFound)
}

func TestAWakeBehindTheEdgeIsANewGeneration(t *testing.T) {
	t.Parallel()
	r := newRig(t, morphsim.Config{}, nil)
	in := r.start(t, "a")
	for _, status := range []string{morphsim.Paused, morphsim.Ready} {
		r.sim.Edit(string(in.ID), func(in *morphsim.Instance) { in.Status = status })
		if _, err := r.List(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	again, err := r.Get(t.Context(), in.ID)
	if err != nil {
		t.Fatal(err)
	}
	if again.Generation <= in.Generation {
		t.Errorf("got generation %d, want more than %d", again.Generation, in.Generation)
	}
}

func TestFaultyConfigurationsAreRefused(t *testing.T) {
	t.Parallel()
	key := func() string { return "k" }
	for name, cfg := range map[string]Config{
		"NoKey":             {},
		"AnEmptyKey":        {APIKey: func() string { return "" }},
		"PlainHTTP":         {APIKey: key, URL: "http://cloud.example.com"},
		"NoHost":            {APIKey: key, URL: "cloud.morph.so"},
		"Credentials":       {APIKey: key, URL: "https://user:secretword@cloud.morph.so"},
		"AQuery":            {APIKey: key, URL: "https://cloud.morph.so?x"},
		"ASuffixOfOneLabel": {APIKey: key, HTTPSuffix: "so"},
		"ASuffixThatIsURL":  {APIKey: key, HTTPSuffix: "https://http.cloud.morph.so"},
		"AWildcardSuffix":   {APIKey: key, HTTPSuffix: "*.morph.so"},
	} {
		_, err := New(nil, cfg)
		wantKind(t, err, sandbox.KindInvalid)
		if err != nil && strings.Contains(err.Error(), "secretword") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheBaseEndsInAPI(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"":                                   "https://cloud.morph.so/api",
		"https://cloud.morph.so":             "https://cloud.morph.so/api",
		"https://cloud.morph.so/":            "https://cloud.morph.so/api",
		"https://cloud.morph.so/api":         "https://cloud.morph.so/api",
		"https://cloud.morph.so/api/":        "https://cloud.morph.so/api",
		"https://gateway.example.com/morph/": "https://gateway.example.com/morph/api",
		"http://127.0.0.1:8080":              "http://127.0.0.1:8080/api",
	} {
		got, err := Config{URL: url}.withDefaults().base()
		if err != nil || got.String() != want {
			t.Errorf("%q: got %v, %v, want %s", url, got, err, want)
		}
	}
}
