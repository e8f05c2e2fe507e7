package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	goredis "github.com/redis/go-redis/v9"

	"cmux.sh/edge/internal/catalog"
)

// Bounds of List. SCAN looks at about as many keys as it is asked to, whatever
// they are, so a page has fewer records than that.
const (
	defaultPage = 500
	maxPage     = 2000
)

// List implements [catalog.Reader]. The cursor is SCAN's, in a cluster with the
// address of the node that it is for.
func (s *Store) List(ctx context.Context, cursor string, limit int) (catalog.Page, error) {
	if limit <= 0 {
		limit = defaultPage
	}
	limit = min(limit, maxPage)
	limited, cancel := s.limit(ctx)
	defer cancel()
	addr, at, err := readCursor(cursor)
	if err != nil {
		return catalog.Page{}, fmt.Errorf("list: %w", err)
	}
	nodes, err := s.masters(limited)
	if err != nil {
		return catalog.Page{}, s.failed(ctx, "list", "", err)
	}
	here := slices.IndexFunc(nodes, func(n node) bool { return n.addr >= addr })
	if here < 0 {
		return catalog.Page{}, nil
	}
	if nodes[here].addr != addr { // the first page, or the node left
		at = 0
	}
	keys, at, err := nodes[here].client.Scan(limited, at, globEscape(s.prefix)+"sandbox:{*", int64(limit)).Result()
	if err != nil {
		return catalog.Page{}, s.failed(ctx, "list", "", err)
	}
	page, err := s.page(limited, keys)
	if err != nil {
		return catalog.Page{}, s.failed(ctx, "list", "", err)
	}
	switch {
	case at != 0:
		page.Next = nodes[here].addr + "/" + strconv.FormatUint(at, 10)
	case here+1 < len(nodes):
		page.Next = nodes[here+1].addr + "/0"
	}
	return page, nil
}

func readCursor(cursor string) (addr string, at uint64, err error) {
	if cursor == "" {
		return "", 0, nil
	}
	addr, number, _ := strings.Cut(cursor, "/")
	if at, err = strconv.ParseUint(number, 10, 64); err != nil {
		return "", 0, fmt.Errorf("%w: cursor %q", catalog.ErrInvalid, cursor)
	}
	return addr, at, nil
}

// node is a master that has a part of the records.
type node struct {
	addr   string
	client *goredis.Client
}

// masters are all nodes that have records, in the order of their addresses.
func (s *Store) masters(ctx context.Context) ([]node, error) {
	if s.cluster == nil {
		return []node{{"", s.client.(*goredis.Client)}}, nil
	}
	var mu sync.Mutex
	var nodes []node
	err := s.cluster.ForEachMaster(ctx, func(_ context.Context, c *goredis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		nodes = append(nodes, node{c.Options().Addr, c})
		return nil
	})
	slices.SortFunc(nodes, func(a, b node) int { return strings.Compare(a.addr, b.addr) })
	return nodes, err
}

// page reads the records of keys.
func (s *Store) page(ctx context.Context, keys []string) (catalog.Page, error) {
	var page catalog.Page
	if len(keys) == 0 {
		return page, nil
	}
	p := s.client.Pipeline()
	reads := make([]*goredis.SliceCmd, len(keys))
	for i, key := range keys {
		reads[i] = p.HMGet(ctx, key, fields...)
	}
	if _, err := p.Exec(ctx); err != nil {
		return page, err
	}
	for i, key := range keys {
		slug := strings.TrimSuffix(strings.TrimPrefix(key, s.prefix+"sandbox:{"), "}")
		values := reads[i].Val()
		if len(values) != len(fields) {
			return page, errors.New("an answer of another shape")
		}
		if values[0] == nil { // it has just gone
			continue
		}
		if r, err := s.record(slug, values); err != nil {
			page.Unreadable = append(page.Unreadable, slug)
		} else {
			page.Records = append(page.Records, r)
		}
	}
	return page, nil
}

// globEscape makes a pattern that matches only text.
func globEscape(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		if strings.IndexByte(`\*?[]^`, c) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	return b.String()
}
