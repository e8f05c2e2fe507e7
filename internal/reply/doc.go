// Package reply holds every word the edge itself says to a client.
//
// A cause becomes a [Problem] (package proxy keeps the one table), and
// [Problem.Write] says it in the form the client asked for: a small page, a
// problem+json document (RFC 9457) or plain text. Each is rendered whole
// before the first byte is sent, so a broken page cannot become a broken
// reply. Pages load nothing from anywhere and run no script.
package reply
