package catalog_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/sandbox"
)

var update = flag.Bool("update", false, "write the golden files of the encoding")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var at = time.Date(2026, 8, 1, 12, 0, 0, 123_456_000, time.UTC)

// full is a record with everything in it.
func full() catalog.Record {
	return catalog.Record{
		Instance: sandbox.Instance{
			Provider: "pve-vm", ID: "pve1/104", Slug: "demo", State: sandbox.Paused, Reason: "nobody used it for 30 minutes",
			Address: "10.0.0.5", Ports: map[uint16]string{39378: "https://vscode-demo.http.example.test", 39380: "127.0.0.1:40001"},
			WorkloadType: "dev", Marked: true, Created: at, Generation: 1785585600123456,
		},
		LastActive: at.Add(time.Hour), PausedBy: catalog.PausedByIdle, RAMPreserved: true, TTL: 2 * time.Hour,
		Fence: 1785585600123455, Version: 1785585600123457,
	}
}

// golden are the records whose encoding is kept: what is written there can lie
// in a Redis anywhere, and must be read for ever.
func golden() map[string]catalog.Record {
	whole := full()
	return map[string]catalog.Record{
		"full":      whole,
		"bare":      {Instance: sandbox.Instance{Slug: "bare"}},
		"tombstone": whole.Buried(at.Add(3 * time.Hour)),
	}
}

func TestTheEncodingStaysAsItIs(t *testing.T) {
	t.Parallel()
	for name, r := range golden() {
		file := filepath.Join("testdata", name+".json")
		got, err := catalog.Encode(&r)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, '\n')
		if *update {
			if err := os.WriteFile(file, got, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s is written differently (-want +got):\n%s", name, diff)
		}
		back, err := catalog.Decode(want)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, back); diff != "" {
			t.Errorf("%s is read differently (-want +got):\n%s", name, diff)
		}
	}
}

// What an edge wrote that knows more than this one.
func TestANewerRecordIsReadAsFarAsItIsKnown(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join("testdata", "newer.json"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := catalog.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	want := full()
	want.State, want.PausedBy = sandbox.Unknown, catalog.PausedByUnknown
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, data string
		want       error
	}{
		{"another encoding", `{"v":2,"slug":"demo"}`, catalog.ErrNewer},
		{"another encoding of other fields", `{"v":7,"slug":{"name":"demo"},"state":3}`, catalog.ErrNewer},
		{"no version", `{"slug":"demo"}`, catalog.ErrEncoding},
		{"a version below the first", `{"v":-1,"slug":"demo"}`, catalog.ErrEncoding},
		{"a version that is no number", `{"v":"1","slug":"demo"}`, catalog.ErrEncoding},
		{"nothing", ``, catalog.ErrEncoding},
		{"no JSON", `secret`, catalog.ErrEncoding},
		{"a list", `[]`, catalog.ErrEncoding},
		{"no slug", `{"v":1}`, catalog.ErrEncoding},
		{"a slug that is none", `{"v":1,"slug":"a/b"}`, catalog.ErrEncoding},
		{"a number for a text", `{"v":1,"slug":"demo","address":1}`, catalog.ErrEncoding},
		{"a time that is none", `{"v":1,"slug":"demo","created_at":"secret"}`, catalog.ErrEncoding},
		{"a port that is none", `{"v":1,"slug":"demo","ports":{"70000":"h:1"}}`, catalog.ErrEncoding},
		{"port 0", `{"v":1,"slug":"demo","ports":{"0":"h:1"}}`, catalog.ErrEncoding},
		{"a negative fence", `{"v":1,"slug":"demo","fence":-1}`, catalog.ErrEncoding},
		{"a huge fence", `{"v":1,"slug":"demo","fence":9007199254740992}`, catalog.ErrEncoding},
		{"a book", `{"v":1,"slug":"demo","state_reason":"` + strings.Repeat("x", 1<<20) + `"}`, catalog.ErrEncoding},
		{"two records", `{"v":1,"slug":"demo"}{"v":1,"slug":"demo"}`, catalog.ErrEncoding},
	} {
		_, err := catalog.Decode([]byte(tt.data))
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
			continue
		}
		if errors.Is(err, catalog.ErrNewer) && !errors.Is(tt.want, catalog.ErrNewer) {
			t.Errorf("%s: got %v, which blames a newer edge", tt.name, err)
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v quotes what it can't read", tt.name, err)
		}
	}
}

func TestEncodeRefusesWhatNoStoreMayKeep(t *testing.T) {
	t.Parallel()
	r := full()
	r.Slug = "a b"
	if _, err := catalog.Encode(&r); !errors.Is(err, catalog.ErrInvalid) {
		t.Errorf("got %v, want %v", err, catalog.ErrInvalid)
	}
}

func FuzzDecode(f *testing.F) {
	for _, name := range []string{"full", "bare", "tombstone", "newer"} {
		data, err := os.ReadFile(filepath.Join("testdata", name+".json"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"v":2}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := catalog.Decode(data)
		if err != nil {
			if !errors.Is(err, catalog.ErrEncoding) {
				t.Errorf("got %v, want an ErrEncoding", err)
			}
			return
		}
		if err := r.Valid(); err != nil {
			t.Fatalf("what was read is not valid: %v", err)
		}
		once, err := catalog.Encode(&r)
		if err != nil {
			t.Fatal(err)
		}
		again, err := catalog.Decode(once)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, again); diff != "" {
			t.Errorf("it changes when it is written again (-read +again):\n%s", diff)
		}
		if twice, err := catalog.Encode(&again); err != nil || !bytes.Equal(once, twice) {
			t.Errorf("got %s and then %s (%v)", once, twice, err)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	r := full()
	data, err := catalog.Encode(&r)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := catalog.Decode(data); err != nil {
			b.Fatal(err)
		}
	}
}
