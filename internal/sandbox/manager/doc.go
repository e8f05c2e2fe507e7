// Package manager makes sandboxes at providers and looks after them: it chooses
// who makes a new one, fails over when that does not work, rolls a provider out
// in shares, watches their health, and pauses what has outlived its time.
//
// A request for a port never waits for any of this: health is looked at in the
// background, and what a choice reads is a snapshot. Operations on one sandbox
// take turns; those on different ones do not wait for each other.
//
// Nothing is made twice and nothing is left behind: a start whose outcome is
// unknown is looked for before another provider is asked, and what could not be
// removed is remembered and removed later.
package manager
