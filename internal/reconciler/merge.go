package reconciler

import (
	"maps"
	"time"

	"cmux.sh/edge/internal/catalog"
	"cmux.sh/edge/internal/sandbox"
)

// adopted is the first record of an instance.
func adopted(slug string, found sandbox.Instance) catalog.Record {
	found.Slug, found.Generation = slug, 0
	rec := catalog.Record{Instance: found, LastActive: time.Now(), RAMPreserved: found.State != sandbox.Stopped}
	if asleep(found.State) {
		rec.PausedBy = catalog.PausedByUnknown
	}
	return rec
}

// merged is a record with what its provider says now, and what happened. One
// that moved, or woke, begins a new generation.
func merged(old catalog.Record, found sandbox.Instance) (now catalog.Record, what string) {
	now = old
	now.Instance = found
	now.Slug, now.Generation = old.Slug, old.Generation
	woke := now.State == sandbox.Running && old.State != sandbox.Running
	if old.SameInstance(&now) {
		if found.WorkloadType == "" {
			now.WorkloadType = old.WorkloadType
		}
		if found.Created.IsZero() {
			now.Created = old.Created
		}
		// Without an address it is where it was, unless it woke: what it had
		// may be another's by now.
		if found.Address == "" && !woke {
			now.Address = old.Address
		}
	}
	moved := !old.SameInstance(&now) || old.Address != now.Address || !maps.Equal(old.Ports, now.Ports)
	what = "it was " + old.State.String() + ", is " + now.State.String()
	if moved {
		what += "; it moved"
	}
	if moved || woke {
		now.Generation = 0
	}
	switch {
	case now.State == sandbox.Running:
		now.PausedBy = catalog.PausedByNobody
		if woke { // who woke it uses it: it is not idle at once
			now.LastActive = time.Now()
		}
	case asleep(now.State) && !asleep(old.State):
		now.PausedBy, now.RAMPreserved = catalog.PausedByExternal, now.State == sandbox.Paused
	case now.State == sandbox.Stopped:
		now.RAMPreserved = false
	}
	return now, what
}

// same tells whether two records say the same of an instance.
func same(a, b *catalog.Record) bool {
	return a.SameInstance(b) && a.State == b.State && a.Address == b.Address && maps.Equal(a.Ports, b.Ports) &&
		a.PausedBy == b.PausedBy && a.RAMPreserved == b.RAMPreserved
}

func asleep(s sandbox.State) bool { return s == sandbox.Paused || s == sandbox.Stopped }
