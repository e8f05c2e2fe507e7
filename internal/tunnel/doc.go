// Package tunnel carries bytes after an upgrade: a WebSocket, or any other
// protocol that a 101 switched to.
//
// Bytes pass unchanged in both directions, each at the pace of its reader.
// Nothing is buffered beyond one read, no idle time-out ends a tunnel, and a
// side that stops sending is half-closed while the other goes on. For
// WebSockets the frame boundaries are followed (not the frames' contents), so
// that a drain can say goodbye with a close frame without writing into the
// middle of somebody else's.
//
// A [Registry] knows every open tunnel; each ends with its context, with
// either of its ends, or with [Registry.Drain].
package tunnel
