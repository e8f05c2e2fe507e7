package pvesim_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"cmux.sh/edge/internal/sandbox/pve/pvesim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// caller is a plain HTTP client of a simulator.
type caller struct {
	t   *testing.T
	sim *pvesim.Server
	*http.Client
	token string
}

// answer is a response with its body read.
type answer struct {
	status  int
	reason  string
	closed  bool // the server ends the connection
	body    string
	Data    json.RawMessage   `json:"data"`
	Message string            `json:"message"`
	Errors  map[string]string `json:"errors"`
}

func play(t *testing.T, cfg pvesim.Config, guests ...pvesim.Guest) *caller {
	t.Helper()
	const ms = time.Millisecond
	if cfg.Latency == (pvesim.Latency{}) {
		cfg.Latency = pvesim.Latency{Start: 5 * ms, Resume: 5 * ms, Suspend: 20 * ms, Stop: ms, Shutdown: 5 * ms, Clone: 5 * ms, FullClone: 10 * ms, Delete: ms, Agent: ms}
	}
	if cfg.LockTimeout == 0 {
		cfg.LockTimeout = 50 * ms
	}
	if cfg.AuthDelay == 0 {
		cfg.AuthDelay = -1
	}
	sim, err := pvesim.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(sim.CAPEM())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = sim.Close()
	})
	for _, g := range guests {
		if err := sim.Add(g); err != nil {
			t.Fatal(err)
		}
	}
	return &caller{t: t, sim: sim, Client: &http.Client{Transport: transport}, token: pvesim.Token}
}

func form(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return v
}

// call sends parameters where the method wants them.
func (c *caller) call(method, path string, params url.Values) answer {
	c.t.Helper()
	if method == http.MethodGet || method == http.MethodDelete {
		if len(params) > 0 {
			path += "?" + params.Encode()
		}
		return c.send(method, path, "", "")
	}
	return c.send(method, path, "application/x-www-form-urlencoded", params.Encode())
}

func (c *caller) send(method, path, kind, body string) answer {
	c.t.Helper()
	a, err := c.try(method, path, kind, body)
	if err != nil {
		c.t.Fatal(err)
	}
	return a
}

func (c *caller) try(method, path, kind, body string) (answer, error) {
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.sim.URL()+"/api2/json"+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if body == "" {
		req.Body, req.ContentLength = http.NoBody, 0
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "PVEAPIToken="+c.token)
	}
	resp, err := c.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{status: resp.StatusCode, closed: resp.Close, body: string(raw)}
	_, a.reason, _ = strings.Cut(resp.Status, " ")
	if len(bytes.TrimSpace(raw)) > 0 {
		_ = json.Unmarshal(raw, &a) // garbage is judged by the caller
	}
	return a, nil
}

func (c *caller) want(a answer, status int, reason string) {
	c.t.Helper()
	if a.status != status || reason != "" && a.reason != reason {
		c.t.Errorf("got %d %q, want %d %q", a.status, a.reason, status, reason)
	}
}

// finish waits for a task and returns its exit status.
func (c *caller) finish(a answer) string {
	c.t.Helper()
	var upid string
	if err := json.Unmarshal(a.Data, &upid); err != nil || a.status != http.StatusOK {
		c.t.Fatalf("no task in %d %s %s", a.status, a.reason, a.body)
	}
	for {
		var task struct{ Status, ExitStatus string }
		status := c.call("GET", "/nodes/pve/tasks/"+url.PathEscape(upid)+"/status", nil)
		if err := json.Unmarshal(status.Data, &task); err != nil {
			c.t.Fatalf("%v in %s", err, status.body)
		}
		if task.Status == "stopped" {
			return task.ExitStatus
		}
		<-time.After(time.Millisecond)
	}
}

// do makes an action and returns how it ended: its task's exit status, or the
// refusal.
func (c *caller) do(path string, params url.Values) string {
	c.t.Helper()
	a := c.call("POST", path, params)
	if a.status != http.StatusOK {
		return a.reason
	}
	return c.finish(a)
}
