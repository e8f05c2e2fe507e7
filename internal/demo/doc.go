// Package demo shows the edge with nothing installed: [Run] starts an edge and
// small sandboxes that are child processes of the same binary. A sandbox
// ([RunSandbox]) is a page with a counter in its memory, a stream of events and
// a WebSocket, the three things that an edge must carry.
//
// The sandboxes are simply there (the provider static), or a simulated Proxmox
// cluster or Morph account makes them. Then the edge is configured as for the
// real thing and asked for them through its admin port. A child process stands
// behind each guest: one that is suspended stands still and keeps its counter,
// one that is stopped ends and loses it.
//
// The children end with the parent, however that ends.
package demo
