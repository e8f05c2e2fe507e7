package morphsim

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// The statuses of the API.
const (
	Pending = "pending"
	Ready   = "ready"
	Paused  = "paused"
	Saving  = "saving"
	Failed  = "error"
)

// Service is an exposed port.
type Service struct {
	// Name is the first part of its host name; empty is "port-<Port>".
	Name string
	Port int
	// URL is shown in place of the true one, for tests of those who read it.
	URL string
	// AuthMode is "none" or "api_key"; empty is none.
	AuthMode string
}

// Instance describes an instance: to [Server.Add], and as it is now.
type Instance struct {
	// ID is drawn when it is empty.
	ID string
	// Status is [Ready] when it is empty.
	Status   string
	Created  time.Time
	Snapshot string
	Metadata map[string]string
	Services []Service
	// TTL is the time to live in seconds, 0 for none; Expires is when it runs
	// out and Action what happens then.
	TTL     int64
	Action  string
	Expires time.Time
	// WakeOnHTTP and WakeOnSSH: a request wakes it.
	WakeOnHTTP, WakeOnSSH bool
}

// vm is an instance of the simulator's. Its fields are guarded by Server.mu.
type vm struct {
	Instance
	machine Machine
	// busy is closed when what is under way ends; nil when nothing is.
	busy       chan struct{}
	emptyReads int
	clock      *time.Timer
	gone       bool
}

func (v *vm) stopClock() {
	if v.clock != nil {
		v.clock.Stop()
	}
}

func (v *vm) view() Instance {
	in := v.Instance
	in.Metadata, in.Services = maps.Clone(in.Metadata), slices.Clone(in.Services)
	return in
}

// Add puts an instance into the account, as it is described, and returns its
// id. Its machine is started when it is ready.
func (s *Server) Add(in Instance) (string, error) {
	if in.Status == "" {
		in.Status = Ready
	}
	v := s.newVM(in)
	if v.machine != nil && in.Status == Ready {
		if err := v.machine.Start(s.ctx, true); err != nil {
			return "", fmt.Errorf("start the machine of %s: %w", v.ID, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.vms[v.ID] != nil {
		return "", fmt.Errorf("%s is there already", v.ID)
	}
	s.vms[v.ID] = v
	s.setClock(v)
	return v.ID, nil
}

// newVM makes an instance with its machine; without s.mu.
func (s *Server) newVM(in Instance) *vm {
	if in.ID == "" {
		in.ID = "morphvm_" + strings.ToLower(rand.Text()[:8])
	}
	if in.Created.IsZero() {
		in.Created = time.Now()
	}
	in.Services = slices.Clone(in.Services)
	for i := range in.Services {
		in.Services[i].Name = cmp.Or(in.Services[i].Name, fmt.Sprintf("port-%d", in.Services[i].Port))
		in.Services[i].AuthMode = cmp.Or(in.Services[i].AuthMode, "none")
	}
	v := &vm{Instance: in}
	if s.cfg.NewMachine != nil {
		v.machine = s.cfg.NewMachine(v.view())
	}
	return v
}

// Get describes an instance.
func (s *Server) Get(id string) (in Instance, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.vms[id]
	if !ok {
		return Instance{}, false
	}
	return v.view(), true
}

// Instances describes all instances, in the order of their creation.
func (s *Server) Instances() []Instance {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Instance
	for _, v := range s.sorted() {
		all = append(all, v.view())
	}
	return all
}

func (s *Server) sorted() []*vm {
	return slices.SortedFunc(maps.Values(s.vms), func(a, b *vm) int {
		return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID))
	})
}

// Edit changes an instance behind everybody's back. Its time to live runs from
// the new values; its machine is left as it is.
func (s *Server) Edit(id string, change func(*Instance)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok := s.vms[id]; ok {
		change(&v.Instance)
		s.setClock(v)
	}
}

// Remove takes an instance away.
func (s *Server) Remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok := s.vms[id]; ok {
		s.remove(v)
	}
}

// remove takes an instance away at once and its machine when nothing is under
// way any more; with s.mu.
func (s *Server) remove(v *vm) {
	v.gone = true
	v.stopClock()
	delete(s.vms, v.ID)
	if v.machine == nil || s.closed {
		return
	}
	busy := v.busy
	s.work.Go(func() {
		if busy != nil {
			<-busy
		}
		_ = v.machine.Remove(s.ctx) // nobody is left to tell
	})
}

// begin lets an instance be in a passing status while deed is done, and then in
// another one. The result is closed at the end; with s.mu.
func (s *Server) begin(v *vm, during, after string, latency time.Duration, deed func(ctx context.Context) error) <-chan struct{} {
	end := make(chan struct{})
	v.Status, v.busy = during, end
	if s.closed {
		close(end)
		return end
	}
	s.work.Go(func() {
		defer close(end)
		err := s.sleep(s.ctx, latency)
		if err == nil && v.machine != nil && deed != nil {
			err = deed(s.ctx)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		v.Status, v.busy = after, nil
		if err != nil && !errors.Is(err, context.Canceled) {
			v.Status = Failed
		}
		if after == Ready {
			s.setClock(v)
		}
	})
	return end
}

func (s *Server) boot(v *vm) <-chan struct{} {
	return s.begin(v, Pending, Ready, s.cfg.Latency.Create, func(ctx context.Context) error { return v.machine.Start(ctx, true) })
}

func (s *Server) pause(v *vm) <-chan struct{} {
	return s.begin(v, Saving, Paused, s.cfg.Latency.Pause, func(ctx context.Context) error { return v.machine.Suspend(ctx) })
}

func (s *Server) resume(v *vm) <-chan struct{} {
	if v.TTL > 0 && s.cfg.ResumeRenewsTTL {
		v.Expires = time.Now().Add(time.Duration(v.TTL) * time.Second)
	}
	return s.begin(v, Pending, Ready, s.cfg.Latency.Resume, func(ctx context.Context) error { return v.machine.Start(ctx, false) })
}

func (s *Server) save(v *vm) <-chan struct{} {
	return s.begin(v, Saving, v.Status, s.cfg.Latency.Save, nil)
}

// setClock makes the time to live run out when it is due, and soon after when
// that is past; with s.mu.
func (s *Server) setClock(v *vm) {
	v.stopClock()
	if v.Expires.IsZero() || v.gone || s.closed {
		return
	}
	v.clock = time.AfterFunc(max(time.Until(v.Expires), s.cfg.Latency.Expiry), func() {
		if s.enter() {
			defer s.work.Done()
			s.expire(v)
		}
	})
}

func (s *Server) expire(v *vm) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case v.gone || v.Expires.IsZero() || time.Until(v.Expires) > 0:
	case v.busy != nil:
		s.setClock(v)
	case v.Action != "pause":
		s.remove(v)
	case v.Status == Ready:
		s.pause(v)
	}
}

// handler is what answers on a port of a running instance.
func (v *vm) handler(port int) http.Handler {
	if v.machine != nil {
		return v.machine.Handler(port)
	}
	id := v.ID
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s:%d %s %s\n", id, port, r.Method, r.URL.Path)
	})
}
