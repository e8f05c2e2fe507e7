package csp

import "strings"

const frameAncestors = "frame-ancestors"

// SetFrameAncestors makes sources the list of frame-ancestors in every policy
// of values that has one. With add, policies without one get it too, and where
// there is no policy at all, one is made. set tells whether any policy has the
// list now; if not, the values are returned as they were.
func SetFrameAncestors(values []string, sources string, add bool) (amended []string, set bool) {
	directive := frameAncestors + " " + sources
	amended = make([]string, 0, len(values)+1)
	for _, value := range values {
		policies := strings.Split(value, ",")
		for i, policy := range policies {
			replaced, found := replace(policy, directive)
			switch {
			case found:
				policies[i], set = replaced, true
			case add && strings.Trim(policy, space+";") != "":
				policies[i], set = appendDirective(policy, directive), true
			}
		}
		amended = append(amended, strings.Join(policies, ","))
	}
	switch {
	case !set && add:
		return append(amended, directive), true
	case !set:
		return values, false
	}
	return amended, true
}

// replace puts directive in the place of each of the same name. A browser
// takes the first of a name and ignores the others; they are replaced too, so
// that no reader can find another list.
func replace(policy, directive string) (string, bool) {
	directives := strings.Split(policy, ";")
	found := false
	for i, d := range directives {
		if name, _ := nameOf(d); !strings.EqualFold(name, frameAncestors) {
			continue
		}
		body := strings.TrimLeft(d, space)
		directives[i], found = d[:len(d)-len(body)]+directive, true
	}
	return strings.Join(directives, ";"), found
}

func appendDirective(policy, directive string) string {
	trimmed := strings.TrimRight(policy, space)
	if strings.HasSuffix(trimmed, ";") {
		return trimmed + " " + directive
	}
	return trimmed + "; " + directive
}

// space is what HTML and CSP call ASCII whitespace.
const space = " \t\n\f\r"

// nameOf cuts a directive into its name and what follows.
func nameOf(directive string) (name, value string) {
	directive = strings.Trim(directive, space)
	if i := strings.IndexAny(directive, space); i >= 0 {
		return directive[:i], directive[i:]
	}
	return directive, ""
}
