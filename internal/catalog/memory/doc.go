// Package memory is the catalogue of a single replica: it lasts as long as the
// process.
//
// Get of a known slug takes no memory and about 50 ns. What is held is bounded
// by the records, the tombstones in their retention, and the leases of the last
// hour.
package memory
