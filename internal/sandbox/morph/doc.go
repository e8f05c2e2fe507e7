// Package morph is the provider of Morph Cloud sandboxes, the fallback that is
// always there: virtual machines by the hour that keep their RAM over a pause.
//
// It speaks the HTTP API through a small client of its own. What that API does
// and leaves undocumented shapes the code:
//
//   - There is no "stop": it would delete. Pause is the only sleep, and every
//     time to live is sent with the action "pause", because the default is to
//     delete.
//   - A service URL wakes and bills a paused machine when it is so much as
//     probed. This package never sends anything to one; it asks the API, and
//     an instance has places for its ports only while it runs.
//   - An instance belongs to the edge's scope by the metadata key "app", which
//     begins with "cmux" or "manaflow". Everything else does not exist here.
//   - Services are found by port number. Their URLs are foreign input: only
//     https below one configured suffix is accepted.
//
// The API has no counter of resumes, so [sandbox.Instance].Generation is what
// this process has seen: it starts at the time of the first look and grows
// whenever an instance that slept is seen running again. It never goes back as
// long as the clock does not; two processes may differ in it.
package morph
