// Package pve provides sandboxes on a Proxmox VE cluster: virtual machines
// (pve-vm), whose RAM survives a pause, and containers (pve-lxc), whose RAM
// does not.
//
// A [Client] is one cluster's API, reached with a token. [NewVM] and [NewLXC]
// make the two providers on it. Both follow the contract of [sandbox.Provider];
// what is particular to them:
//
//   - An instance's id is "VMID.name". VMIDs are reused, so a guest whose name
//     differs is another one, and the instance counts as gone. The node is
//     looked up for each call: guests move.
//   - Ours are the guests in the configured pool, and those named "pvevm-…",
//     "pvelxc-…" or "cmux-<vmid>". Templates and the VMIDs 100 to 199 are never
//     listed and never touched.
//   - The slug is the guest's name. Names are not unique to Proxmox; Start
//     refuses one that is in use, but only starts of one process are safe
//     against each other.
//   - A start clones a template, linked where the storage can. The clone's
//     description carries the request's key and the edge's mark, together with
//     the VMID: a copy that somebody makes of the guest is not marked.
//   - A VM pauses by saving its RAM to its storage ("hibernation"). Proxmox
//     lets nobody but root give the saved RAM up, so Stop of a paused VM loads
//     it first.
//   - Whether a VM that is locked for saving is being saved, or only carries the
//     lock of a save that failed, is told by its node's running tasks. Those of
//     other users are seen only with Sys.Audit on the node.
//   - A container pauses by a shutdown, and is [sandbox.Stopped] then.
//   - There is no timer: [sandbox.StartRequest].TTL is the caller's to keep.
//     Neither provider is a [sandbox.Extender].
//   - Delete does not ask who made the guest; its caller does, by
//     [sandbox.Instance].Marked. It refuses a guest with Proxmox's protection.
//
// # The API
//
// Requests go through github.com/luthermonson/go-proxmox, but only through its
// plain requests, and its http.Client is ours: an answer of 400 or more becomes
// an error before the library sees it, because the library drops the text of
// some and takes others for success. Nothing that changes something is ever
// sent twice. A change whose answer was lost is looked for instead.
package pve
