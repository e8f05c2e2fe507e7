package proxy

import (
	"strconv"

	"cmux.sh/edge/internal/resolve"
)

// maxLabel is what DNS and the grammar grant one label.
const maxLabel = 63

// sibling is the public host of another port of x's sandbox, in the form of
// x's own host and with its port suffix. It is "" where that would be no valid
// name, and "" on a host that belongs to no sandbox.
func (x *Exchange) sibling(port uint16) string {
	before, after := x.around()
	number := strconv.Itoa(int(port))
	if before+after == "" || len(before)+len(number)+len(after)-len(x.Route.Domain)-len(x.Route.Suffix)-1 > maxLabel {
		return ""
	}
	return before + number + after
}

// around is what stands before and after the port in the public hosts of x's
// sandbox.
func (x *Exchange) around() (before, after string) {
	r, domain := x.Route, "."+x.Route.Domain+x.Route.Suffix
	switch r.Form {
	case resolve.Port:
		return r.Prefix, "-" + r.Slug + domain
	case resolve.Proxy:
		before := r.Prefix + r.Slug + "-"
		switch {
		case r.Scope != "":
			before += r.Scope + "-"
		case !beginsGuestSlug(r.Slug) && len(before)+len("base-65535") <= maxLabel:
			before += "base-"
		}
		return before, domain
	case resolve.Freestyle:
		return r.Workspace + "-", "-" + r.Slug + domain
	}
	return "", ""
}

// beginsGuestSlug tells whether slug, followed by a scope, would be read as a
// slug of two segments: cmux-pvelxc-base-80 is port 80 of pvelxc-base. Without
// a scope it means the same as with base.
func beginsGuestSlug(slug string) bool {
	return slug == "pvelxc" || slug == "pvevm" || slug == "morphvm"
}

// origin is the public origin of the request (RFC 6454).
func (x *Exchange) origin() string {
	return x.Scheme + "://" + x.Route.Host + x.Route.Suffix
}
