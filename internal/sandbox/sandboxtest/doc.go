// Package sandboxtest tells whether a [sandbox.Provider] keeps the promises of
// its contract.
//
// [Test] is the conformance suite: one subtest per promise, named after it.
// Every provider runs it against something that answers like the real service,
// and so does [Fake], the scripted provider that stands in for all of them in
// tests of code above the contract.
//
// The suite settles what the contract leaves open:
//
//   - Start with a slug that another instance has is [sandbox.KindBusy]: it
//     may be free later, and no other provider should be asked instead.
//   - Start with a preset that is not configured is [sandbox.KindInvalid].
//   - A call that its context cut short is [sandbox.KindUnavailable].
//   - Stop of a paused instance ends in [sandbox.Stopped]: the saved RAM is
//     given up.
//   - No error is of [sandbox.KindOther].
package sandboxtest
