package catalog

import (
	"encoding/json"
	"fmt"
	"time"

	"cmux.sh/edge/internal/sandbox"
)

// encodingVersion is written into every record. It is raised only when an
// older binary would take a record for something that it is not; a field more
// does not raise it.
const encodingVersion = 1

// encoded is a record as JSON: the names of the admin API where it has one.
// A field that is not here is passed over, so that an older binary reads what
// a newer one wrote; what is missing is zero, so that a newer one reads what an
// older one wrote.
type encoded struct {
	V            int               `json:"v"`
	Slug         string            `json:"slug"`
	Provider     string            `json:"provider,omitzero"`
	ID           sandbox.ID        `json:"id,omitzero"`
	State        sandbox.State     `json:"state"`
	StateReason  string            `json:"state_reason,omitzero"`
	Address      string            `json:"address,omitzero"`
	Ports        map[uint16]string `json:"ports,omitempty"`
	WorkloadType string            `json:"workload_type,omitzero"`
	Marked       bool              `json:"marked,omitzero"`
	Created      time.Time         `json:"created_at,omitzero"`
	LastActive   time.Time         `json:"last_active_at,omitzero"`
	PausedBy     PausedBy          `json:"paused_by,omitzero"`
	RAMPreserved bool              `json:"ram_preserved,omitzero"`
	TTL          int64             `json:"ttl,omitzero"` // in seconds
	Deleted      time.Time         `json:"deleted_at,omitzero"`
	Generation   uint64            `json:"generation,omitzero"`
	Fence        uint64            `json:"fence,omitzero"`
	Version      uint64            `json:"version,omitzero"`
}

// Encode is the record as bytes for a store. A record that is not [Record.Valid]
// is refused.
func Encode(r *Record) ([]byte, error) {
	if err := r.Valid(); err != nil {
		return nil, err
	}
	n := r.Normal()
	return json.Marshal(&encoded{
		V:    encodingVersion,
		Slug: n.Slug, Provider: n.Provider, ID: n.ID, State: n.State, StateReason: n.Reason,
		Address: n.Address, Ports: n.Ports, WorkloadType: n.WorkloadType, Marked: n.Marked,
		Created: n.Created, LastActive: n.LastActive, PausedBy: n.PausedBy, RAMPreserved: n.RAMPreserved,
		TTL: int64(n.TTL / time.Second), Deleted: n.Deleted,
		Generation: n.Generation, Fence: n.Fence, Version: n.Version,
	})
}

// Decode reads what [Encode] of this, an older or a newer edge wrote. It fails
// with [ErrNewer] when it must not guess what a newer one meant, and with
// [ErrEncoding] when the bytes are no record. The error never quotes them.
//
// A write by an older edge drops what only a newer one knows.
func Decode(data []byte) (Record, error) {
	var e encoded
	if err := json.Unmarshal(data, &e); err != nil || e.V != encodingVersion {
		return Record{}, refusal(data)
	}
	r := Record{
		Instance: sandbox.Instance{
			Provider: e.Provider, ID: e.ID, Slug: e.Slug, State: e.State, Reason: e.StateReason,
			Address: e.Address, Ports: e.Ports, WorkloadType: e.WorkloadType, Marked: e.Marked,
			Created: e.Created, Generation: e.Generation,
		},
		LastActive: e.LastActive, PausedBy: e.PausedBy, RAMPreserved: e.RAMPreserved,
		TTL: time.Duration(e.TTL) * time.Second, Deleted: e.Deleted, Fence: e.Fence, Version: e.Version,
	}
	r = r.Normal()
	if err := r.Valid(); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrEncoding, err)
	}
	return r, nil
}

// refusal says why bytes are not a record of this encoding.
func refusal(data []byte) error {
	var head struct{ V int }
	switch err := json.Unmarshal(data, &head); {
	case err != nil:
		return fmt.Errorf("%w: not JSON with a version", ErrEncoding)
	case head.V > encodingVersion:
		return fmt.Errorf("%w (encoding %d; this one reads up to %d)", ErrNewer, head.V, encodingVersion)
	case head.V < encodingVersion:
		return fmt.Errorf("%w: encoding %d", ErrEncoding, head.V)
	default:
		return fmt.Errorf("%w: a field is not of its type", ErrEncoding)
	}
}
