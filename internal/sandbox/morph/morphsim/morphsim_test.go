package morphsim

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// account is a simulator and a client that trusts it.
type account struct {
	*Server
	t      *testing.T
	client *http.Client
}

func newAccount(t *testing.T, cfg Config) *account {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DialContext: s.DialContext, TLSClientConfig: &tls.Config{RootCAs: s.CertPool()}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &account{Server: s, t: t, client: &http.Client{Transport: transport}}
}

// call sends a request with the right key and returns the status and the
// decoded body.
func (a *account) call(method, path, body string) (int, map[string]any) {
	a.t.Helper()
	req, err := http.NewRequestWithContext(a.t.Context(), method, a.URL()+"/api"+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+Key)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, text := a.send(req)
	var answer map[string]any
	if resp.StatusCode != http.StatusNoContent {
		if err := json.Unmarshal(text, &answer); err != nil {
			a.t.Fatalf("%s %s: %s: %v", method, path, text, err)
		}
	}
	return resp.StatusCode, answer
}

func (a *account) send(req *http.Request) (*http.Response, []byte) {
	a.t.Helper()
	resp, err := a.client.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return resp, text
}

// visit asks a service URL.
func (a *account) visit(url string) (int, string) {
	a.t.Helper()
	req, err := http.NewRequestWithContext(a.t.Context(), http.MethodGet, url, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	resp, text := a.send(req)
	return resp.StatusCode, string(text)
}

func (a *account) add(in Instance) string {
	a.t.Helper()
	id, err := a.Add(in)
	if err != nil {
		a.t.Fatal(err)
	}
	return id
}

func (a *account) waitFor(id, status string) {
	a.t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for time.Now().Before(deadline) {
		if in, ok := a.Get(id); ok && in.Status == status || !ok && status == "" {
			return
		}
		<-time.After(2 * time.Millisecond)
	}
	in, ok := a.Get(id)
	a.t.Fatalf("%s is %+v (there: %v), want %q", id, in, ok, status)
}

func services(answer map[string]any) []any {
	return answer["networking"].(map[string]any)["http_services"].([]any)
}

func TestACreateIsPendingAndHasNoServicesAtFirst(t *testing.T) {
	t.Parallel()
	a := newAccount(t, Config{})
	status, answer := a.call("POST", "/instance?snapshot_id="+Snapshot, `{"metadata":{"app":"cmux"},"ttl_seconds":60,"ttl_action":"pause"}`)
	if status != http.StatusOK || answer["status"] != Pending || len(services(answer)) != 0 {
		t.Errorf("got %d %v", status, answer)
	}
	id := answer["id"].(string)
	a.waitFor(id, Ready)
	_, first := a.call("GET", "/instance/"+id, "")
	_, second := a.call("GET", "/instances/"+id, "")
	if len(services(first)) != 0 || len(services(second)) != 5 {
		t.Errorf("services: got %d, then %d, want 0, then 5", len(services(first)), len(services(second)))
	}
}

func TestRequestsAreCheckedStrictly(t *testing.T) {
	t.Parallel()
	a := newAccount(t, Config{})
	id := a.add(Instance{})
	for name, tc := range map[string]struct {
		method, path, body string
		status             int
		kind, loc          string
	}{
		"NoSnapshot":       {"POST", "/instance", "", 422, "missing", "query.snapshot_id"},
		"UnknownSnapshot":  {"POST", "/instance?snapshot_id=x", "", 404, "", ""},
		"UnknownParameter": {"GET", "/instance?limit=3", "", 422, "extra_forbidden", "query.limit"},
		"UnknownField":     {"POST", "/instance/" + id + "/ttl", `{"ttl_seconds":5,"ttl":1}`, 422, "extra_forbidden", "body.ttl"},
		"NoSeconds":        {"POST", "/instance/" + id + "/ttl", `{}`, 422, "missing", "body.ttl_seconds"},
		"NegativeSeconds":  {"POST", "/instance/" + id + "/ttl", `{"ttl_seconds":-5}`, 422, "greater_than_equal", "body.ttl_seconds"},
		"FractionsOfOne":   {"POST", "/instance/" + id + "/ttl", `{"ttl_seconds":1.5}`, 422, "type_error", "body.ttl_seconds"},
		"UnknownAction":    {"POST", "/instance/" + id + "/ttl", `{"ttl_seconds":5,"ttl_action":"sleep"}`, 422, "enum", "body.ttl_action"},
		"NestedMetadata":   {"POST", "/instance?snapshot_id=" + Snapshot, `{"metadata":{"a":{}}}`, 422, "type_error", "body.metadata"},
		"NoJSON":           {"POST", "/instance?snapshot_id=" + Snapshot, `{`, 422, "json_invalid", "body"},
		"OddBoolean":       {"POST", "/instance/" + id + "/pause?snapshot=perhaps", "", 422, "bool_parsing", "query.snapshot"},
		"BodyOnPause":      {"POST", "/instance/" + id + "/pause", `{"snapshot":true}`, 422, "extra_forbidden", "body.snapshot"},
		"WakeOnText":       {"POST", "/instance/" + id + "/wake-on", `{"wake_on_http":"yes"}`, 422, "type_error", "body.wake_on_http"},
		"ExposeNoPort":     {"POST", "/instance/" + id + "/http", `{"name":"a"}`, 422, "missing", "body.port"},
		"UnknownInstance":  {"GET", "/instance/morphvm_none", "", 404, "", ""},
		"UnknownEndpoint":  {"POST", "/instance/start", "", 404, "", ""},
		"PageZero":         {"GET", "/instance/list?page=0", "", 422, "greater_than_equal", "query.page"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, answer := a.call(tc.method, tc.path, tc.body)
			if status != tc.status {
				t.Fatalf("got %d %v, want %d", status, answer, tc.status)
			}
			if tc.kind == "" {
				return
			}
			first := answer["detail"].([]any)[0].(map[string]any)
			var loc []string
			for _, part := range first["loc"].([]any) {
				loc = append(loc, fmt.Sprint(part))
			}
			if first["type"] != tc.kind || strings.Join(loc, ".") != tc.loc {
				t.Errorf("got %v, want %s at %s", first, tc.kind, tc.loc)
			}
		})
	}
}

