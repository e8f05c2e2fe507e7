package resolve

import (
	"net/netip"
	"strconv"
	"strings"
)

// Form is the shape of a host name.
type Form uint8

// The forms of host name that the grammar accepts.
const (
	// Apex is a configured domain itself.
	Apex Form = iota + 1
	// Port is port-<port>-<slug>.<domain>: a port of a sandbox.
	Port
	// Proxy is cmux-<slug>[-<scope>]-<port>.<domain> (or manaflow-…): a port
	// behind the proxy inside the sandbox.
	Proxy
	// Freestyle is <workspace>-<port>-<slug>.<domain>, where it is switched on.
	Freestyle
)

// InnerProxyPort is the port of the proxy inside a sandbox, through which the
// forms other than [Port] go.
const InnerProxyPort = 39379

// String is the form's name, as `edge resolve` prints it.
func (f Form) String() string {
	switch f {
	case Apex:
		return "apex"
	case Port:
		return "port"
	case Proxy:
		return "proxy"
	case Freestyle:
		return "freestyle"
	}
	return "invalid"
}

// Route is what a host name asks for. Its strings share the memory of the
// parsed name where that was lower-case already.
type Route struct {
	Form Form
	// Host is the normalised name: lower-case, without port or trailing dot.
	Host string
	// Suffix is the port suffix of the Host header, ":8080", or "".
	Suffix string
	// Domain is the configured domain that Host lies in.
	Domain string
	// Prefix is the label's first part with its hyphen: "port-", "cmux-",
	// "manaflow-"; "" for the other forms.
	Prefix string
	// Slug names the sandbox.
	Slug string
	// Port is the port asked for, inside the sandbox.
	Port uint16
	// Scope is the workspace scope of a Proxy route; "" is the base scope.
	Scope string
	// Workspace is the workspace of a Freestyle route.
	Workspace string
}

// HostError is a host name that the grammar refuses. Its text is the sentence
// a client reads; it is one of the values below, so == works.
type HostError struct {
	text    string
	foreign bool
}

// Error is the sentence.
func (e *HostError) Error() string { return e.text }

// Foreign tells that the name is well formed but belongs to no configured
// domain (421), other than a malformed one (400).
func (e *HostError) Foreign() bool { return e.foreign }

// What [Grammar.Parse] can find wrong.
var (
	ErrInvalidHost      = &HostError{text: "Invalid host"}
	ErrForeign          = &HostError{text: "Not a cmux domain", foreign: true}
	ErrInvalidSubdomain = &HostError{text: "Invalid cmux subdomain"}
	ErrInvalidPort      = &HostError{text: "Invalid port in subdomain"}
	ErrInvalidProxy     = &HostError{text: "Invalid cmux proxy subdomain"}
	ErrInvalidProxyPort = &HostError{text: "Invalid port in cmux proxy subdomain"}
	ErrMissingID        = &HostError{text: "Missing morph id in cmux proxy subdomain"}
	ErrMissingWorkspace = &HostError{text: "Missing workspace in subdomain"}
)

// Grammar reads host names for a set of domains. It is immutable and safe for
// concurrent use.
type Grammar struct {
	domains   []string
	freestyle bool
}

// NewGrammar makes a grammar for domains, which are lower-case names without a
// trailing dot. freestyle switches the [Freestyle] form on.
func NewGrammar(domains []string, freestyle bool) *Grammar {
	return &Grammar{domains: append([]string(nil), domains...), freestyle: freestyle}
}

// Parse reads the value of a Host header or :authority. The error, if any, is
// a *[HostError]. It does not allocate for a lower-case name.
func (g *Grammar) Parse(authority string) (Route, error) {
	host, suffix, ok := splitPort(authority)
	if !ok {
		return Route{}, ErrInvalidHost
	}
	if host[0] == '[' {
		addr, err := netip.ParseAddr(host[1 : len(host)-1])
		if err != nil || !addr.Is6() || addr.Zone() != "" {
			return Route{}, ErrInvalidHost
		}
		return Route{}, ErrForeign
	}
	host = lowerASCII(host)
	host = strings.TrimSuffix(host, ".")
	if !validLabels(host) {
		return Route{}, ErrInvalidHost
	}
	domain, sub := g.domainOf(host)
	if domain == "" {
		return Route{}, ErrForeign
	}
	r := Route{Host: host, Suffix: suffix, Domain: domain}
	if sub == "" {
		r.Form = Apex
		return r, nil
	}
	if !validSub(sub) {
		return Route{}, ErrInvalidSubdomain
	}
	if err := g.parseLabel(&r, sub); err != nil {
		return Route{}, err
	}
	return r, nil
}

// splitPort cuts one port suffix: ":" and up to five digits of a value no
// larger than 65535. What stands in brackets may hold colons.
func splitPort(authority string) (host, suffix string, ok bool) {
	if authority == "" || strings.IndexByte(authority, '%') >= 0 {
		return "", "", false
	}
	end := strings.IndexByte(authority, ':')
	if authority[0] == '[' {
		end = strings.IndexByte(authority, ']')
		if end < 0 {
			return "", "", false
		}
		end++
	} else if end < 0 {
		end = len(authority)
	}
	host, suffix = authority[:end], authority[end:]
	if host == "" {
		return "", "", false
	}
	if suffix == "" {
		return host, "", true
	}
	digits := suffix[1:]
	if suffix[0] != ':' || len(digits) > 5 || !allDigits(digits) {
		return "", "", false
	}
	if n, _ := strconv.Atoi(digits); n > 65535 {
		return "", "", false
	}
	return host, suffix, true
}

// lowerASCII folds A-Z only. strings.ToLower would turn U+212A, the Kelvin
// sign, into k and so make a foreign name ours.
func lowerASCII(s string) string {
	for i := 0; i < len(s); i++ {
		if 'A' <= s[i] && s[i] <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if 'A' <= b[i] && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// validLabels holds a name to RFC 1035's total length and to labels that are
// not empty.
func validLabels(host string) bool {
	if host == "" || len(host) > 253 || host[0] == '.' || host[len(host)-1] == '.' {
		return false
	}
	return !strings.Contains(host, "..")
}

// domainOf finds the longest configured domain that host is or lies in, and
// what stands before it. The test is on the dot: evilcmux.sh is not in cmux.sh.
func (g *Grammar) domainOf(host string) (domain, sub string) {
	for _, d := range g.domains {
		if len(d) <= len(domain) || !strings.HasSuffix(host, d) {
			continue
		}
		switch before := host[:len(host)-len(d)]; {
		case before == "":
			domain, sub = d, ""
		case before[len(before)-1] == '.':
			domain, sub = d, before[:len(before)-1]
		}
	}
	return domain, sub
}

// validSub accepts one label of letters, digits and hyphens that is not an
// encoded international name.
func validSub(sub string) bool {
	if len(sub) > 63 || strings.HasPrefix(sub, "xn--") {
		return false
	}
	for i := 0; i < len(sub); i++ {
		if c := sub[i]; c != '-' && !alnum(c) {
			return false
		}
	}
	return true
}

func alnum(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

func allDigits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
