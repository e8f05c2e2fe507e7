package redistest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// Patience is how long the tests wait for what happens by itself.
const Patience = 20 * time.Second

// Server is one running process.
type Server struct {
	// Addr is where it listens. It stays the same over a restart.
	Addr string

	t       testing.TB
	command string
	dir     string
	args    []string
	process *exec.Cmd
	exited  chan struct{}
	output  bytes.Buffer
}

// Start starts a server and waits until it answers. args are further lines of
// its configuration, as command-line arguments: "--maxmemory-policy",
// "allkeys-lru".
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	return start(t, "redis-server", args...)
}

// URL is the server for redis.Parse.
func (s *Server) URL() string { return "redis://" + s.Addr }

// Pid is that of the running process.
func (s *Server) Pid() int { return s.process.Process.Pid }

// start tries a few ports, since one that was free may be taken meanwhile.
func start(t testing.TB, command string, args ...string) *Server {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a Redis server")
	}
	if _, err := exec.LookPath(command); err != nil {
		t.Fatalf("%v\ninstall: tools/setup", err)
	}
	for range 5 {
		dir := t.TempDir()
		port := freePort(t)
		s := &Server{
			Addr: net.JoinHostPort("127.0.0.1", port), t: t, command: command, dir: dir,
			args: append([]string{
				"--port", port, "--bind", "127.0.0.1", "--dir", dir, "--daemonize", "no", "--save", "", "--appendonly", "no",
			}, args...),
		}
		if command == "redis-sentinel" { // it rewrites its configuration and wants a file
			file := filepath.Join(dir, "sentinel.conf")
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			s.args = append([]string{file, "--port", port, "--bind", "127.0.0.1", "--dir", dir, "--daemonize", "no"}, args...)
		}
		if s.run() {
			t.Cleanup(s.Kill)
			return s
		}
		t.Logf("%s on port %s:\n%s", command, port, s.output.String())
	}
	t.Fatalf("%s does not start", command)
	return nil
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// run starts the process and tells whether it came to answer.
func (s *Server) run() bool {
	s.t.Helper()
	s.process = exec.CommandContext(context.Background(), s.command, s.args...) // ends with Kill
	s.process.Stdout, s.process.Stderr = &s.output, &s.output
	// A test that dies takes its servers along.
	s.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	process, exited := s.process, make(chan struct{})
	s.exited = exited
	go func() { // ends with the process
		defer close(exited)
		_ = process.Wait()
	}()
	deadline := time.Now().Add(Patience)
	for time.Now().Before(deadline) {
		select {
		case <-exited:
			return false
		case <-time.After(5 * time.Millisecond):
		}
		// The reply names the process, so that no other server on the port is
		// taken for this one.
		if info, err := s.Do("INFO", "server"); err == nil && infoField(info, "process_id") == strconv.Itoa(process.Process.Pid) {
			return true
		}
	}
	s.Kill()
	return false
}

// Kill ends the process at once, as a power cut would.
func (s *Server) Kill() {
	_ = s.process.Process.Kill()
	<-s.exited
}

// Freeze stops the process where it is; its connections stand.
func (s *Server) Freeze() {
	s.t.Helper()
	if err := s.process.Process.Signal(syscall.SIGSTOP); err != nil {
		s.t.Fatal(err)
	}
}

// Restart starts the server again after Kill, on the same port, with nothing
// of what it held.
func (s *Server) Restart() {
	s.t.Helper()
	if !s.run() {
		s.t.Fatalf("%s does not start again:\n%s", s.command, s.output.String())
	}
}

// Do sends one command over a connection of its own and returns the reply, an
// array as lines.
func (s *Server) Do(words ...string) (string, error) {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "tcp", s.Addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	if _, err := conn.Write(b.Bytes()); err != nil {
		return "", err
	}
	return readReply(bufio.NewReader(conn))
}

// Must is Do for commands that succeed.
func (s *Server) Must(words ...string) string {
	s.t.Helper()
	reply, err := s.Do(words...)
	if err != nil {
		s.t.Fatalf("%s: %v", words[0], err)
	}
	return reply
}

// Eventually waits for a condition.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Patience); time.Now().Before(deadline); {
		if holds() {
			return
		}
		<-time.After(5 * time.Millisecond)
	}
	t.Fatalf("after %v still not: %s", Patience, what)
}
