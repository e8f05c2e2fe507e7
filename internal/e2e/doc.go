// Package e2e tests the edge as its users meet it: the built binary, and in
// front of it the programs that people open through it.
//
// TestScript runs the commands of the binary by the scripts in testdata/script:
// what they print, and how they exit. The other tests each start one sandbox on
// a loopback address of its own and an edge in front of it. For streams,
// WebSockets and bad input the sandbox is a server in Go, and the client a few
// lines that see every byte. Otherwise it is a real service, VS Code, noVNC,
// Chromium's DevTools or Vite, with a browser in front; the browser's part is
// written in JavaScript, in test/clients. The provider manager is tested against
// the simulators of Proxmox and Morph that lie beside their providers.
//
// Everything listens on loopback, is started and ended by the test that needs
// it, and dies with the test process. A tool that is missing fails the test
// with the command that installs it, tools/setup; -short leaves the real clients
// out. EDGE_E2E_SCREENSHOTS names a directory that keeps what the browsers saw,
// EDGE_E2E_BINARY an edge to test instead of the one built from this checkout.
//
// The package has no code of its own, and nothing imports it.
package e2e
