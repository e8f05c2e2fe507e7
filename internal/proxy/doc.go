// Package proxy takes HTTP in and sends HTTP out.
//
// [Handler] is the whole path of a request, readable from top to bottom in
// Handler.serve: host grammar, the edge's own paths, loop guard, resolver,
// forward. A [Forwarder] then carries the request to one port of one instance
// and the answer back, byte for byte wherever HTTP allows it; an upgrade
// leaves HTTP and becomes a tunnel. Everything that goes wrong becomes a cause,
// and one table (errors.go) says what each cause means to the client and to
// the log.
//
// What the edge does to pages beyond that depends on the port: profile.go is
// the one table of it, and pages.treat applies it to an answer. Tunnels are
// passed on as they are, and so are the hosts of static routes, which belong to
// no sandbox.
//
// Connections to sandboxes are pooled by instance and generation: a connection
// made before a sandbox slept is never used after it woke.
package proxy
