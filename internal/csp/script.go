package csp

import (
	"iter"
	"net/url"
	"strconv"
	"strings"
)

// URL is an address of the document's own origin, in parts.
type URL struct {
	Scheme string // "http" or "https"
	Host   string // lower-case, without port
	Port   int    // 0 is the scheme's own
	Path   string
}

// AllowsScript tells whether a document that came with values may load script,
// which lies on its own origin, by an element of its HTML that has neither
// nonce nor hash. All policies must allow it.
func AllowsScript(values []string, script URL) bool {
	for _, value := range values {
		for policy := range strings.SplitSeq(value, ",") {
			if !policyAllows(policy, script) {
				return false
			}
		}
	}
	return true
}

// policyAllows looks at the first directive of each name, as browsers do.
func policyAllows(policy string, script URL) bool {
	first := make(map[string]string)
	for d := range strings.SplitSeq(policy, ";") {
		name, value := nameOf(d)
		name = strings.ToLower(name)
		if _, seen := first[name]; !seen {
			first[name] = value
		}
	}
	if flags, sandboxed := first["sandbox"]; sandboxed && !hasSource(flags, "allow-scripts") {
		return false
	}
	// CSP Level 3 section 6.8.3: each falls back to the next.
	for _, name := range [...]string{"script-src-elem", "script-src", "default-src"} {
		if sources, ok := first[name]; ok {
			return sourcesAllow(sources, script)
		}
	}
	return true
}

// fields are the expressions of a source list.
func fields(sources string) iter.Seq[string] {
	return strings.FieldsFuncSeq(sources, func(r rune) bool { return strings.ContainsRune(space, r) })
}

func hasSource(sources, want string) bool {
	for s := range fields(sources) {
		if strings.EqualFold(s, want) {
			return true
		}
	}
	return false
}

// sourcesAllow matches script with a source list (section 6.7.2.7).
func sourcesAllow(sources string, script URL) bool {
	if hasSource(sources, "'strict-dynamic'") {
		return false // then only a nonce or a hash counts for what the parser inserts
	}
	for s := range fields(sources) {
		if strings.EqualFold(s, "'self'") || !strings.HasPrefix(s, "'") && sourceMatches(s, script) {
			return true
		}
	}
	return false
}

// sourceMatches matches script with one expression (section 6.7.2.8).
func sourceMatches(source string, script URL) bool {
	if source == "*" {
		return true
	}
	if scheme, ok := strings.CutSuffix(source, ":"); ok && !strings.ContainsAny(scheme, "./*:") {
		return schemeMatches(scheme, script.Scheme)
	}
	scheme, rest, found := strings.Cut(source, "://")
	if !found {
		scheme, rest = script.Scheme, source
	}
	authority, path, _ := strings.Cut(rest, "/")
	host, port, hasPort := strings.Cut(authority, ":")
	return schemeMatches(scheme, script.Scheme) && hostMatches(host, script.Host) &&
		portMatches(port, hasPort, script) && pathMatches(rest[len(authority):], path, script.Path)
}

// schemeMatches lets http stand for https too.
func schemeMatches(pattern, scheme string) bool {
	return strings.EqualFold(pattern, scheme) || strings.EqualFold(pattern, "http") && scheme == "https"
}

func hostMatches(pattern, host string) bool {
	if pattern == "*" {
		return true
	}
	pattern = strings.ToLower(pattern)
	if suffix, wild := strings.CutPrefix(pattern, "*"); wild {
		return strings.HasPrefix(suffix, ".") && len(host) > len(suffix) && strings.HasSuffix(host, suffix)
	}
	return pattern == host
}

func portMatches(pattern string, explicit bool, script URL) bool {
	port := script.Port
	standard := map[string]int{"http": 80, "https": 443}[script.Scheme]
	if port == 0 {
		port = standard
	}
	switch {
	case !explicit:
		return port == standard
	case pattern == "*":
		return true
	}
	n, err := strconv.Atoi(pattern)
	return err == nil && (n == port || n == 80 && port == 443)
}

// pathMatches: no path, or "/" alone, is any; one that ends in a slash is all
// below; any other only itself.
func pathMatches(pattern, afterSlash, path string) bool {
	if pattern == "" || afterSlash == "" {
		return true
	}
	decoded, err := url.PathUnescape(pattern)
	if err != nil {
		return false
	}
	if strings.HasSuffix(pattern, "/") {
		return strings.HasPrefix(path, decoded)
	}
	return path == decoded
}
