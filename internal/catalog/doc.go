// Package catalog says which instance serves a sandbox now, for every replica
// of the edge at once.
//
// A request brings a slug. The resolver asks its own cache, then the
// catalogue, then the providers; what the catalogue knows is a [Record]. Who
// changes a sandbox (the lifecycle, the reconciler, the admin API) takes a
// [Lease] on its slug, looks again, acts at the provider, and writes what came
// of it under the lease's fence. Everybody else hears of the write by Watch.
//
// Package memory holds the store of a single replica, package redis the one
// that many share. Package catalogtest tells whether a store keeps the
// promises below; both do.
//
// # Vocabulary
//
// A slug is a sandbox's public name: 1 to 63 of a-z, 0-9 and hyphen. A record
// is what is known of a slug. A tombstone is the record of a sandbox that was
// deleted; it answers for the slug for a time (the retention) and then
// vanishes.
//
// Three numbers are drawn per key, from one sequence that never goes back: the
// next is the largest of the last one plus one, the store's clock in
// microseconds, and whatever the writer has seen so far plus one. So they grow
// even when the store comes back empty, or older than it was.
//
//   - A fence numbers leases: the later lease has the larger fence.
//   - A generation numbers lives: it is new on every start, resume and move. A
//     connection of one generation is not used for another.
//   - A version numbers writes: of two records of one slug the one with the
//     larger version is the newer.
//
// # What a lease does not promise
//
// A lease does not stop time. Its holder may sleep (garbage collection, a
// suspended host) past its end and wake believing that it still holds it; a
// provider that was called before the end may act after it. So a lease alone
// makes double work rare, not impossible. What it makes impossible is a stale
// write: the store refuses a fence that is not the latest it has given out,
// and whoever takes over looks at the provider before acting.
//
// A store that loses its last moments (a fail-over to a replica that lagged, a
// restart without its data) may lose a lease with them: then two hold it, the
// later with the larger fence, and only the later may write.
//
// # Size
//
// A record with an address and one port that lies elsewhere takes 0.78 kB in
// package memory (measured with a million) and 1.1 kB in Redis, of which 0.12 kB
// are its fence and stay when the record goes. The benchmarks of both packages
// measure it.
package catalog
