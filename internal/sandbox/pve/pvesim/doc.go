// Package pvesim plays the part of the Proxmox VE API that a sandbox manager
// needs: a cluster of nodes with virtual machines and containers that start,
// hibernate, resume, are cloned and deleted, over HTTPS with token
// authentication.
//
// It is strict where the real API is. Every request is checked against the
// vendor's own schema (embedded) before it is played, and refused with the
// status line, the body and the connection handling of pve-http-server. The
// states, locks and tasks follow qemu-server and pve-container.
//
// It serves tests and the demo. A [Server] without [Config.NewMachine] only
// pretends; with one, each guest's starts and stops are also carried out by a
// [Machine], so that something real can answer behind the simulated API.
//
// [Server.Inject] and [Server.InjectTask] make it fail in the ways a real
// cluster does. Every method of Server may be called from any goroutine.
package pvesim
