package pve

import (
	"net/url"
	"strconv"
	"strings"
	"time"
)

// markPrefix begins the line of a guest's description that the edge wrote.
const markPrefix = "cmux-edge: "

// mark is what the edge writes into the description of a guest it makes. It
// is the only place: a clone takes no tags.
type mark struct {
	vmid     int
	key      string
	workload string
	created  time.Time
}

// String is the description with the mark in it.
func (m mark) String() string {
	v := url.Values{"vmid": {strconv.Itoa(m.vmid)}, "key": {m.key}, "created": {m.created.UTC().Format(time.RFC3339)}}
	if m.workload != "" {
		v.Set("workload", m.workload)
	}
	return "Made by the cmux edge, which needs the next line.\n\n" + markPrefix + v.Encode() + "\n"
}

// readMark finds the mark of the guest vmid. A copy of a marked guest has its
// description but another VMID, and somebody else made it.
func readMark(description string, vmid int) (m mark, ok bool) {
	for line := range strings.Lines(description) {
		text, found := strings.CutPrefix(strings.TrimSpace(line), markPrefix)
		if !found {
			continue
		}
		v, err := url.ParseQuery(text)
		if err != nil {
			continue
		}
		m = mark{key: v.Get("key"), workload: v.Get("workload")}
		if m.vmid, err = strconv.Atoi(v.Get("vmid")); err != nil || m.vmid != vmid || m.key == "" {
			continue
		}
		if m.created, err = time.Parse(time.RFC3339, v.Get("created")); err != nil {
			m.created = time.Time{}
		}
		return m, true
	}
	return mark{}, false
}
