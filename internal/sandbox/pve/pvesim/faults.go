package pvesim

import (
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Fault makes requests fail. Exactly one of Status, Garbage, CutBefore and
// CutAfter is usually set; with none of them the fault only delays.
type Fault struct {
	// Endpoint names whom it hits, by [Endpoint.Name]; "" is everybody,
	// requests to unknown paths included.
	Endpoint string
	// Times is how many requests it hits; 0 is all until it is removed.
	Times int
	// Delay comes before everything else.
	Delay time.Duration
	// Status and Reason are the answer in place of the deed. Empty leaves out
	// the body, as pveproxy does when another node fails it (595, 596).
	Status int
	Reason string
	Empty  bool
	// After does the deed first, and then answers Status.
	After bool
	// Garbage is a body that is sent with status 200 in place of the deed.
	Garbage string
	// CutBefore closes the connection in place of the deed.
	CutBefore bool
	// CutAfter does the deed and closes the connection without an answer.
	CutAfter bool
}

func (f *Fault) after() bool { return f.After && f.Status != 0 }

// Inject adds a fault and returns a function that removes it. Of several that
// fit a request the one injected first is used.
func (s *Server) Inject(f Fault) (remove func()) {
	added := &f
	s.mu.Lock()
	s.faults = append(s.faults, added)
	s.mu.Unlock()
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.faults = slices.DeleteFunc(s.faults, func(x *Fault) bool { return x == added })
	}
}

// TaskFault makes worker tasks fail.
type TaskFault struct {
	// Type is the task's type ("qmstart"); "" is any.
	Type string
	// Times is how many tasks it hits; 0 is all until it is removed.
	Times int
	// Text is the exit status, "unexpected status" for a worker that was
	// killed. Warnings ends the task well, with that many warnings.
	Text     string
	Warnings int
	// Midway ends the task when half of its work is done and leaves everything
	// as it is then, locks included; otherwise it ends before it did anything.
	// Unlock removes the lock that a midway end would leave. After ends it
	// with Text when all was done.
	Midway, Unlock, After bool
	// Never keeps the task running for good, before it does anything.
	Never bool
}

// InjectTask adds a fault of tasks and returns a function that removes it.
func (s *Server) InjectTask(f TaskFault) (remove func()) {
	added := &f
	s.mu.Lock()
	s.taskFaults = append(s.taskFaults, added)
	s.mu.Unlock()
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.taskFaults = slices.DeleteFunc(s.taskFaults, func(x *TaskFault) bool { return x == added })
	}
}

// SetOnline takes a node off the network or brings it back. Its guests keep
// their state.
func (s *Server) SetOnline(node string, online bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offline[node] = !online
}

func (s *Server) takeFault(e *Endpoint) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.faults {
		if f.Endpoint != "" && (e == nil || f.Endpoint != e.Name()) {
			continue
		}
		hit := *f
		if f.Times == 1 {
			s.faults = slices.Delete(s.faults, i, i+1)
		} else if f.Times > 1 {
			f.Times--
		}
		return &hit
	}
	return nil
}

func (s *Server) takeTaskFault(typ string) TaskFault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.taskFaults {
		if f.Type != "" && f.Type != typ {
			continue
		}
		hit := *f
		if f.Times == 1 {
			s.taskFaults = slices.Delete(s.taskFaults, i, i+1)
		} else if f.Times > 1 {
			f.Times--
		}
		return hit
	}
	return TaskFault{}
}

// before plays the part of a fault that comes before the deed, and tells
// whether the request is finished with it.
func (s *Server) before(w http.ResponseWriter, r *http.Request, f *Fault) bool {
	if f.Delay > 0 && s.cfg.Sleep(r.Context(), f.Delay) != nil {
		cut(w)
		return true
	}
	switch {
	case f.CutBefore:
		cut(w)
	case f.Garbage != "":
		w.Header().Set("Content-Type", "application/json;charset=UTF-8")
		_, _ = fmt.Fprint(w, f.Garbage)
	case f.Status != 0 && !f.After:
		s.refuse(w, &failure{status: f.Status, reason: f.Reason, empty: f.Empty})
	default:
		return false
	}
	return true
}

// reach fails when node can't be reached from the node that answers.
func (s *Server) reach(node string) error {
	if node == "localhost" {
		return nil
	}
	if !slices.Contains(s.cfg.Nodes, node) {
		return die("hostname lookup '%s' failed - failed to get address info for: %s: Name or service not known", node, node)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.offline[node] {
		return &failure{status: 595, reason: "No route to host", empty: true}
	}
	return nil
}