func TestAWrongKeyIsRefused(t *testing.T) {
	t.Parallel()
	a := newAccount(t, Config{Key: "another"})
	if status, _ := a.call("GET", "/instance", ""); status != http.StatusUnauthorized {
		t.Errorf("got %d", status)
	}
}

func TestSavingConflictsWithEverything(t *testing.T) {
	t.Parallel()
	a := newAccount(t, Config{Async: true, Latency: Latency{Pause: time.Minute}})
	id := a.add(Instance{})
	if status, answer := a.call("POST", "/instance/"+id+"/pause?snapshot=false", ""); status != http.StatusOK || answer["status"] != Saving {
		t.Fatalf("got %d %v", status, answer)
	}
	for _, path := range []string{"/pause", "/resume", "/snapshot"} {
		if status, _ := a.call("POST", "/instance/"+id+path, ""); status != http.StatusConflict {
			t.Errorf("%s: got %d, want 409", path, status)
		}
	}
	if status, _ := a.call("DELETE", "/instance/"+id, ""); status != http.StatusConflict {
		t.Errorf("delete: got %d, want 409", status)
	}
}

func TestPauseAndResumeAreAnsweredWhenDone(t *testing.T) {
	t.Parallel()
	a := newAccount(t, Config{})
	id := a.add(Instance{})
	for _, step := range []struct{ do, want string }{{"pause", Paused}, {"pause", Paused}, {"resume", Ready}, {"resume", Ready}, {"snapshot", Ready}} {
		if status, answer := a.call("POST", "/instance/"+id+"/"+step.do, ""); status != http.StatusOK || answer["status"] != step.want {
			t.Errorf("%s: got %d %v, want %s", step.do, status, answer["status"], step.want)
		}
	}
	if status, _ := a.call("DELETE", "/instance/"+id, ""); status != http.StatusNoContent {
		t.Errorf("delete: got %d", status)
	}
}

