// Package sandbox holds the words the edge uses for cloud sandboxes, and the
// contract every provider of them fulfils.
//
// A sandbox is known to people by its slug. At any moment at most one instance
// of one provider serves it. A provider (Proxmox, Morph, Docker, a fixed list)
// starts, pauses, resumes and deletes instances and says where their ports
// are. What happens between a host name and an instance is the business of
// package resolve; what happens between a request and a port is that of
// package proxy. This package imports neither.
//
// # Concurrency
//
// Every type here is either an immutable value or documents its own rule.
// Every [Provider] method may be called from any number of goroutines at once.
package sandbox
