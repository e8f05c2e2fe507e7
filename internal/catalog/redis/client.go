package redis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"cmux.sh/edge/internal/catalog"
)

// SetLogger sends what go-redis has to say to log, at the level of debugging:
// what matters of it is in the errors of calls. go-redis has one logger for the
// whole process and writes to standard error unless it is told otherwise.
func SetLogger(log *slog.Logger) { goredis.SetLogger(logger{log}) }

type logger struct{ log *slog.Logger }

// Printf implements go-redis's interface.
func (l logger) Printf(ctx context.Context, format string, args ...any) {
	l.log.DebugContext(ctx, "redis client", "message", fmt.Sprintf(format, args...))
}

// client makes the client of a mode. It does not connect yet.
func (o *Options) client(timeout time.Duration) (goredis.UniversalClient, error) {
	verify, err := o.tlsConfig()
	if err != nil {
		return nil, err
	}
	u := &goredis.UniversalOptions{
		Addrs: o.Addrs, DB: o.DB, MasterName: o.Master,
		Username: o.Username, Password: o.Password,
		SentinelUsername: o.SentinelUsername, SentinelPassword: o.SentinelPassword,
		TLSConfig: verify, IsClusterMode: o.Mode == Cluster,
		// Two attempts fit into a call's timeout: the first may find that a
		// pooled connection died.
		MaxRetries: 1, MinRetryBackoff: time.Millisecond, MaxRetryBackoff: 10 * time.Millisecond,
		DialTimeout: timeout / 2, ReadTimeout: timeout / 2, WriteTimeout: timeout / 2, DialerRetries: 1,
		PoolTimeout:           timeout,
		ContextTimeoutEnabled: true,
		ReadBufferSize:        8 << 10, WriteBufferSize: 8 << 10,
		PipelinePoolSize: -1,
		// Neither is needed, and both are commands that an ACL may refuse.
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	switch o.Mode {
	case Cluster:
		return goredis.NewClusterClient(u.Cluster()), nil
	case Sentinel:
		return goredis.NewFailoverClient(u.Failover()), nil
	default:
		return goredis.NewClient(u.Simple()), nil
	}
}

// tlsConfig is nil without TLS. There is no way to leave out verification.
func (o *Options) tlsConfig() (*tls.Config, error) {
	if !o.TLS {
		return nil, nil //nolint:nilnil // go-redis takes nil for plain TCP
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: o.ServerName}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		if c.RootCAs = x509.NewCertPool(); !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("ca_file: no certificate in it")
		}
	}
	if o.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("cert_file, key_file: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// script runs a script on the node that has its keys.
func (s *Store) script(ctx context.Context, script *goredis.Script, keys []string, args ...any) ([]any, error) {
	return reply(script.Run(ctx, s.client, keys, args...))
}

// durable runs a script and lets a replica, where there is one, confirm what it
// wrote. WAIT speaks of what its own connection wrote, so both go in one batch.
func (s *Store) durable(ctx context.Context, script *goredis.Script, keys []string, args ...any) ([]any, error) {
	node, err := s.node(ctx, keys[0])
	if err != nil {
		return nil, err
	}
	if !s.replicated(ctx, node) {
		return s.script(ctx, script, keys, args...)
	}
	batch := func(run func(context.Context, goredis.Scripter, []string, ...any) *goredis.Cmd) *goredis.Cmd {
		p := node.Pipeline()
		cmd := run(ctx, p, keys, args...)
		p.Do(ctx, "WAIT", 1, confirmation.Milliseconds())
		_, _ = p.Exec(ctx) // cmd has its own error; that of WAIT changes nothing
		return cmd
	}
	cmd := batch(script.EvalSha)
	if goredis.HasErrorPrefix(cmd.Err(), "NOSCRIPT") {
		cmd = batch(script.Eval)
	}
	if s.cluster != nil && moved(cmd.Err()) { // the client finds the node by itself
		return s.script(ctx, script, keys, args...)
	}
	return reply(cmd)
}

// confirmation is how long a write waits for a replica.
const confirmation = 100 * time.Millisecond

// moved tells whether a node sent the client to another one.
func moved(err error) bool {
	return goredis.HasErrorPrefix(err, "MOVED") || goredis.HasErrorPrefix(err, "ASK")
}

// node is the master that has a key.
func (s *Store) node(ctx context.Context, key string) (*goredis.Client, error) {
	if s.cluster != nil {
		return s.cluster.MasterForKey(ctx, key)
	}
	return s.client.(*goredis.Client), nil
}

// replicas is whether a node had replicas at a time.
type replicas struct {
	some bool
	at   time.Time
}

// replicated tells whether a node has replicas. Without any, WAIT would only
// wait; a node that does not tell is taken for one without.
func (s *Store) replicated(ctx context.Context, node *goredis.Client) bool {
	const fresh = 10 * time.Second
	addr := node.Options().Addr
	if known, ok := s.replicas.Load(addr); ok {
		if r := known.(replicas); time.Since(r.at) < fresh {
			return r.some
		}
	}
	info, err := node.Info(ctx, "replication").Result()
	some := err == nil && infoField(info, "connected_slaves") != "0"
	s.replicas.Store(addr, replicas{some: some, at: time.Now()})
	return some
}

// infoField finds a line of INFO; "" when it is not there.
func infoField(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// reply is a script's answer: an array, or a single text as one.
func reply(cmd *goredis.Cmd) ([]any, error) {
	value, err := cmd.Result()
	if err != nil {
		return nil, err
	}
	if list, ok := value.([]any); ok {
		return list, nil
	}
	return []any{value}, nil
}

// limit is the caller's context with the store's own end.
func (s *Store) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.timeout)
}

// failed is the error of a call to Redis: the caller's own when its context
// has ended, else that the catalogue is unavailable.
func (s *Store) failed(ctx context.Context, op, subject string, err error) error {
	if s.cluster != nil {
		// go-redis goes on asking a node that is gone: after a fail-over it was
		// seen to do so for 20 s and more.
		s.cluster.ReloadState(ctx)
	}
	if subject != "" {
		op += " " + subject
	}
	if ended := ctx.Err(); ended != nil {
		return fmt.Errorf("%s: %w", op, ended)
	}
	return fmt.Errorf("%s: %w: %w", op, catalog.ErrUnavailable, err)
}
