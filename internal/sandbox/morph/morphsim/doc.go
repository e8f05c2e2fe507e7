// Package morphsim plays the part of the Morph Cloud API that a sandbox
// manager needs, and the public URLs of its instances' services, on one TLS
// listener that routes by host name as the real front does.
//
// It has the traps of the real one: an instance is pending before it is ready
// and has no services at first; a pause saves for a while and conflicts with
// everything else; a time to live deletes unless it was told to pause, and a
// resume does not renew it; a request to a paused instance's service wakes it
// when that was left on; stop is delete. Requests are checked more strictly
// than the real API checks them: an unknown field or parameter is a 422 too.
//
// It serves tests and the demo. Without [Config.NewMachine] an instance's
// services answer with a line of text; with it, each instance is also started
// and suspended for real, and its handlers answer behind the service URLs.
//
// [Server.Inject] makes it fail; [Server.Probes] tells who knocked at a sleeping
// instance's door. Every method of Server may be called from any goroutine.
package morphsim
