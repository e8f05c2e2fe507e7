package pvesim

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// upidForm is UPID:{node}:{pid}:{pstart}:{starttime}:{type}:{id}:{user}: with
// hexadecimal numbers.
var upidForm = regexp.MustCompile(`^UPID:([a-zA-Z0-9-]+):([0-9A-F]{8}):([0-9A-F]{8,9}):([0-9A-F]{8}):([^:\s]+):([^:\s]*):([^:\s]+):$`)

// killed is the exit status of a worker that died without a last line.
const killed = "unexpected status"

// task is a worker process. Its fields are guarded by Server.mu.
type task struct {
	upid, node, typ, id string
	pid                 int
	pstart, started     int64
	ended               int64
	exit                string // "" while it runs
	log                 []string
	fault               TaskFault
	cancel              context.CancelFunc
}

// diedError ends a worker without any of its clean-up, as a kill does.
type diedError struct{ text string }

func (d *diedError) Error() string { return d.text }

// fork starts a worker, which ends with its work or with Close, and returns its
// UPID. undo is what the worker cleans up
// when it fails before its work.
func (s *Server) fork(ctx context.Context, node, typ string, vmid int, work func(context.Context, *task) error, undo ...func()) (any, error) {
	fault := s.takeTaskFault(typ)
	full, _, _ := s.tokenParts()
	now := s.cfg.Now()
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // a task outlives its request
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		cancel()
		return nil, die("the daemon is shutting down")
	}
	s.pid++
	t := &task{node: node, typ: typ, id: strconv.Itoa(vmid), pid: s.pid, pstart: now.UnixMilli()/10 - 1_700_000_00_000, started: now.Unix(), fault: fault, cancel: cancel}
	t.pstart &= 0xFFFFFFF
	t.upid = fmt.Sprintf("UPID:%s:%08X:%08X:%08X:%s:%s:%s:", node, t.pid, t.pstart, t.started, typ, t.id, full)
	s.tasks[t.upid] = t
	s.taskOrder = append(s.taskOrder, t)
	s.work.Add(1)
	s.mu.Unlock()
	go func() { // ends with the task, at the latest with Close, which waits for it
		defer s.work.Done()
		defer cancel()
		defer s.atClose(cancel)()
		exit := s.run(ctx, t, work, undo)
		s.mu.Lock()
		defer s.mu.Unlock()
		t.exit, t.ended = exit, s.cfg.Now().Unix()
		if exit == "OK" || strings.HasPrefix(exit, "WARNINGS: ") {
			t.log = append(t.log, "TASK "+exit)
		} else {
			t.log = append(t.log, "TASK ERROR: "+exit)
		}
	}()
	return t.upid, nil
}

// carry starts the worker of a start or a stop. For a guest that the
// high-availability manager looks after the request is only filed: the task
// that is answered ends with that, and the manager's own follows later.
func (s *Server) carry(ctx context.Context, g *guest, node, typ string, vmid int, work func(context.Context, *task) error) (any, error) {
	s.mu.Lock()
	managed := g != nil && g.ha
	s.mu.Unlock()
	if !managed {
		return s.fork(ctx, node, typ, vmid, work)
	}
	_, err := s.fork(ctx, node, typ, vmid, func(ctx context.Context, t *task) error {
		if err := s.cfg.Sleep(ctx, s.cfg.Latency.Manager); err != nil {
			return err
		}
		return work(ctx, t)
	})
	if err != nil {
		return nil, err
	}
	return s.fork(ctx, node, "ha"+typ[len("qm"):], vmid, func(context.Context, *task) error { return nil })
}

func (s *Server) run(ctx context.Context, t *task, work func(context.Context, *task) error, undo []func()) string {
	f := t.fault
	if f.Never {
		<-ctx.Done()
		return "received interrupt"
	}
	if f.Text != "" && !f.Midway && !f.After {
		for _, clean := range undo {
			if f.Text != killed {
				clean()
			}
		}
		return f.Text
	}
	err := work(ctx, t)
	switch died, ok := errors.AsType[*diedError](err); {
	case ok:
		return died.text
	case ctx.Err() != nil:
		return "received interrupt"
	case err != nil:
		text, _, _ := strings.Cut(err.Error(), "\n")
		if f, ok := errors.AsType[*failure](err); ok {
			text, _, _ = strings.Cut(f.reason, "\n")
		}
		return text
	case f.After && f.Text != "":
		return f.Text
	case f.Warnings > 0:
		return fmt.Sprintf("WARNINGS: %d", f.Warnings)
	}
	return "OK"
}

