// Package demo shows the edge with nothing installed: [Run] starts two small
// sandboxes as child processes of the same binary and an edge in front of
// them. A sandbox ([RunSandbox]) is a page with a counter in its memory, a
// stream of events and a WebSocket, the three things that an edge must carry.
//
// The children end with the parent, however that ends.
package demo
