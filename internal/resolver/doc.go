// Package resolver finds the record that serves a sandbox: in the local cache,
// else in the catalogue, else at the providers.
//
// A request brings a slug, which package resolve has read from the host name.
// The warm way is one look into the cache and takes no memory. The cold way is
// one look-up per slug, however many wait for it: what the catalogue lacks and
// a provider finds by its naming convention is adopted into the catalogue,
// under a lease, for every replica; what nobody knows is remembered as absent
// for a short time. What other replicas write is heard of by [Resolver.Run].
//
// # Promises
//
// Concurrency: every method may be called at any time from any goroutine.
//
// Blocking: every call returns when its context ends. A look-up that others wait
// for as well goes on without the caller that left, for Config.Lookup at most.
//
// Truth: "not found" is said only when the catalogue answered and every
// provider did. An error is never remembered. A deleted sandbox is a [*Gone],
// which is of kind not-found too. Everything else is of kind unavailable: the
// caller can't be told now.
//
// Age: a cached record is used for Config.TTL. A write that Run hears of makes
// the next use look again, and wait for what it finds. A gap in the news does so
// for every record, each at its own moment within Config.Spread, so that a
// catalogue that comes back is not met by everybody at once. LastActive of a
// cached record is as old as the cached record: touches are no news.
//
// Outage: while the catalogue does not answer, a cached record is used until
// Config.ServeStale after it was last confirmed, without waiting for anything;
// a slug that is not cached is asked of the providers. What they find is used
// but not written, and what they lack is unavailable, not absent, since the
// catalogue may know better.
//
// Providers: they are asked for at most Config.Lookups slugs per second, with a
// burst of Config.Burst, whatever is asked for; beyond that the error is an
// [ErrLimit]. [Resolver.Refresh] has a share of the same size of its own, so
// that made-up slugs don't keep a sandbox that moved from being found.
//
// Size: the cache holds at most about Config.Entries records, and
// Config.Absent slugs that nobody knows, which never displace a record.
package resolver
