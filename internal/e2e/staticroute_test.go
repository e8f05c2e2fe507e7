package e2e_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// Agents get one local name for ANTHROPIC_BASE_URL and OPENAI_BASE_URL. A model
// on the operator's machines answers there; while it can't, a provider in the
// cloud does, with the operator's key and below its own path. Tokens stream.
func TestAModelGatewayFallsBackToTheCloud(t *testing.T) {
	t.Parallel()
	var down atomic.Bool
	next := make(chan struct{})
	model := func(name string, down *atomic.Bool) *httptest.Server {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if down.Load() {
				http.Error(w, "the model is loading", http.StatusServiceUnavailable)
				return
			}
			prompt, _ := io.ReadAll(r.Body)
			w.Header().Set("Content-Type", "text/event-stream")
			for _, token := range []string{name, r.Host, r.URL.Path, r.Header.Get("Authorization"), string(prompt)} {
				fmt.Fprintf(w, "data: %s\n\n", token)
				_ = http.NewResponseController(w).Flush()
				<-next
			}
		}))
		t.Cleanup(server.Close)
		return server
	}
	local, cloud := model("local", &down), model("cloud", new(atomic.Bool))
	key := filepath.Join(t.TempDir(), "cloud-key")
	writeFile(t, key, "Bearer of-the-operator\n")
	e := startEdge(t, fmt.Sprintf(`static_routes:
  - host: models.%s
    upstreams:
      - url: %s
      - {url: "%s/anthropic", host: api.cloud.example, authorization_file: %q}`, plainDomain, local.URL, cloud.URL, key))
	client := e.client(t)

	ask := func(want ...string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://models."+plainDomain+"/v1/messages", strings.NewReader("hello?"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer of-the-agent")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		tokens := bufio.NewReader(resp.Body)
		for _, token := range want { // each arrives before the next is made
			within(t, "a token", func() error {
				line, err := tokens.ReadString('\n')
				if got := strings.TrimSpace(strings.TrimPrefix(line, "data: ")); err == nil && got != token {
					err = fmt.Errorf("got %q, want %q", got, token)
				}
				_, _ = tokens.ReadString('\n')
				return err
			})
			next <- struct{}{}
		}
	}
	ask("local", "models."+plainDomain, "/v1/messages", "Bearer of-the-agent", "hello?")
	down.Store(true)
	ask("cloud", "api.cloud.example", "/anthropic/v1/messages", "Bearer of-the-operator", "hello?")
	down.Store(false)
	ask("cloud", "api.cloud.example", "/anthropic/v1/messages", "Bearer of-the-operator", "hello?") // until the pause is over
}
