// Package catalogtest tells whether a [catalog.Catalog] keeps the promises of
// its contract.
//
// [Test] is the conformance suite: one subtest per promise, named after it.
// Every store runs it, the shared ones against real servers and over a bad
// network too.
package catalogtest
