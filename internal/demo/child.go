package demo

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// SandboxCommand is the command of the binary that runs one sandbox.
const SandboxCommand = "demo-sandbox"

// child is a sandbox in a process of its own.
type child struct {
	name    string
	address string // host:port of its server
	process *exec.Cmd
	stdin   io.Closer
	ended   chan struct{} // closed when the process is gone
	err     error         // how it ended; read after ended
}

// startChild runs this very program as a sandbox and waits until it listens.
// The child ends when its standard input does, and so with this process. The
// kernel is asked to kill it too, in case it is stopped and can't read.
func startChild(name string, log io.Writer) (*child, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{name: name, ended: make(chan struct{})}
	c.process = exec.Command(program, SandboxCommand, name) //nolint:noctx // ends with its input
	c.process.Stderr = log
	// A group of its own: Ctrl-C in a terminal is for the edge, which drains
	// before its sandboxes go.
	c.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	stdin, err := c.process.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := c.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.process.Start(); err != nil {
		return nil, err
	}
	c.stdin = stdin
	line, err := bufio.NewReader(stdout).ReadString('\n')
	go func() { // ends with the process, which stop ends
		c.err = c.process.Wait()
		close(c.ended)
	}()
	if err != nil {
		c.stop()
		return nil, fmt.Errorf("it did not say where it listens: %w", errors.Join(err, c.err))
	}
	c.address = strings.TrimSpace(line)
	return c, nil
}

// stop ends the process and waits for it.
func (c *child) stop() {
	_ = c.stdin.Close()
	_ = c.process.Process.Kill()
	<-c.ended
}
