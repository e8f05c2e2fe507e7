package demo

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
)

// SandboxCommand is the command of the binary that runs one sandbox.
const SandboxCommand = "demo-sandbox"

// firstInherited is the first file of a child after its standard ones.
const firstInherited = 3

// child is a sandbox in a process of its own.
type child struct {
	addresses map[uint16]string // host:port of its server for each of ports
	process   *exec.Cmd
	stdin     io.Closer
	ended     chan struct{} // closed when the process is gone
	err       error         // how it ended; read after ended
}

// startChild runs this very program as a sandbox that answers on listeners, one
// for each of ports, which it takes over: so nobody has to wait until it
// listens. The child ends when its standard input does, and so with this
// process. The kernel is asked to kill it too, in case it is stopped and can't
// read.
func startChild(name string, listeners []net.Listener, log io.Writer) (*child, error) {
	defer closeAll(listeners)
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{addresses: make(map[uint16]string, len(ports)), ended: make(chan struct{})}
	c.process = exec.Command(program, SandboxCommand, name) //nolint:noctx // ends with its input
	c.process.Stderr = log
	// A group of its own: Ctrl-C in a terminal is for the edge, which drains
	// before its sandboxes go.
	c.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	for i, l := range listeners {
		c.addresses[ports[i]] = l.Addr().String()
		file, err := l.(*net.TCPListener).File()
		if err != nil {
			return nil, err
		}
		defer file.Close()
		c.process.ExtraFiles = append(c.process.ExtraFiles, file)
	}
	if c.stdin, err = c.process.StdinPipe(); err != nil {
		return nil, err
	}
	if err := c.process.Start(); err != nil {
		return nil, err
	}
	go func() { // ends with the process, which stop ends
		c.err = c.process.Wait()
		close(c.ended)
	}()
	return c, nil
}

// inherited are the listeners that startChild left to this process.
func inherited() ([]net.Listener, error) {
	listeners := make([]net.Listener, 0, len(ports))
	for i := range ports {
		file := os.NewFile(uintptr(firstInherited+i), "listener")
		l, err := net.FileListener(file)
		_ = file.Close() // l has a copy
		if err != nil {
			closeAll(listeners)
			return nil, fmt.Errorf("only the demo starts a sandbox: %w", err)
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

// freeze makes the process stand still, with all that it has in memory.
func (c *child) freeze() error { return c.process.Process.Signal(syscall.SIGSTOP) }

// thaw lets it go on.
func (c *child) thaw() error { return c.process.Process.Signal(syscall.SIGCONT) }

// stop ends the process and waits for it.
func (c *child) stop() {
	_ = c.stdin.Close()
	_ = c.process.Process.Kill()
	<-c.ended
}
