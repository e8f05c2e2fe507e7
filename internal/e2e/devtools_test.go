package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"image/png"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

const (
	devtoolsPort    = 39381 // behind a proxy that names a Host Chromium accepts
	rawDevtoolsPort = 39382 // bare, with the public Host
	userPort        = 9222  // bare, with the Host of a user's port
)

// Chromium takes a command only from a client that calls it by an address, by
// localhost or by a name below .localhost, and /json/version hands out the URL
// under the name it was called by.
func TestDevToolsCommandsABrowser(t *testing.T) {
	t.Parallel()
	startDevTools(t)
	e := startEdge(t)

	for _, tc := range []struct {
		port   int
		domain string
		// host is the one in the URL that /json/version hands out. On DevTools'
		// own port that leads back through the edge, whatever the proxy in the
		// sandbox has told Chromium. On a user's port the edge does not rewrite
		// what an app answers; there no client can follow the URL as it stands,
		// but keeps the edge's authority and takes the path.
		host string
	}{
		{devtoolsPort, secureDomain, fmt.Sprintf("port-%d-real.%s:%d", devtoolsPort, secureDomain, e.port)},
		{devtoolsPort, plainDomain, fmt.Sprintf("port-%d-real.%s:%d", devtoolsPort, plainDomain, e.port)},
		{rawDevtoolsPort, secureDomain, fmt.Sprintf("port-%d-real.%s:%d", rawDevtoolsPort, secureDomain, e.port)},
		{userPort, secureDomain, fmt.Sprintf("localhost:%d", userPort)},
		{userPort, plainDomain, fmt.Sprintf("localhost:%d", userPort)},
	} {
		t.Run(fmt.Sprintf("%d at %s", tc.port, tc.domain), func(t *testing.T) {
			version, err := readAnswer(e.client(t).Get(e.url(tc.port, tc.domain) + "/json/version"))
			if err != nil {
				t.Fatal(err)
			}
			var browser struct {
				Debugger string `json:"webSocketDebuggerUrl"`
			}
			if err := json.Unmarshal([]byte(version), &browser); err != nil {
				t.Fatalf("%v in %q", err, version)
			}
			debugger, err := url.Parse(browser.Debugger)
			if err != nil {
				t.Fatal(err)
			}
			if debugger.Host != tc.host || !strings.HasPrefix(debugger.Path, "/devtools/browser/") {
				t.Errorf("got %q, want a URL at %s", debugger, tc.host)
			}
			debugger.Host = strings.TrimPrefix(e.url(tc.port, tc.domain), "http://")
			commandBrowser(t, e, debugger.String())
		})
	}

	t.Run("its refusal is passed on", func(t *testing.T) {
		resp, err := e.client(t).Get(e.url(rawDevtoolsPort, plainDomain) + "/json/version")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusInternalServerError || !strings.Contains(string(body), "Host header") {
			t.Errorf("got %s %q, want Chromium's own words on the Host header", resp.Status, body)
		}
	})
}

// commandBrowser opens a page, computes something in it, and takes its picture.
func commandBrowser(t *testing.T, e edge, debugger string) {
	t.Helper()
	c := &devtools{t: t}
	dialer := websocket.Dialer{NetDialContext: e.dial, HandshakeTimeout: patience}
	var err error
	if c.conn, _, err = dialer.DialContext(t.Context(), debugger, nil); err != nil {
		t.Fatal(err)
	}
	defer c.conn.Close()
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))

	var created struct{ TargetID string }
	c.call("Target.createTarget", map[string]any{"url": "about:blank"}, &created)
	var attached struct{ SessionID string }
	c.call("Target.attachToTarget", map[string]any{"targetId": created.TargetID, "flatten": true}, &attached)
	c.session = attached.SessionID

	var evaluated struct{ Result struct{ Value int } }
	c.call("Runtime.evaluate", map[string]any{"expression": `
		document.body.innerHTML = '<h1>DevTools</h1><div style="width: 100px; height: 100px; background: rgb(200, 0, 0)"></div>';
		6 * 7`}, &evaluated)
	if got, want := evaluated.Result.Value, 42; got != want {
		t.Errorf("evaluated to %d, want %d", got, want)
	}

	var shot struct{ Data []byte }
	c.call("Page.captureScreenshot", map[string]any{"format": "png"}, &shot)
	picture, err := png.Decode(bytes.NewReader(shot.Data))
	if err != nil {
		t.Fatalf("the screenshot is no PNG: %v", err)
	}
	colours := make(map[[3]uint32]bool)
	for y := range picture.Bounds().Dy() {
		for x := range picture.Bounds().Dx() {
			r, g, b, _ := picture.At(x, y).RGBA()
			colours[[3]uint32{r >> 8, g >> 8, b >> 8}] = true
		}
	}
	if red := [3]uint32{200, 0, 0}; !colours[red] || len(colours) < 3 {
		t.Errorf("the screenshot, %v, shows %d colours and red among them: %v", picture.Bounds(), len(colours), colours[red])
	}
	c.session = ""
	c.call("Target.closeTarget", map[string]any{"targetId": created.TargetID}, nil)
}

