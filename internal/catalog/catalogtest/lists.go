package catalogtest

import (
	"fmt"
	"sync"

	"cmux.sh/edge/internal/catalog"
)

// crowd makes n records.
func (f *fixture) crowd(name string, n int) {
	f.t.Helper()
	var all sync.WaitGroup
	for part := range 8 {
		all.Go(func() {
			for i := part; i < n; i += 8 {
				r := full(fmt.Sprintf("%s-%d", name, i))
				l, err := f.A.Lease(f.ctx, r.Slug, 10e9)
				if err == nil {
					r.Fence = l.Fence()
					_, err = f.A.Create(f.ctx, r)
				}
				if err != nil {
					f.t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

func listHasEverything(f *fixture) {
	const count, limit = 300, 40
	f.crowd("demo", count)
	seen := make(map[string]bool)
	for cursor, pages := "", 0; ; pages++ {
		page, err := f.B.List(f.ctx, cursor, limit)
		f.must(err)
		// SCAN may give a little more than it is asked for.
		if len(page.Records) > 2*limit {
			f.t.Errorf("a page of %d was asked for and has %d", limit, len(page.Records))
		}
		for _, r := range page.Records {
			seen[r.Slug] = true
		}
		if cursor = page.Next; cursor == "" {
			break
		}
		if pages > 100*count {
			f.t.Fatal("the list has no end")
		}
	}
	for i := range count {
		if slug := fmt.Sprintf("demo-%d", i); !seen[slug] {
			f.t.Errorf("%s is missing", slug)
		}
	}
	if len(seen) != count {
		f.t.Errorf("%d are listed, want %d", len(seen), count)
	}
}

func listHasWhatStaysWhileOthersComeAndGo(f *fixture) {
	const stay = 100
	f.crowd("stay", stay)
	f.crowd("go", 100)
	seen := make(map[string]bool)
	for cursor, i := "", 0; ; i++ {
		page, err := f.B.List(f.ctx, cursor, 7)
		f.must(err)
		for _, r := range page.Records {
			seen[r.Slug] = true
		}
		if cursor = page.Next; cursor == "" {
			break
		}
		if i < 100 {
			r := full(fmt.Sprintf("go-%d", i))
			l, err := f.A.Lease(f.ctx, fmt.Sprintf("come-%d", i), 10e9)
			f.must(err)
			come := full(l.Key())
			come.Fence = l.Fence()
			_, err = f.A.Create(f.ctx, come)
			f.must(err)
			_, err = f.A.Get(f.ctx, r.Slug)
			f.must(err)
		}
	}
	for i := range stay {
		if slug := fmt.Sprintf("stay-%d", i); !seen[slug] {
			f.t.Errorf("%s is missing", slug)
		}
	}
}

func listRefusesABadCursor(f *fixture) {
	for _, cursor := range []string{"x", "-1", "/", "1/2/3/x"} {
		_, err := f.A.List(f.ctx, cursor, 1)
		f.want(err, catalog.ErrInvalid)
	}
}
