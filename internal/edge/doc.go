// Package edge assembles the edge: it opens the listeners, hands each package
// its part of the configuration, owns every goroutine that lives as long as
// the process, and stops everything in the right order.
//
// [New] opens the listeners, so that a taken port is an error before anything
// runs; [Edge.Run] serves until its context ends.
package edge