// half is where a worker has done half of its work on g: a midway fault ends
// it here.
func (s *Server) half(t *task, g *guest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !t.fault.Midway {
		return nil
	}
	if t.fault.Unlock {
		g.lock = ""
	}
	return &diedError{t.fault.Text}
}

// say adds a line to the task's log.
func (s *Server) say(t *task, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.log = append(t.log, fmt.Sprintf(format, args...))
}

// flock waits for a guest's config lock. class is "VM" or "CT" of the guest.
func (s *Server) flock(ctx context.Context, g *guest) (release func(), err error) {
	timeout := time.NewTimer(s.cfg.LockTimeout)
	defer timeout.Stop()
	select {
	case g.flock <- struct{}{}:
		return func() { <-g.flock }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timeout.C:
	}
	if g.kind == LXC {
		return nil, die("can't lock file '/run/lock/lxc/pve-config-%d.lock' - got timeout", g.vmid)
	}
	return nil, die("can't lock file '/var/lock/qemu-server/lock-%d.conf' - got timeout", g.vmid)
}

// locked fails when the config carries a lock other than those allowed; with
// s.mu.
func (g *guest) locked(allowed ...string) error {
	if g.lock == "" || slices.Contains(allowed, g.lock) {
		return nil
	}
	class := "VM"
	if g.kind == LXC {
		class = "CT"
	}
	return die("%s is locked (%s)", class, g.lock)
}

func (s *Server) taskByUPID(p params) (*task, error) {
	if !upidForm.MatchString(p["upid"]) {
		return nil, fail(400, "unable to parse worker upid '%s'", p["upid"])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.tasks[p["upid"]]
	if !ok || t.node != p["node"] && p["node"] != "localhost" {
		return nil, fail(400, "no such task")
	}
	return t, nil
}

func (s *Server) taskStatus(_ context.Context, p params) (any, error) {
	t, err := s.taskByUPID(p)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, user, token := s.tokenParts()
	m := map[string]any{
		"upid": t.upid, "node": t.node, "pid": t.pid, "pstart": t.pstart, "starttime": t.started,
		"type": t.typ, "id": t.id, "user": user, "tokenid": token, "status": "running",
	}
	if t.exit != "" {
		m["status"], m["exitstatus"] = "stopped", t.exit
	}
	return m, nil
}

func (s *Server) taskLog(_ context.Context, p params) (any, error) {
	t, err := s.taskByUPID(p)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	limit := 50
	if _, ok := p["limit"]; ok {
		limit = p.num("limit")
	}
	lines := []map[string]any{}
	for i, line := range t.log {
		if i >= p.num("start") && len(lines) < limit {
			lines = append(lines, map[string]any{"n": i + 1, "t": line})
		}
	}
	return lines, nil
}

func (s *Server) taskStop(_ context.Context, p params) (any, error) {
	t, err := s.taskByUPID(p)
	if err != nil {
		return nil, err
	}
	t.cancel()
	return nil, nil
}

// taskList lists archived tasks, newest first, or the running ones.
func (s *Server) taskList(_ context.Context, p params) (any, error) {
	source := p["source"]
	if source == "" {
		source = "archive"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	full, _, _ := s.tokenParts()
	list := []map[string]any{}
	for _, t := range slices.Backward(s.taskOrder) {
		running := t.exit == ""
		if t.node != p["node"] || p["vmid"] != "" && p["vmid"] != t.id || p["typefilter"] != "" && p["typefilter"] != t.typ ||
			source == "active" && !running || source == "archive" && running {
			continue
		}
		m := map[string]any{"upid": t.upid, "node": t.node, "pid": t.pid, "pstart": t.pstart, "starttime": t.started, "type": t.typ, "id": t.id, "user": full}
		if running {
			m["status"] = "RUNNING"
		} else {
			m["status"], m["endtime"] = t.exit, t.ended
		}
		list = append(list, m)
	}
	return list, nil
}
