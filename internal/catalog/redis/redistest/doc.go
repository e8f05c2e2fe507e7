// Package redistest starts real Redis servers for tests: one, one behind
// Sentinel, or a cluster, each on free loopback ports with a directory of its
// own, and ended with the test. Proxy puts a bad network in between.
//
// The servers come from Debian's redis-server and redis-sentinel. A test that
// lacks them fails and names the command that installs them; with -short it is
// skipped.
package redistest
