// Package admin is the edge's second port: health, readiness, metrics and
// profiles, for operators and their tools.
//
// It never shares a listener with sandboxes. What answers here is decided by
// where it listens and by the token: the two health paths answer anybody,
// everything else wants the token once one is set, and a browser that was led
// here by a name of somebody else's (DNS rebinding) gets nothing. The admin
// port is the last to go on shutdown, so that an edge that drains can be
// watched.
package admin
