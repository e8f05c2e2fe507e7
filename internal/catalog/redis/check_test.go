package redis_test

import (
	"errors"
	"net"
	"strings"
	"testing"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/catalog/redis"
	"cmux.sh/edge/internal/catalog/redis/redistest"
)

func TestCheckRefusesARedisThatEvictsWhatNeverExpires(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := open(t, server.URL(), redis.Config{})
	for policy, want := range map[string]error{
		"noeviction": nil, "volatile-lru": nil, "volatile-lfu": nil, "volatile-ttl": nil, "volatile-random": nil,
		"allkeys-lru": redis.ErrPolicy, "allkeys-lfu": redis.ErrPolicy, "allkeys-random": redis.ErrPolicy,
	} {
		server.Must("CONFIG", "SET", "maxmemory-policy", policy)
		err := s.Check(t.Context())
		if !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", policy, err, want)
		}
		if err != nil && (!strings.Contains(err.Error(), policy) || !strings.Contains(err.Error(), "set it to noeviction")) {
			t.Errorf("%s: %q does not say what is and what to set", policy, err)
		}
	}
}

func TestCheckGetsByWithFewRights(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--maxmemory-policy", "allkeys-lru")
	for _, tt := range []struct{ name, rights, want string }{
		{"info", "+info", `is "allkeys-lru"`},
		{"config", "+config|get", `is "allkeys-lru"`},
		{"neither", "-@all", "allow the edge's user +info"},
	} {
		server.Must("ACL", "SETUSER", tt.name, "on", ">secret", "-@all", "+ping", "+hello", tt.rights)
		s := open(t, strings.Replace(server.URL(), "://", "://"+tt.name+":secret@", 1), redis.Config{})
		if err := s.Check(t.Context()); !errors.Is(err, redis.ErrPolicy) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestCheckAsksEveryNode(t *testing.T) {
	t.Parallel()
	nodes := redistest.StartCluster(t)
	s := open(t, nodes.URL(), redis.Config{})
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	nodes[1].Must("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
	if err := s.Check(t.Context()); !errors.Is(err, redis.ErrPolicy) {
		t.Errorf("got %v, want %v", err, redis.ErrPolicy)
	}
}

func TestARedisThatIsNotThereIsUnavailable(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	for _, scheme := range []string{"redis://", "redis+cluster://"} {
		s := open(t, scheme+addr, redis.Config{})
		for _, err := range []error{s.Ping(t.Context()), s.Check(t.Context())} {
			if !errors.Is(err, catalog.ErrUnavailable) {
				t.Errorf("%s: got %v, want %v", scheme, err, catalog.ErrUnavailable)
			}
		}
	}
}

func TestAWrongPasswordIsUnavailableAndNotTold(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.Must("ACL", "SETUSER", "edge", "on", ">secret", "~*", "+@all")
	s := open(t, strings.Replace(server.URL(), "://", "://edge:wr0ng-one@", 1), redis.Config{})
	err := s.Ping(t.Context())
	if !errors.Is(err, catalog.ErrUnavailable) || !strings.Contains(err.Error(), "WRONGPASS") || strings.Contains(err.Error(), "wr0ng-one") {
		t.Errorf("got %v, want that the password is wrong, without it", err)
	}
}

func TestAPrefixWithBracesIsRefused(t *testing.T) {
	t.Parallel()
	if _, err := redis.New(redis.Options{}, redis.Config{Prefix: "{edge}:"}); !errors.Is(err, catalog.ErrInvalid) {
		t.Errorf("got %v, want %v", err, catalog.ErrInvalid)
	}
}

// A prefix is no pattern.
func TestAPrefixWithWildcardsIsTakenLiterally(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	mustWrite(t, open(t, server.URL(), redis.Config{Prefix: "a-b:"}), "theirs")
	s := open(t, server.URL(), redis.Config{Prefix: "a[-]?*:"})
	mustWrite(t, s, "ours")
	server.Must("HSET", "a[-]?*:sandbox:{ours}:more", "v", "1")
	for r, err := range catalog.All(t.Context(), s) {
		if err != nil || r.Slug != "ours" {
			t.Errorf("got %s (%v), want only ours", r.Slug, err)
		}
	}
}
