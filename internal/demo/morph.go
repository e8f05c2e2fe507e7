package demo

import (
	"cmp"
	"context"
	"crypto/rand"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"time"

	"cmux.sh/edge/internal/adminapi"
	"cmux.sh/edge/internal/config"
	"cmux.sh/edge/internal/sandbox/morph/morphsim"
)

// snapshot is what the instances of the simulated account are made from.
const snapshot = "snapshot_demo"

// openMorph makes a Morph Cloud account with one snapshot.
func openMorph(log io.Writer) (*source, error) {
	instances := &machines{log: log}
	transport := &http.Transport{}
	key := "morph_" + rand.Text()
	services := make([]morphsim.Service, len(ports))
	for i, port := range ports {
		services[i].Port = int(port)
	}
	sim, err := morphsim.New(morphsim.Config{
		Key:       key,
		Snapshots: map[string][]morphsim.Service{snapshot: services},
		// Shorter than the real ones, long enough to be seen.
		Latency: morphsim.Latency{Create: time.Second, Pause: 400 * time.Millisecond, Resume: 300 * time.Millisecond},
		NewMachine: func(in morphsim.Instance) morphsim.Machine {
			return &morphMachine{instances.add(cmp.Or(in.Metadata["edge_slug"], in.ID)), transport}
		},
	})
	if err != nil {
		return nil, err
	}
	ca, removeCA, err := writeCA(sim.CAPEM())
	s := &source{
		slugs: []string{"demo", "other"},
		start: []adminapi.StartRequest{{Slug: "demo"}, {Slug: "other"}},
		try: [][2]string{
			{"sandbox list", "what there is"},
			{"sandbox pause demo", "its RAM is saved"},
			{"sandbox resume demo", "the counter is still there"},
			{"sandbox start --ttl 1m", "a new one, which pauses a minute after its last use"},
			{"sandbox delete other", "with its disk"},
			{"providers", "their health"},
			{"events", "what happens, as it happens"},
		},
		close: func() {
			_ = sim.Close() // nobody uses it any more
			instances.stop()
			transport.CloseIdleConnections()
			removeCA()
		},
	}
	if err != nil {
		s.close()
		return nil, err
	}
	s.configure = func(c *config.Config) {
		// The services' names lie below .localhost.
		c.Upstream.AllowCIDRs = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
		c.Providers.Morph = &config.Morph{
			URL: sim.URL(), APIKey: config.NewSecret(key), CAFile: ca, HTTPSuffix: sim.Suffix(),
			DisableWakeOnHTTP: true, Snapshots: map[string]string{"default": snapshot},
		}
		c.Routing.Primary = "morph"
	}
	return s, nil
}

// morphMachine is an instance behind the simulator's front.
type morphMachine struct {
	*machine
	transport *http.Transport
}

// Start implements [morphsim.Machine].
func (m *morphMachine) Start(ctx context.Context, fresh bool) error {
	if !fresh {
		return m.load()
	}
	listeners, err := listenAnywhere(ctx)
	if err != nil {
		return err
	}
	return m.boot(listeners)
}

// Handler carries what comes to a port to the process.
func (m *morphMachine) Handler(port int) http.Handler {
	address, ok := m.addresses()[uint16(port)] //nolint:gosec // the simulator's are those of openMorph
	if !ok {
		return nil
	}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: address})
			r.Out.Host = r.In.Host
		},
		Transport: m.transport,
		ErrorLog:  log.New(io.Discard, "", 0), // the client is told
	}
}
