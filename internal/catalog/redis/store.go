package redis

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"cmux.sh/edge/internal/catalog"
)

// Config is how a store behaves. The zero value works.
type Config struct {
	// Prefix begins every key and channel; "" is "edge:". It holds no braces.
	Prefix string
	// Retention is how long a tombstone answers for its slug; 0 is 7 days.
	Retention time.Duration
	// Timeout is what a call costs at most; 0 is 1 s.
	Timeout time.Duration
	// Poll is how often a watcher looks for news that was not pushed; 0 is 5 s.
	Poll time.Duration
	// Log is told when a watch breaks and when it goes on; nil is nobody.
	Log *slog.Logger
}

// Store is a [catalog.Catalog] in Redis. Close ends it.
type Store struct {
	client  goredis.UniversalClient
	cluster *goredis.ClusterClient // the client, in a cluster

	prefix, channel, events string
	retention               time.Duration
	timeout, poll           time.Duration
	log                     *slog.Logger

	write, touch, take, renew, release *goredis.Script

	// seen is the largest number that this replica has met. It goes into every
	// draw, so that no number it gets is smaller, whatever became of Redis.
	seen atomic.Uint64
	// replicas are what is known of the nodes' ones, by address: replicas.
	replicas sync.Map

	// notes wait for keepLog; unlogged says that some did not get into the log.
	notes    chan string
	unlogged atomic.Bool
	// stop ends keepLog, which closes stopped.
	stop    context.CancelFunc
	stopped chan struct{}
}

// The scripts, which the package doc explains.
var (
	//go:embed write.lua
	writeLua string
	//go:embed touch.lua
	touchLua string
	//go:embed lease.lua
	leaseLua string
	//go:embed renew.lua
	renewLua string
	//go:embed release.lua
	releaseLua string
)

// New makes a store. It does not connect: a Redis that is away makes calls
// fail until it is back.
func New(o Options, c Config) (*Store, error) {
	if c.Prefix == "" {
		c.Prefix = "edge:"
	}
	if strings.ContainsAny(c.Prefix, "{}") {
		return nil, fmt.Errorf("redis: %w: braces in the prefix would put everything into one slot", catalog.ErrInvalid)
	}
	if c.Retention == 0 {
		c.Retention = 7 * 24 * time.Hour
	}
	if c.Timeout == 0 {
		c.Timeout = time.Second
	}
	if c.Poll == 0 {
		c.Poll = 5 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	client, err := o.client(c.Timeout)
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	s := &Store{
		client: client, prefix: c.Prefix, retention: c.Retention, timeout: c.Timeout, poll: c.Poll, log: c.Log,
		write: goredis.NewScript(writeLua), touch: goredis.NewScript(touchLua), take: goredis.NewScript(leaseLua),
		renew: goredis.NewScript(renewLua), release: goredis.NewScript(releaseLua),
		channel: c.Prefix + "changes", events: c.Prefix + "log",
		notes: make(chan string, 1024), stopped: make(chan struct{}),
	}
	s.cluster, _ = client.(*goredis.ClusterClient)
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	go func() { // ends in Close
		defer close(s.stopped)
		s.keepLog(ctx)
	}()
	return s, nil
}

// Close ends the connections. Calls that are under way fail; a Watch goes on
// until its context ends.
func (s *Store) Close() error {
	s.stop()
	<-s.stopped
	return s.client.Close()
}

// Ping implements [catalog.Catalog]. In a cluster it asks every master.
func (s *Store) Ping(ctx context.Context) error {
	limited, cancel := s.limit(ctx)
	defer cancel()
	var err error
	if s.cluster != nil {
		err = s.cluster.ForEachMaster(limited, func(ctx context.Context, node *goredis.Client) error { return node.Ping(ctx).Err() })
	} else {
		err = s.client.Ping(limited).Err()
	}
	if err != nil {
		return s.failed(ctx, "ping", "", err)
	}
	return nil
}

// The keys. What stands in braces decides the slot.
func (s *Store) sandboxKey(slug string) string { return s.prefix + "sandbox:{" + slug + "}" }
func (s *Store) fenceKey(key string) string    { return s.prefix + "fence:{" + key + "}" }
func (s *Store) leaseKey(key string) string    { return s.prefix + "lease:{" + key + "}" }

// fields are those of a sandbox's hash that make a record.
var fields = []string{"v", "g", "a", "f", "d"}

// Get implements [catalog.Reader].
func (s *Store) Get(ctx context.Context, slug string) (catalog.Record, error) {
	if !catalog.ValidSlug(slug) { // nothing else was ever written
		return catalog.Record{}, catalog.ErrNotFound
	}
	limited, cancel := s.limit(ctx)
	defer cancel()
	values, err := s.client.HMGet(limited, s.sandboxKey(slug), fields...).Result()
	if err != nil {
		return catalog.Record{}, s.failed(ctx, "get", slug, err)
	}
	if values[0] == nil {
		return catalog.Record{}, catalog.ErrNotFound
	}
	r, err := s.record(slug, values)
	if err != nil {
		return catalog.Record{}, fmt.Errorf("get %s: %w", slug, err)
	}
	return r, nil
}

// record reads the fields of a hash. What the script decided stands beside the
// encoded record and counts.
func (s *Store) record(slug string, values []any) (catalog.Record, error) {
	text := make([]string, len(fields))
	for i := range text {
		text[i], _ = values[i].(string)
	}
	r, err := catalog.Decode([]byte(text[4]))
	if err != nil {
		return catalog.Record{}, err
	}
	if r.Slug != slug {
		return catalog.Record{}, fmt.Errorf("%w: of another slug", catalog.ErrEncoding)
	}
	var active uint64
	for i, into := range []*uint64{&r.Version, &r.Generation, &active, &r.Fence} {
		if *into, err = strconv.ParseUint(text[i], 10, 53); err != nil {
			return catalog.Record{}, fmt.Errorf("%w: %s is not a number", catalog.ErrEncoding, fields[i])
		}
	}
	r.LastActive = fromMicros(active)
	s.meet(r.Version)
	return r, nil
}

// meet notes a number that Redis gave.
func (s *Store) meet(n uint64) {
	for {
		if old := s.seen.Load(); n <= old || s.seen.CompareAndSwap(old, n) {
			return
		}
	}
}

// micros is a time in Redis; 0 is none.
func micros(at time.Time) int64 {
	if at.IsZero() {
		return 0
	}
	return max(at.UnixMicro(), 0)
}

func fromMicros(n uint64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(n)).UTC()
}

