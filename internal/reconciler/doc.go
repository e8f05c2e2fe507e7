// Package reconciler makes the catalogue say what the providers say.
//
// Whoever changes a sandbox through the edge writes the catalogue itself. The
// reconciler is for all that happens beside that: a replica that died between
// the provider's answer and the write, somebody at the provider's own console,
// a store that came back empty. In rounds it lists every provider and the
// catalogue and adopts, repairs and forgets what differs.
//
// # Promises
//
// One at a time: a replica works only while it holds the lease on
// catalog.Singleton("reconciler"). Two that believe to hold it do no harm: each
// change is made under the lease of its slug, after the record was read again,
// and one that changed since the round's listing is left to the next round. A
// slug whose lease somebody else holds is left to the next round too.
//
// Adopted is an instance that its provider lists, with a slug that has no record
// and that is in no other record. Of several with one slug the oldest is taken,
// and that is logged. One that the edge itself made in the last minutes is
// adopted at the second look, since who made it may yet record it; in an empty
// catalogue, everything is adopted in one round. A tombstone keeps its
// own instance from being adopted, but not another one.
//
// Forgotten is a record whose instance was missing from its provider's list in
// two rounds, one after the other, while the record did not change, and of which
// the provider then said, asked for it by its id, that it is not there. It
// becomes a tombstone. A provider that did not answer says nothing: no record of
// it is touched in that round, and the looks begin anew. So do they on a replica
// that takes over. A record of a provider that is not configured stays.
//
// Repaired is a record that differs from its instance in state, address or
// ports, as the provider tells when it is asked for this very instance; the list
// only raises the suspicion. One that woke or moved begins a new generation; one
// that was put to sleep was so by catalog.PausedByExternal. An empty address is one
// that is not known, and an unknown state is none: neither replaces what is
// recorded. A record whose instance is gone while another one has its slug moves
// to that one.
//
// Cost: a round costs each provider one List, bounded by Config.Call, and a Get
// for each sandbox that differs, Config.Parallel at a time. A provider that
// does not answer a Get in time is not asked again in that round.
package reconciler
