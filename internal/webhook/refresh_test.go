package webhook

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRefreshesOncePerDayWhatIsInUse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // begins at midnight UTC, 2000-01-01
		start := time.Now()
		got := map[string][]string{}
		log := &logbook{}
		looks := 0
		r := NewRefresher(RefresherConfig{
			List: func(context.Context) ([]Use, error) {
				if looks++; looks == 2 {
					return nil, errors.New("no catalogue")
				}
				return []Use{
					{"busy", "morphvm_1", "morph", uint64(looks), time.Now()}, // also when it moves
					{"once", "morphvm_2", "morph", 1, start.Add(time.Hour)},
					{"idle", "morphvm_3", "morph", 1, start.Add(-25 * time.Hour)},
				}, nil
			},
			Enqueue: func(_ context.Context, m Message) {
				if m.Type != InUse || m.ID == "" || m.Provider != "morph" || m.Generation == 0 {
					t.Errorf("got %+v", m)
				}
				got[m.Slug] = append(got[m.Slug], m.Time.UTC().Format(time.DateOnly))
			},
		}, slog.New(slog.NewTextHandler(log, nil)))
		ctx, cancel := context.WithTimeout(t.Context(), 72*time.Hour-time.Minute)
		defer cancel()
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
		want := map[string][]string{
			"busy": {"2000-01-01", "2000-01-02", "2000-01-03"},
			"once": {"2000-01-01", "2000-01-02"}, // its last use is less than a day ago at the second midnight
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if !strings.Contains(log.String(), "no catalogue") {
			t.Errorf("log: %s", log)
		}
	})
}

func TestRefreshSpreadsADaysMessages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		at := map[time.Duration]int{}
		start := time.Now()
		r := NewRefresher(RefresherConfig{
			List: func(context.Context) (all []Use, _ error) {
				for i := range 25 {
					all = append(all, Use{Slug: "s" + strconv.Itoa(i), ID: strconv.Itoa(i), LastActive: time.Now()})
				}
				return all, nil
			},
			Enqueue: func(context.Context, Message) {
				mu.Lock()
				defer mu.Unlock()
				at[time.Since(start)]++
			},
			Every: time.Minute,
			Batch: 10,
		}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_ = r.Run(ctx)
		if diff := cmp.Diff(map[time.Duration]int{0: 10, time.Minute: 10, 2 * time.Minute: 5}, at); diff != "" {
			t.Error(diff)
		}
	})
}
