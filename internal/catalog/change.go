package catalog

// Kind says what a [Change] is about.
type Kind uint8

// The kinds of change.
const (
	// Gap: everything may have changed; what was learned before is to be
	// looked up again when it is next needed.
	Gap Kind = iota
	// Written: a record was created, written or deleted.
	Written
	// Released: a lease was released before its end. Who waits for it may try
	// again. A lease that runs out is not told.
	Released
)

var kindNames = [...]string{Gap: "gap", Written: "written", Released: "released"}

// String is the kind in words.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// Change is the news of a write. It carries no record: who wants it asks for
// it, so that news can come late, twice or in a different order.
type Change struct {
	Kind Kind
	// Key is the slug that was written, or the key of the lease; empty in a gap.
	Key string
	// Version, Generation and Fence are those of the record as written; of a
	// released lease there is only the fence.
	Version, Generation, Fence uint64
	// Deleted says that the record is a tombstone.
	Deleted bool
}
