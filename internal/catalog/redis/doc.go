// Package redis is the catalogue that many replicas share, in one Redis,
// behind Sentinel, or in a Cluster. Redis 6.2 or later; tested with 7.0.
//
// # What lies in Redis
//
// Everything begins with the prefix ("edge:"). What belongs to one key lies in
// one slot of a Cluster: the key is the hash tag.
//
//	edge:sandbox:{slug}  hash    v g f a version, generation, fence, last active (µs)
//	                             w       provider, id and creation, to tell instances apart
//	                             d       the record (see catalog.Encode), without v g a
//	                             x       deleted (µs): a tombstone; expires after the retention
//	edge:fence:{key}     hash    f n     latest fence, last number drawn; never expires
//	edge:lease:{key}     hash    o f     owner and fence; expires with the lease
//	edge:changes         channel pushed news, published by the writing script itself
//	edge:log             stream  the same news, about the last 10,000, for the slow poll
//
// Every write is one Lua script, so it happens as a whole. Only keys with an
// expiry are ever lost to eviction, and losing them is safe: [Store.Check]
// refuses a Redis that may evict others.
//
// # Rights
//
// An ACL user for the edge can be held to the prefix and to these commands:
//
//	ACL SETUSER edge on >secret ~edge:* &edge:* -@all +ping +hello +select +info +time +wait
//	  +eval +evalsha +hset +hmget +del +expire +pexpire +pttl +publish
//	  +subscribe +unsubscribe +scan +xadd +xrange +xrevrange +command +cluster|slots
//
// # Failures
//
// A call costs at most [Config].Timeout, whatever Redis does. It asks the
// master. Where the master has replicas, a write waits for one of them for up
// to 100 ms (WAIT); when none confirms in time, the write stands all the same.
// A master that is cut off from its replicas goes on taking writes that a
// fail-over will lose, unless Redis is told not to: min-replicas-to-write 1.
//
// # Cost
//
// On one machine over loopback a Get takes 0.08 ms, a Put 0.17 ms (0.36 ms with
// a replica), and a change is heard by another replica's Watch 0.26 ms after
// the call that made it began. A record takes 1.1 kB in Redis: 0.95 kB for
// itself and 0.12 kB for its fence, which stays.
package redis
