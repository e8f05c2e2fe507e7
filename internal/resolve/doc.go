// Package resolve finds what a host name means: by a strict grammar, which
// sandbox and port a name asks for ([Grammar.Parse]).
//
// The grammar is pure: it looks at bytes, knows nothing of providers, and is
// the same on every replica. Everything a client can write into a Host header
// ends either in a [Route] or in one of the [HostError] values, never in a
// guess.
package resolve