func TestATimeToLiveDeletesUnlessToldToPause(t *testing.T) {
	t.Parallel()
	a := newAccount(t, Config{Latency: Latency{Expiry: time.Millisecond}})
	deleted, paused, kept := a.add(Instance{}), a.add(Instance{}), a.add(Instance{})
	a.call("POST", "/instance/"+deleted+"/ttl", `{"ttl_seconds":1}`)
	a.call("POST", "/instance/"+paused+"/ttl", `{"ttl_seconds":1,"ttl_action":"pause"}`)
	a.call("POST", "/instance/"+kept+"/ttl", `{"ttl_seconds":1}`)
	a.call("POST", "/instance/"+kept+"/ttl", `{"ttl_seconds":null}`)
	a.waitFor(deleted, "")
	a.waitFor(paused, Paused)
	a.waitFor(kept, Ready)
}

func TestAResumeDoesNotRenewATimeToLiveThatRanOut(t *testing.T) {
	t.Parallel()
	for _, renews := range []bool{false, true} {
		a := newAccount(t, Config{ResumeRenewsTTL: renews, Latency: Latency{Expiry: 10 * time.Millisecond}})
		id := a.add(Instance{Status: Paused, TTL: 60, Action: "pause", Expires: time.Now().Add(-time.Hour)})
		_, answer := a.call("POST", "/instance/"+id+"/resume", "")
		at := answer["ttl"].(map[string]any)["ttl_expire_at"].(float64)
		if inFuture := int64(at) > time.Now().Unix(); inFuture != renews {
			t.Errorf("renews %v: it expires at %v", renews, at)
		}
		if !renews {
			a.waitFor(id, Paused)
		}
	}
}

func TestARequestToAServiceWakesWhereThatIsOn(t *testing.T) {
	t.Parallel()
	a := newAccount(t, Config{})
	wakes := a.add(Instance{ID: "morphvm_wakes", Status: Paused, WakeOnHTTP: true, Services: []Service{{Port: 80}}})
	sleeps := a.add(Instance{ID: "morphvm_sleeps", Status: Paused, Services: []Service{{Name: "web", Port: 80}}})
	if status, text := a.visit("https://port-80-morphvm-wakes." + a.Suffix() + "/x"); status != http.StatusOK || !strings.HasPrefix(text, "morphvm_wakes:80 GET /x") {
		t.Errorf("got %d %s", status, text)
	}
	if status, _ := a.visit("https://web-morphvm-sleeps." + a.Suffix()); status != http.StatusServiceUnavailable {
		t.Errorf("got %d", status)
	}
	got := map[string]int{wakes: a.Probes(wakes), sleeps: a.Probes(sleeps)}
	if diff := cmp.Diff(map[string]int{wakes: 1, sleeps: 1}, got); diff != "" {
		t.Errorf("probes (-want +got):\n%s", diff)
	}
	a.waitFor(wakes, Ready)
	a.waitFor(sleeps, Paused)
}

