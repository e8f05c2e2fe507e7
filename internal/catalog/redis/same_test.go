package redis_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/catalog/memory"
	"cmux.sh/edge/internal/catalog/redis"
	"cmux.sh/edge/internal/catalog/redis/redistest"
	"cmux.sh/edge/internal/sandbox"
)

// side is one of two stores to which the same happens. Numbers differ between
// the stores, so a call names them by their places in what it was given so far.
type side struct {
	catalog.Catalog
	leases map[string][]catalog.Lease
	lives  map[string][]uint64
}

func newSide(c catalog.Catalog) *side {
	return &side{c, make(map[string][]catalog.Lease), make(map[string][]uint64)}
}

// nth is the number at a place, and 0 at any other.
func nth[T any](list []T, i int) (v T) {
	if i >= 0 && i < len(list) {
		v = list[i]
	}
	return v
}

// outcome is what a call did, in words that both stores share.
type outcome struct {
	Err    string
	Record catalog.Record
	// Life is the place of the record's generation, Lease that of its fence.
	Life, Lease int
}

// wrote is the outcome of a call that returned a record.
func (s *side) wrote(slug string, r catalog.Record, err error) outcome {
	o := outcome{Err: kind(err), Record: r, Life: -1, Lease: -1}
	if err != nil {
		return o
	}
	if !slices.Contains(s.lives[slug], r.Generation) {
		s.lives[slug] = append(s.lives[slug], r.Generation)
	}
	o.Life = slices.Index(s.lives[slug], r.Generation)
	o.Lease = slices.IndexFunc(s.leases[slug], func(l catalog.Lease) bool { return l.Fence() == r.Fence })
	return o
}

// kind is which of the contract's errors an error is.
func kind(err error) string {
	if err == nil {
		return ""
	}
	for _, known := range []error{
		catalog.ErrNotFound, catalog.ErrConflict, catalog.ErrDeleted, catalog.ErrFenced, catalog.ErrLeaseHeld,
		catalog.ErrLeaseExpired, catalog.ErrInvalid,
	} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return "unexpected: " + err.Error()
}

// step is one random call.
type step struct {
	op, slug    string
	id          sandbox.ID
	fence, life int
	at          time.Time
}

func (s *side) do(t *testing.T, st step) outcome {
	t.Helper()
	ctx := t.Context()
	r := catalog.Record{
		Instance:   sandbox.Instance{Slug: st.slug, Provider: "pve-vm", ID: st.id, State: sandbox.Running, Address: "10.0.0.5"},
		LastActive: st.at,
	}
	if l := nth(s.leases[st.slug], st.fence); l != nil {
		r.Fence = l.Fence()
	}
	r.Generation = nth(s.lives[st.slug], st.life)
	switch st.op {
	case "lease":
		l, err := s.Lease(ctx, st.slug, time.Hour)
		if err == nil {
			s.leases[st.slug] = append(s.leases[st.slug], l)
		}
		return outcome{Err: kind(err)}
	case "release", "renew":
		l := nth(s.leases[st.slug], st.fence)
		if l == nil {
			return outcome{}
		}
		if st.op == "renew" {
			return outcome{Err: kind(l.Renew(ctx))}
		}
		return outcome{Err: kind(l.Release(ctx))}
	case "create":
		got, err := s.Create(ctx, r)
		return s.wrote(st.slug, got, err)
	case "put":
		got, err := s.Put(ctx, r)
		return s.wrote(st.slug, got, err)
	case "delete":
		got, err := s.Delete(ctx, r)
		return s.wrote(st.slug, got, err)
	case "touch":
		return outcome{Err: kind(s.Touch(ctx, st.slug, st.at))}
	default:
		got, err := s.Get(ctx, st.slug)
		return s.wrote(st.slug, got, err)
	}
}

func TestBothStoresMeanTheSame(t *testing.T) {
	t.Parallel()
	url := redistest.Start(t).URL()
	// Numbers were compared by their places; a tombstone is of when it was made.
	same := cmp.Options{
		cmpopts.IgnoreFields(catalog.Record{}, "Version", "Fence", "Instance.Generation"),
		cmpopts.EquateApproxTime(time.Minute),
	}
	ops := []string{"lease", "lease", "release", "release", "renew", "create", "create", "put", "put", "put", "delete", "touch", "get"}
	for range 10 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 0))
			here := newSide(memory.New(memory.Config{}))
			there := newSide(open(t, url, redis.Config{Prefix: newPrefix()}))
			var steps []step
			for range 400 {
				slug := fmt.Sprintf("demo-%d", random.IntN(3))
				st := step{
					op: ops[random.IntN(len(ops))], slug: slug, id: sandbox.ID([]string{"", "104", "105"}[random.IntN(3)]),
					// Mostly the latest, sometimes a former one or none.
					fence: len(here.leases[slug]) - 1 - random.IntN(3)*random.IntN(2),
					life:  random.IntN(len(here.lives[slug])+2) - 1,
					at:    time.Unix(1_800_000_000+random.Int64N(1000)*3600, 0),
				}
				steps = append(steps, st)
				if diff := cmp.Diff(here.do(t, st), there.do(t, st), same); diff != "" {
					t.Fatalf("after %+v (-memory +redis):\n%s", steps[max(0, len(steps)-14):], diff)
				}
			}
		})
	}
}
