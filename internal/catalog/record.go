package catalog

import (
	"fmt"
	"time"

	"cmux.sh/edge/internal/sandbox"
)

// PausedBy tells who put a sandbox to sleep, which decides what may wake it.
type PausedBy uint8

// Who put a sandbox to sleep. Their String forms are those of the admin API.
const (
	// PausedByNobody: it is not asleep.
	PausedByNobody PausedBy = iota
	// PausedByIdle: nobody used it for a while.
	PausedByIdle
	// PausedByAPI: its owner, through the API or the command line.
	PausedByAPI
	// PausedByTTL: its time was over.
	PausedByTTL
	// PausedByExternal: somebody at the provider, not the edge.
	PausedByExternal
	// PausedByUnknown: it was found asleep.
	PausedByUnknown
)

var pausedByNames = [...]string{
	PausedByNobody: "", PausedByIdle: "idle", PausedByAPI: "api", PausedByTTL: "ttl",
	PausedByExternal: "external", PausedByUnknown: "unknown",
}

// String is the name in the admin API; empty for PausedByNobody.
func (p PausedBy) String() string {
	if int(p) < len(pausedByNames) {
		return pausedByNames[p]
	}
	return pausedByNames[PausedByUnknown]
}

// MarshalText writes String.
func (p PausedBy) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what MarshalText wrote; a name it does not know becomes
// [PausedByUnknown], so that an older binary reads a newer one's records.
func (p *PausedBy) UnmarshalText(text []byte) error {
	*p = PausedByUnknown
	for i, name := range pausedByNames {
		if name == string(text) {
			*p = PausedBy(i)
		}
	}
	return nil
}

// Record is what the catalogue knows of a slug. It is a value: a copy may be
// kept and read by anybody, its map must not be written.
//
// Moments are kept to the microsecond, in UTC.
type Record struct {
	// Instance serves the sandbox. Its Slug is the record's key, its
	// Generation the catalogue's: see [Writer].
	sandbox.Instance
	// LastActive is when somebody last used the sandbox. It never goes back.
	LastActive time.Time
	// PausedBy tells who put it to sleep.
	PausedBy PausedBy
	// RAMPreserved says that the RAM was kept the last time it slept.
	RAMPreserved bool
	// TTL is how long after its last use it goes to sleep; 0 is never. It is
	// kept to the second.
	TTL time.Duration
	// Deleted is when the sandbox was deleted. A record with it is a
	// tombstone: it tells that the sandbox was there, and is never woken.
	Deleted time.Time
	// Fence is that of the lease under which the record was written.
	Fence uint64
	// Version numbers the writes to the slug. It is set by the store.
	Version uint64
}

// Tombstone tells whether the sandbox was deleted.
func (r *Record) Tombstone() bool { return !r.Deleted.IsZero() }

// maxNumber bounds fences, generations and versions: what a double holds
// exactly, since Redis computes with them in Lua. Microseconds since 1970
// reach it in the year 2255.
const maxNumber = 1<<53 - 1

// Bounds of what a record may hold. They keep one bad provider from filling
// the store.
const (
	maxText  = 4 << 10
	maxPorts = 256
)

// Valid tells whether a store may keep the record; else the error is an
// [ErrInvalid] and says why not.
func (r *Record) Valid() error {
	if !ValidSlug(r.Slug) {
		return fmt.Errorf("%w: %q is no slug", ErrInvalid, r.Slug)
	}
	for _, number := range []uint64{r.Fence, r.Generation, r.Version} {
		if number > maxNumber {
			return fmt.Errorf("%w: %d is larger than any fence, generation or version", ErrInvalid, number)
		}
	}
	if len(r.Ports) > maxPorts {
		return fmt.Errorf("%w: %d ports, more than %d", ErrInvalid, len(r.Ports), maxPorts)
	}
	size := len(r.Provider) + len(r.ID) + len(r.Reason) + len(r.Address) + len(r.WorkloadType)
	for port, place := range r.Ports {
		if port == 0 {
			return fmt.Errorf("%w: port 0", ErrInvalid)
		}
		size += len(place)
	}
	if size > maxText {
		return fmt.Errorf("%w: %d bytes of text, more than %d", ErrInvalid, size, maxText)
	}
	for _, at := range []time.Time{r.Created, r.LastActive, r.Deleted} {
		if year := at.UTC().Year(); year < 1 || year > 9999 {
			return fmt.Errorf("%w: the year %d", ErrInvalid, year)
		}
	}
	if r.TTL < 0 {
		return fmt.Errorf("%w: a time to live of %v", ErrInvalid, r.TTL)
	}
	return nil
}

// Normal is the record as every store keeps it: times to the microsecond in
// UTC, no empty map.
func (r *Record) Normal() Record {
	n := *r
	for _, at := range []*time.Time{&n.Created, &n.LastActive, &n.Deleted} {
		*at = at.UTC().Truncate(time.Microsecond)
	}
	n.TTL = n.TTL.Truncate(time.Second)
	if len(n.Ports) == 0 {
		n.Ports = nil
	}
	return n
}

// Buried is the record's tombstone: what tells the deleted instance from
// another one, and why it was deleted, without where it was.
func (r *Record) Buried(at time.Time) Record {
	b := *r
	b.State, b.Address, b.Ports = sandbox.Stopped, "", nil
	b.PausedBy, b.RAMPreserved, b.TTL = PausedByNobody, false, 0
	if b.Deleted.IsZero() {
		b.Deleted = at
	}
	return b.Normal()
}

// SameInstance tells whether both records are of one instance of one provider.
// Providers use ids again, so the second in which it was made counts too. An
// instance that has no id yet is no other's.
func (r *Record) SameInstance(other *Record) bool {
	return r.Provider == other.Provider && r.ID == other.ID && r.ID != "" && r.Created.Unix() == other.Created.Unix()
}

// ValidSlug tells whether s may be a record's key. It is more lenient than the
// grammar of host names, which has the last word on what a request may ask for.
func ValidSlug(s string) bool {
	if s == "" || len(s) > 63 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
