package pve

import (
	"strconv"
	"strings"

	"cmux.sh/edge/internal/sandbox"
)

// firstVMID is the lowest id that is ours to use: those from 100 to 199 are
// base templates by convention.
const firstVMID = 200

// ref is a guest as an instance's id names it. VMIDs are reused, so the name
// tells whether it still is the same guest.
type ref struct {
	vmid int
	name string
}

func (r ref) id() sandbox.ID { return sandbox.ID(strconv.Itoa(r.vmid) + "." + r.name) }

func parseID(id sandbox.ID) (r ref, ok bool) {
	digits, name, ok := strings.Cut(string(id), ".")
	vmid, err := strconv.Atoi(digits)
	if !ok || err != nil || vmid < 100 || name == "" || strconv.Itoa(vmid) != digits {
		return ref{}, false
	}
	return ref{vmid, name}, true
}