func TestServicesAreRoutedByName(t *testing.T) {
	t.Parallel()
	a := newAccount(t, Config{})
	a.add(Instance{ID: "morphvm_a", Services: []Service{{Name: "web", Port: 80}, {Name: "mine", Port: 81, AuthMode: "api_key"}}})
	for host, want := range map[string]int{"web-morphvm-a": 200, "port-80-morphvm-a": 404, "web-morphvm-b": 404, "mine-morphvm-a": 401} {
		if status, _ := a.visit("https://" + host + "." + a.Suffix()); status != want {
			t.Errorf("%s: got %d, want %d", host, status, want)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "web-morphvm-a." + a.Suffix()
	if resp, _ := a.send(req); resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("a Host that is not the handshake's name: got %s", resp.Status)
	}
}

func TestServicesAreExposedAndHidden(t *testing.T) {
	t.Parallel()
	a := newAccount(t, Config{})
	id := a.add(Instance{})
	_, answer := a.call("POST", "/instance/"+id+"/http", `{"name":"web","port":80}`)
	want := []any{map[string]any{"name": "web", "port": 80.0, "auth_mode": "none", "url": "https://web-" + hostID(id) + "." + a.Suffix()}}
	if diff := cmp.Diff(want, services(answer)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, answer = a.call("DELETE", "/instance/"+id+"/http/web", ""); len(services(answer)) != 0 {
		t.Errorf("got %v", answer)
	}
	if status, _ := a.call("DELETE", "/instance/"+id+"/http/web", ""); status != http.StatusNotFound {
		t.Errorf("a second time: got %d", status)
	}
}

func TestListsAreFilteredAndPaged(t *testing.T) {
	t.Parallel()
	a := newAccount(t, Config{})
	for i := range 5 {
		a.add(Instance{Metadata: map[string]string{"app": []string{"cmux", "other"}[i%2]}})
	}
	if _, answer := a.call("GET", "/instance?metadata[app]=cmux", ""); len(answer["data"].([]any)) != 3 {
		t.Errorf("got %v", answer)
	}
	_, answer := a.call("GET", "/instance/list?page=2&limit=2&metadata[app]=cmux", "")
	delete(answer, "instances")
	want := map[string]any{"total": 3.0, "page": 2.0, "size": 2.0, "total_pages": 2.0, "has_next": false, "has_prev": true}
	if diff := cmp.Diff(want, answer); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMetadataIsReplaced(t *testing.T) {
	t.Parallel()
	a := newAccount(t, Config{})
	id := a.add(Instance{Metadata: map[string]string{"a": "1"}})
	_, answer := a.call("POST", "/instance/"+id+"/metadata", `{"b":"2"}`)
	if diff := cmp.Diff(map[string]any{"b": "2"}, answer["metadata"]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// machine counts what is done to it.
type machine struct{ boots, wakes, sleeps, removals atomic.Int32 }

func (m *machine) Start(_ context.Context, fresh bool) error {
	if fresh {
		m.boots.Add(1)
	} else {
		m.wakes.Add(1)
	}
	return nil
}
func (m *machine) Suspend(context.Context) error { m.sleeps.Add(1); return nil }
func (m *machine) Remove(context.Context) error  { m.removals.Add(1); return nil }
func (m *machine) Handler(port int) http.Handler {
	if port != 80 {
		return nil
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
}

func TestAMachineStandsBehindAnInstance(t *testing.T) {
	t.Parallel()
	m := &machine{}
	a := newAccount(t, Config{
		EmptyReads: -1, NewMachine: func(Instance) Machine { return m },
		Snapshots: map[string][]Service{"s": {{Port: 80}, {Port: 81}}},
	})
	_, answer := a.call("POST", "/snapshot/s/boot", `{"vcpus":2,"memory":4096,"disk_size":8192}`)
	id := answer["id"].(string)
	a.waitFor(id, Ready)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://port-80-"+hostID(id)+"."+a.Suffix(), bytes.NewReader([]byte("echo")))
	if err != nil {
		t.Fatal(err)
	}
	if _, text := a.send(req); string(text) != "echo" {
		t.Errorf("got %q", text)
	}
	if status, _ := a.visit("https://port-81-" + hostID(id) + "." + a.Suffix()); status != http.StatusBadGateway {
		t.Errorf("a port on which nothing listens: got %d", status)
	}
	a.call("POST", "/instance/"+id+"/pause", "")
	a.call("POST", "/instance/"+id+"/resume", "")
	a.call("DELETE", "/instance/"+id, "")
	for deadline := time.Now().Add(5 * time.Second); m.removals.Load() == 0 && time.Now().Before(deadline); {
		<-time.After(time.Millisecond)
	}
	got := []int32{m.boots.Load(), m.sleeps.Load(), m.wakes.Load(), m.removals.Load()}
	if diff := cmp.Diff([]int32{1, 1, 1, 1}, got); diff != "" {
		t.Errorf("boots, sleeps, wakes, removals (-want +got):\n%s", diff)
	}
}

func TestFaultsAreSpent(t *testing.T) {
	t.Parallel()
	a := newAccount(t, Config{})
	a.Inject(Fault{Endpoint: "GET /instance", Status: 402, Body: `{}`, Times: 1})
	remove := a.Inject(Fault{Status: 500, Body: `{}`})
	var got []int
	for range 3 {
		status, _ := a.call("GET", "/instance", "")
		got = append(got, status)
		if len(got) == 2 {
			remove()
		}
	}
	if diff := cmp.Diff([]int{402, 500, 200}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
