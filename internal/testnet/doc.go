// Package testnet is a network in memory, for tests only.
//
// Its connections keep to the rules of net.Conn (nettest.TestConn proves it)
// and behave like TCP where that matters to a proxy: writes are buffered, one
// half can be closed alone, what was written before a close is still read.
// net.Pipe has no buffer, so code that is right on TCP deadlocks on it.
//
// Everything that blocks here blocks durably in the sense of testing/synctest,
// which real sockets do not: time in a bubble moves on while a connection
// waits. A connection or listener belongs to the bubble that made it.
package testnet
