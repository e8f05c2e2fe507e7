package admin

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"cmux.sh/edge/internal/reply"
)

// Config says who may do what.
type Config struct {
	// Token is demanded in Authorization: Bearer; empty demands none.
	Token string
	// OpenMetrics leaves /metrics readable without the token, for a port that
	// only this machine can reach.
	OpenMetrics bool
}

// Readiness tells whether traffic should come.
type Readiness interface {
	// NotReady names what is missing, one phrase each; none when the edge is
	// ready. It does not block.
	NotReady() []string
	// Degraded names what does not work although traffic may come. It does not
	// block.
	Degraded() []string
}

// New makes the handler of the admin port. It serves the metrics of gatherer.
func New(c Config, ready Readiness, gatherer prometheus.Gatherer, sandboxes Sandboxes, explainer Explainer) http.Handler {
	a := &access{openMetrics: c.OpenMetrics}
	if c.Token != "" {
		a.demanded, a.digest = true, sha256.Sum256([]byte(c.Token))
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", healthz)
	mux.HandleFunc("GET /readyz", readyz(ready))
	mux.Handle("GET /metrics", promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	(&api{sandboxes, explainer}).routes(mux)
	// Browsers say where a request comes from; one from another site that
	// would change something is refused, whatever it carries.
	sameSite := http.NewCrossOriginProtection()
	sameSite.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refuse(w, r, http.StatusForbidden, reply.Forbidden, "The request comes from a page of another site")
	}))
	return a.protect(sameSite.Handler(mux))
}

// refuse answers a request that may not pass, in the form of the API below its
// path and as text elsewhere.
func refuse(w http.ResponseWriter, r *http.Request, status int, code reply.Code, sentence string) {
	if strings.HasPrefix(r.URL.Path, "/api/") {
		problem(w, status, code, sentence)
		return
	}
	text(w, status, sentence+"\n")
}

// healthz says that the process lives.
func healthz(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok\n") }

// readyz says whether traffic should come, and if not, why.
func readyz(ready Readiness) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		missing := ready.NotReady()
		if len(missing) == 0 {
			state := "ready"
			if without := ready.Degraded(); len(without) > 0 {
				state += ", degraded: " + strings.Join(without, ", ")
			}
			text(w, http.StatusOK, state+"\n")
			return
		}
		w.Header().Set("Retry-After", "1")
		text(w, http.StatusServiceUnavailable, "not ready: "+strings.Join(missing, ", ")+"\n")
	}
}

func text(w http.ResponseWriter, status int, body string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body) // a client that left needs no answer
}

// access decides about each request.
type access struct {
	demanded    bool
	digest      [sha256.Size]byte
	openMetrics bool
}

// protect lets through what may pass to next.
func (a *access) protect(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", rand.Text())
		public := r.URL.Path == "/healthz" || r.URL.Path == "/readyz"
		// Whoever has the token is no page that was led here by a false name.
		token := a.demanded && a.holdsToken(r)
		switch {
		case public, token:
			next.ServeHTTP(w, r)
		case !ownName(r.Host):
			refuse(w, r, http.StatusForbidden, reply.Forbidden, "This Host is not one of the admin port's: use an IP address or localhost, or send the token")
		case a.demanded && (r.URL.Path != "/metrics" || !a.openMetrics):
			w.Header().Set("WWW-Authenticate", `Bearer realm="edge admin"`)
			refuse(w, r, http.StatusUnauthorized, reply.Unauthorized, "Send the admin token: Authorization: Bearer TOKEN")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// holdsToken compares digests, so that neither content nor length shows in the
// time it takes.
func (a *access) holdsToken(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	digest := sha256.Sum256([]byte(strings.TrimSpace(token)))
	return subtle.ConstantTimeCompare(digest[:], a.digest[:]) == 1
}

// ownName tells whether a Host names this machine in a way that no foreign DNS
// answer can make up: an IP address or localhost.
func ownName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
	if host == "localhost" {
		return true
	}
	_, err := netip.ParseAddr(host)
	return err == nil
}
