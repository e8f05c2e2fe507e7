package demo

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// startSandbox runs a sandbox in this process and returns its address.
func startSandbox(t *testing.T) string {
	t.Helper()
	in, end := io.Pipe()
	out, announce := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- RunSandbox(context.Background(), "box<b>", in, announce) }()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // as when the parent goes
		end.Close()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return strings.TrimSpace(line)
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
