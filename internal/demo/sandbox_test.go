package demo

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"
)

// TestMain lets the test binary be what the edge's is to a demo.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == SandboxCommand {
		if err := RunSandbox(context.Background(), os.Args[2], os.Stdin); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// startSandbox runs a sandbox in this process and returns its address.
func startSandbox(t *testing.T) string {
	t.Helper()
	in, end := io.Pipe()
	listeners, err := listenAnywhere(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- serve(context.Background(), "box<b>", in, listeners) }()
	t.Cleanup(func() { // as when the parent goes
		end.Close()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return listeners[0].Addr().String()
}

func TestSandboxCountsInMemory(t *testing.T) {
	t.Parallel()
	address := startSandbox(t)
	for _, want := range []string{"1", "2"} {
		resp, err := http.Post("http://"+address+"/counter", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := io.ReadAll(resp.Body); string(got) != want {
			t.Errorf("got %s, want %s", got, want)
		}
		resp.Body.Close()
	}
	resp, err := http.Get("http://" + address + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	page, _ := io.ReadAll(resp.Body)
	for _, want := range []string{"<output id=\"counter\">2</output>", "box&lt;b&gt;"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("%s is not on the page", want)
		}
	}
}

func TestSandboxTicks(t *testing.T) {
	t.Parallel()
	resp, err := http.Get("http://" + startSandbox(t) + "/ticks")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if line, err := bufio.NewReader(resp.Body).ReadString('\n'); line != "data: 0\n" || err != nil {
		t.Errorf("got %q, %v", line, err)
	}
}

func TestSandboxEchoes(t *testing.T) {
	t.Parallel()
	conn, _, err := websocket.DefaultDialer.Dial("ws://"+startSandbox(t)+"/echo", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, got, err := conn.ReadMessage(); string(got) != "hello" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestSandboxRefusesTheWebSocketsOfOtherPages(t *testing.T) {
	t.Parallel()
	address := startSandbox(t)
	for name, test := range map[string]struct {
		origin, original string
		want             int
	}{
		"no browser":               {"", "", http.StatusSwitchingProtocols},
		"its own page":             {"http://" + address, "", http.StatusSwitchingProtocols},
		"its own page, renamed":    {"http://port-80-box.cmux.localhost", "port-80-box.cmux.localhost", http.StatusSwitchingProtocols},
		"another page":             {"http://example.com", "", http.StatusForbidden},
		"another page, renamed":    {"http://example.com", "port-80-box.cmux.localhost", http.StatusForbidden},
		"an origin without a host": {"null", "", http.StatusForbidden},
	} {
		header := http.Header{}
		if test.origin != "" {
			header.Set("Origin", test.origin)
		}
		if test.original != "" {
			header.Set("X-Cmux-Original-Host", test.original)
		}
		conn, resp, err := websocket.DefaultDialer.Dial("ws://"+address+"/echo", header)
		if err == nil {
			conn.Close()
		}
		if resp == nil || resp.StatusCode != test.want {
			t.Errorf("%s: got %v, %v, want status %d", name, resp, err, test.want)
		}
	}
}