// Create implements [catalog.Writer].
func (s *Store) Create(ctx context.Context, r catalog.Record) (catalog.Record, error) {
	return s.put(ctx, "create", r)
}

// Put implements [catalog.Writer].
func (s *Store) Put(ctx context.Context, r catalog.Record) (catalog.Record, error) {
	return s.put(ctx, "put", r)
}

// Delete implements [catalog.Writer].
func (s *Store) Delete(ctx context.Context, r catalog.Record) (catalog.Record, error) {
	return s.put(ctx, "delete", r.Buried(time.Now()))
}

func (s *Store) put(ctx context.Context, op string, r catalog.Record) (catalog.Record, error) {
	if err := r.Valid(); err != nil {
		return catalog.Record{}, fmt.Errorf("%s %s: %w", op, r.Slug, err)
	}
	if r.Fence == 0 {
		return catalog.Record{}, fmt.Errorf("%s %s: %w", op, r.Slug, catalog.ErrFenced)
	}
	generation, active := r.Generation, r.LastActive
	seen := max(s.seen.Load(), r.Version)
	r.Generation, r.LastActive, r.Version = 0, time.Time{}, 0
	data, err := catalog.Encode(&r)
	if err != nil {
		return catalog.Record{}, fmt.Errorf("%s %s: %w", op, r.Slug, err)
	}
	limited, cancel := s.limit(ctx)
	defer cancel()
	answer, err := s.durable(limited, s.write, []string{s.sandboxKey(r.Slug), s.fenceKey(r.Slug)},
		op, r.Fence, generation, seen, micros(active), instance(&r), data, micros(r.Deleted),
		s.retention.Milliseconds(), s.channel, r.Slug)
	if err != nil {
		return catalog.Record{}, s.failed(ctx, op, r.Slug, err)
	}
	if err := verdict(answer); err != nil {
		return catalog.Record{}, fmt.Errorf("%s %s: %w", op, r.Slug, err)
	}
	if len(answer) != 1+len(fields) {
		return catalog.Record{}, s.failed(ctx, op, r.Slug, errors.New("an answer of another shape"))
	}
	written, err := s.record(r.Slug, answer[1:])
	if err != nil {
		return catalog.Record{}, fmt.Errorf("%s %s: %w", op, r.Slug, err)
	}
	s.note(&written)
	return written, nil
}

// instance tells instances apart in the script. One without an id is no other's.
func instance(r *catalog.Record) string {
	if r.ID == "" {
		return ""
	}
	return strconv.Quote(r.Provider) + strconv.FormatInt(r.Created.Unix(), 10) + "/" + string(r.ID)
}

// verdict turns a script's first word into an error.
func verdict(answer []any) error {
	switch word, _ := answer[0].(string); word {
	case "ok":
		return nil
	case "fenced":
		return catalog.ErrFenced
	case "conflict":
		return catalog.ErrConflict
	case "deleted":
		return catalog.ErrDeleted
	case "missing":
		return catalog.ErrNotFound
	case "expired":
		return catalog.ErrLeaseExpired
	default:
		return fmt.Errorf("%w: a script answered with something else", catalog.ErrUnavailable)
	}
}

// Touch implements [catalog.Writer].
func (s *Store) Touch(ctx context.Context, slug string, at time.Time) error {
	if !catalog.ValidSlug(slug) {
		return fmt.Errorf("touch %s: %w", slug, catalog.ErrNotFound)
	}
	limited, cancel := s.limit(ctx)
	defer cancel()
	answer, err := s.script(limited, s.touch, []string{s.sandboxKey(slug)}, micros(at))
	if err != nil {
		return s.failed(ctx, "touch", slug, err)
	}
	if err := verdict(answer); err != nil {
		return fmt.Errorf("touch %s: %w", slug, err)
	}
	return nil
}