// devtools is a client of the Chrome DevTools protocol that does one thing at a
// time.
type devtools struct {
	t       *testing.T
	conn    *websocket.Conn
	session string // of the page that commands are for; "" is the browser's own
	calls   int
}

// call sends a command, and decodes its result into result unless that is nil.
func (c *devtools) call(method string, params map[string]any, result any) {
	c.t.Helper()
	c.calls++
	command := map[string]any{"id": c.calls, "method": method, "params": params}
	if c.session != "" {
		command["sessionId"] = c.session
	}
	if err := c.conn.WriteJSON(command); err != nil {
		c.t.Fatalf("%s: %v", method, err)
	}
	for {
		var message struct {
			ID     int
			Result json.RawMessage
			Error  json.RawMessage
		}
		if err := c.conn.ReadJSON(&message); err != nil {
			c.t.Fatalf("%s: %v", method, err)
		}
		switch {
		case message.ID != c.calls: // an event
			continue
		case message.Error != nil:
			c.t.Fatalf("%s: %s", method, message.Error)
		case result != nil:
			if err := json.Unmarshal(message.Result, result); err != nil {
				c.t.Fatalf("%s: %v in %s", method, err, message.Result)
			}
		}
		return
	}
}

// startDevTools runs a headless Chromium to be commanded on the sandbox's ports.
func startDevTools(t *testing.T) {
	t.Helper()
	p := start(t, "chromium", exec.Command(systemTool(t, "chromium"),
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--user-data-dir="+t.TempDir(), "--remote-debugging-port=0", "about:blank"))
	// It listens on 127.0.0.1 whatever it is told.
	address := p.awaitOutput(t, `DevTools listening on ws://([^/]+)/`)[1]
	relay(t, listen(t, rawDevtoolsPort), address)
	relay(t, listen(t, userPort), address)

	// As in the real images, where the raw port is the one that is named.
	fix := &http.Server{
		ReadHeaderTimeout: patience,
		Handler: &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", address
			r.Out.Host = fmt.Sprintf("localhost:%d", rawDevtoolsPort)
		}, Transport: &http.Transport{DisableKeepAlives: true}},
	}
	l := listen(t, devtoolsPort)
	done := make(chan error, 1)
	go func() { done <- fix.Serve(l) }() // ends with the server
	t.Cleanup(func() {
		fix.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}

// relay joins every connection to l with one to address, until the test ends.
func relay(t *testing.T, l net.Listener, address string) {
	var open sync.WaitGroup
	open.Go(func() { // ends with the listener
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() { // ends with either side
				defer conn.Close()
				target, err := net.Dial("tcp", address)
				if err != nil {
					return
				}
				defer target.Close()
				var back sync.WaitGroup
				back.Go(func() {
					_, _ = io.Copy(conn, target)
					conn.Close()
				})
				_, _ = io.Copy(target, conn)
				target.Close()
				back.Wait()
			})
		}
	})
	t.Cleanup(func() { l.Close(); open.Wait() })
}
