package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

// ErrPolicy says that Redis is set up to throw away what the edge must keep.
var ErrPolicy = errors.New("redis may evict keys that never expire")

// Check asks every node whether it keeps what has no expiry: fences must
// survive, or they could go back. Run it at start. The error is an [ErrPolicy]
// and says what to set, or [catalog.ErrUnavailable] when Redis did not answer.
func (s *Store) Check(ctx context.Context) error {
	limited, cancel := s.limit(ctx)
	defer cancel()
	var err error
	if s.cluster != nil {
		err = s.cluster.ForEachShard(limited, checkPolicy)
	} else {
		err = checkPolicy(limited, s.client.(*goredis.Client))
	}
	if err == nil || errors.Is(err, ErrPolicy) {
		return err
	}
	return s.failed(ctx, "check", "", err)
}

func checkPolicy(ctx context.Context, node *goredis.Client) error {
	policy, err := evictionPolicy(ctx, node)
	if err != nil {
		return err
	}
	if policy == "noeviction" || strings.HasPrefix(policy, "volatile-") {
		return nil
	}
	return fmt.Errorf("%w: its maxmemory-policy is %q; set it to noeviction (or a volatile- policy)", ErrPolicy, policy)
}

// evictionPolicy reads the policy from INFO, which takes fewer rights than
// CONFIG, or else from CONFIG.
func evictionPolicy(ctx context.Context, node *goredis.Client) (string, error) {
	info, err := node.Info(ctx, "memory").Result()
	if policy := infoField(info, "maxmemory_policy"); err == nil && policy != "" {
		return policy, nil
	}
	config, configErr := node.ConfigGet(ctx, "maxmemory-policy").Result()
	if policy := config["maxmemory-policy"]; configErr == nil && policy != "" {
		return policy, nil
	}
	if err == nil {
		err = configErr
	}
	if goredis.HasErrorPrefix(err, "NOPERM") {
		return "", fmt.Errorf("%w: it can't be told, for lack of rights; allow the edge's user +info", ErrPolicy)
	}
	if err == nil {
		err = errors.New("neither INFO nor CONFIG tells the eviction policy")
	}
	return "", err
}
