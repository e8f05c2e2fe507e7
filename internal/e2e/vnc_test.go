package e2e_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

const vncPort = 39380

// The picture of a desktop comes through a WebSocket in binary messages, and
// what is typed and clicked goes back through it.
func TestVNCShowsTheDesktopAndTakesKeys(t *testing.T) {
	t.Parallel()
	keys := startDesktop(t)
	e := startEdge(t)
	runClient(t, "vnc.mjs", e.url(vncPort, secureDomain))
	keys.awaitOutput(t, `(?s)ButtonPress event.*KeyPress event[^\n]*\n[^\n]*\n[^\n]*keysym 0x71, q\)`)
}

// startDesktop serves an X server by noVNC, on the sandbox's port for it. A
// clock moves in one corner, and another shows what xev tells of every key and
// button. It returns xev, which prints the same.
func startDesktop(t *testing.T) (xev *process) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "vnc")
	display, told, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer display.Close()
	cmd := exec.Command(systemTool(t, "Xtigervnc"),
		"-displayfd", "3", "-rfbunixpath", socket, "-rfbport", "-1",
		"-SecurityTypes", "None", "-geometry", "800x600", "-depth", "24", "-nolisten", "tcp", "-ac")
	cmd.ExtraFiles = []*os.File{told}
	x := start(t, "Xtigervnc", cmd)
	told.Close() // so that a server that ends is the end of what can be read
	var number int
	if _, err := fmt.Fscan(display, &number); err != nil {
		t.Fatalf("Xtigervnc did not tell its display: %v\n%s", err, x.output)
	}
	x.await(t, "open its socket", func() error {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			conn.Close()
		}
		return err
	})

	onDisplay := func(name string, args ...string) *process {
		cmd := exec.Command(systemTool(t, name), args...)
		cmd.Env = append(os.Environ(), fmt.Sprintf("DISPLAY=:%d", number))
		return start(t, name, cmd)
	}
	onDisplay("xclock", "-geometry", "300x300+450+50", "-update", "1")
	xev = onDisplay("xev", "-geometry", "300x300+50+50", "-event", "keyboard", "-event", "button", "-event", "visibility")
	xev.awaitOutput(t, "VisibilityNotify")

	address := fmt.Sprintf("%s:%d", sandboxAddress(t), vncPort)
	web := start(t, "websockify", exec.Command(systemTool(t, "websockify"),
		"--web", "/usr/share/novnc", "--unix-target", socket, address))
	web.await(t, "answer", func() error { return getOK("http://" + address + "/vnc.html") })
	return xev
}
