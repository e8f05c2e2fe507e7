package redis_test

import (
	"log/slog"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"cmux.sh/edge/internal/catalog/catalogtest"
	"cmux.sh/edge/internal/catalog/redis"
	"cmux.sh/edge/internal/catalog/redis/redistest"
)

func TestMain(m *testing.M) {
	redis.SetLogger(slog.New(slog.DiscardHandler))
	// After failures to dial, go-redis tries every second whether it can again,
	// and sees only after that second that its pool was closed.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// open makes a store that is closed with the test.
func open(t testing.TB, url string, c redis.Config) *redis.Store {
	t.Helper()
	o, err := redis.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	s, err := redis.New(o, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// prefixes of the tests that share a server. They begin with the default one.
var prefixes atomic.Int32

func newPrefix() string { return "edge:" + strconv.Itoa(int(prefixes.Add(1))) + ":" }

// harness makes two replicas over one URL for each subtest.
func harness(url string) catalogtest.Harness {
	return catalogtest.Harness{New: func(t *testing.T, retention time.Duration) catalogtest.Backend {
		c := redis.Config{Prefix: newPrefix(), Retention: retention}
		return catalogtest.Backend{A: open(t, url, c), B: open(t, url, c)}
	}}
}

// The suite runs as a user with the rights that the package doc lists, and no
// others: whatever lies outside the prefix could not be touched.
func TestTheContractIsKeptWithTheRightsOfTheDoc(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.Must(append([]string{"ACL"}, documentedUser(t)...)...)
	s.Must("SET", "foreign", "untouched")
	url := strings.Replace(s.URL(), "://", "://edge:secret@", 1)
	t.Run("Suite", func(t *testing.T) {
		catalogtest.Test(t, harness(url))
	})
	if refused := s.Must("ACL", "LOG"); refused != "" {
		t.Errorf("the store tried what it may not:\n%s", refused)
	}
	for key := range strings.SplitSeq(s.Must("KEYS", "*"), "\n") {
		if key != "foreign" && !strings.HasPrefix(key, "edge:") {
			t.Errorf("there is a key %q", key)
		}
	}
}

// documentedUser is the ACL command of the package doc, without its first word.
func documentedUser(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, command, ok := strings.Cut(string(text), "//\tACL ")
	command, _, _ = strings.Cut(command, "\n//\n")
	words := strings.Fields(regexp.MustCompile(`(?m)^//`).ReplaceAllString(command, ""))
	if !ok || len(words) < 5 || words[0] != "SETUSER" {
		t.Fatal("the package doc has no ACL command any more")
	}
	return words
}

func TestTheContractIsKeptByACluster(t *testing.T) {
	t.Parallel()
	nodes := redistest.StartCluster(t)
	for _, n := range nodes {
		n.Must(append([]string{"ACL"}, documentedUser(t)...)...)
	}
	url := strings.Replace(nodes.URL(), "://", "://edge:secret@", 1)
	t.Run("Suite", func(t *testing.T) { catalogtest.Test(t, harness(url)) })
	for _, n := range nodes {
		if refused := n.Must("ACL", "LOG"); refused != "" {
			t.Errorf("the store tried what it may not:\n%s", refused)
		}
	}
}

func TestTheContractIsKeptBehindSentinel(t *testing.T) {
	t.Parallel()
	catalogtest.Test(t, harness(redistest.StartSentinel(t).URL()))
}

func TestTheContractIsKeptOverASlowNetwork(t *testing.T) {
	t.Parallel()
	p := redistest.NewProxy(t, redistest.Start(t).Addr)
	p.Latency(2 * time.Millisecond)
	catalogtest.Test(t, harness(p.URL()))
}

// The levers that touch the server itself.
func TestTheContractIsKeptByAnAdministeredServer(t *testing.T) {
	t.Parallel()
	catalogtest.Test(t, catalogtest.Harness{New: func(t *testing.T, retention time.Duration) catalogtest.Backend {
		name := t.Name()[strings.LastIndexByte(t.Name(), '/')+1:]
		if name != "NumbersDoNotGoBackWhenEverythingIsLost" && name != "UnreadableRecordsAreInUse" {
			t.Skip("needs no server of its own")
		}
		s := redistest.Start(t)
		c := redis.Config{Retention: retention}
		return catalogtest.Backend{
			A: open(t, s.URL(), c), B: open(t, s.URL(), c),
			Empty: func() {
				s.Kill()
				s.Restart()
			},
			Spoil: func(slug string, encoded []byte) { s.Must("HSET", "edge:sandbox:{"+slug+"}", "d", string(encoded)) },
		}
	}})
}
