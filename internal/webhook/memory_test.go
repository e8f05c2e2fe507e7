package webhook

import (
	"errors"
	"math/rand/v2"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

func put(t *testing.T, q Queue, m Message) []Message {
	t.Helper()
	dropped, err := q.Put(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return dropped
}

func lease(t *testing.T, q Queue) (*Lease, time.Duration) {
	t.Helper()
	l, wait, err := q.Lease(t.Context(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return l, wait
}

func TestFullQueueDropsTheOldestRefreshFirst(t *testing.T) {
	t.Parallel()
	q := NewMemory(4)
	first, second := msg(InUse, "b", 1), msg(InUse, "c", 1)
	for _, m := range []Message{msg(Started, "a", 1), first, msg(Started, "d", 1), second} {
		put(t, q, m)
	}
	want := []Message{first, second, msg(Started, "a", 1), msg(Started, "d", 1)}
	for i := range want {
		got := put(t, q, msg(Paused, "n", uint64(i)))
		if len(got) != 1 || got[0].Key() != want[i].Key() {
			t.Fatalf("drop %d: got %v, want %v", i, got, want[i])
		}
	}
	if got := put(t, q, first); len(got) != 1 || got[0] != first {
		t.Errorf("a refresh pushed %v out", got)
	}
	if n, _ := q.Len(t.Context()); n != 4 {
		t.Errorf("%d messages", n)
	}
}

func TestFullQueueKeepsWhatIsOnItsWay(t *testing.T) {
	t.Parallel()
	q := NewMemory(1)
	put(t, q, msg(InUse, "a", 1))
	l, _ := lease(t, q)
	next := msg(Started, "b", 1)
	if got := put(t, q, next); len(got) != 1 || got[0] != next {
		t.Errorf("dropped %v", got)
	}
	if err := q.Done(t.Context(), l); err != nil {
		t.Error(err)
	}
	if len(q.lines)+len(q.keys)+q.all.Len()+q.refreshes != 0 {
		t.Error("the queue keeps something of what is gone")
	}
}

func TestPutIgnoresWhatIsQueuedAlready(t *testing.T) {
	t.Parallel()
	q := NewMemory(0)
	put(t, q, msg(Started, "a", 1))
	put(t, q, msg(Started, "a", 1))
	if n, _ := q.Len(t.Context()); n != 1 {
		t.Errorf("%d messages", n)
	}
}

func TestLeaseRunsOutAndIsLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := NewMemory(0)
		put(t, q, msg(Started, "a", 1))
		put(t, q, msg(Paused, "a", 1))
		old, _ := lease(t, q)
		if l, wait := lease(t, q); l != nil || wait != time.Minute {
			t.Fatalf("a busy line gives %v, %v", l, wait)
		}
		time.Sleep(time.Minute)
		if err := q.Done(t.Context(), old); !errors.Is(err, ErrLost) {
			t.Errorf("Done: %v", err)
		}
		fresh, _ := lease(t, q)
		if fresh == nil || fresh.Message != old.Message || fresh.Attempt != 1 {
			t.Fatalf("got %+v", fresh)
		}
		if err := q.Retry(t.Context(), old, 0); !errors.Is(err, ErrLost) {
			t.Errorf("Retry: %v", err)
		}
		if err := q.Retry(t.Context(), fresh, time.Hour); err != nil {
			t.Fatal(err)
		}
		if l, wait := lease(t, q); l != nil || wait != time.Hour {
			t.Errorf("a resting line gives %v, %v", l, wait)
		}
		time.Sleep(time.Hour)
		if l, _ := lease(t, q); l == nil || l.Attempt != 2 || l.Message.Type != Started {
			t.Errorf("got %+v", l)
		}
	})
}

// Whatever happens, a sandbox's messages come in order and none is lost.
func TestQueueKeepsOrderUnderRandomUse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := NewMemory(0)
		random := rand.New(rand.NewPCG(1, 2))
		putN, done := map[string]uint64{}, map[string]uint64{}
		var held []*Lease
		step := func(filling bool) {
			switch n := random.IntN(5); {
			case n < 2 && filling:
				slug := strconv.Itoa(random.IntN(5))
				putN[slug]++
				put(t, q, msg(Started, slug, putN[slug]))
			case n == 2 || n < 2:
				if l, _ := lease(t, q); l != nil {
					held = append(held, l)
				}
			case len(held) > 0:
				i := random.IntN(len(held))
				l := held[i]
				held = append(held[:i], held[i+1:]...)
				switch {
				case n == 3:
					_ = q.Retry(t.Context(), l, time.Duration(random.IntN(1000)))
				case q.Done(t.Context(), l) == nil:
					if done[l.Message.Slug]++; done[l.Message.Slug] != l.Message.Generation {
						t.Fatalf("%s: %d is done as number %d", l.Message.Slug, l.Message.Generation, done[l.Message.Slug])
					}
				}
			}
			time.Sleep(time.Duration(random.IntN(int(2 * time.Second))))
		}
		for range 2000 {
			step(true)
		}
		for range 20000 {
			if q.all.Len() == 0 {
				break
			}
			step(false)
		}
		for slug, n := range putN {
			if done[slug] != n {
				t.Errorf("%s: %d of %d done", slug, done[slug], n)
			}
		}
		if len(q.lines)+len(q.keys) != 0 {
			t.Error("the queue keeps something of what is gone")
		}
	})
}
