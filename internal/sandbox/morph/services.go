package morph

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// service is one entry of networking.http_services.
type service struct {
	Name     string `json:"name"`
	Port     int    `json:"port"`
	URL      string `json:"url"`
	AuthMode string `json:"auth_mode"`
}

// services is networking.http_services in either of its forms: a list, or the
// older object from a port or a name to a URL. Names and URLs are a tenant's
// data, so an entry that can't be read is left out rather than letting it take
// the whole instance off the air.
type services []service

// legacyNames are the names that the older object form uses in place of port
// numbers.
var legacyNames = map[string]int{"worker": 39377, "vscode": 39378}

// UnmarshalJSON reads both forms, and null as none.
func (s *services) UnmarshalJSON(text []byte) error {
	*s = nil
	text = bytes.TrimSpace(text)
	switch {
	case bytes.Equal(text, []byte("null")):
		return nil
	case bytes.HasPrefix(text, []byte("[")):
		return s.readList(text)
	case bytes.HasPrefix(text, []byte("{")):
		return s.readObject(text)
	}
	return errors.New("http_services is neither a list nor an object")
}

func (s *services) readList(text []byte) error {
	var entries []json.RawMessage
	if err := json.Unmarshal(text, &entries); err != nil {
		return err
	}
	for _, entry := range entries {
		var one service
		if json.Unmarshal(entry, &one) == nil {
			*s = append(*s, one)
		}
	}
	return nil
}

func (s *services) readObject(text []byte) error {
	var entries map[string]json.RawMessage
	if err := json.Unmarshal(text, &entries); err != nil {
		return err
	}
	for name, entry := range entries {
		port, known := legacyNames[name]
		if !known {
			var err error
			if port, err = strconv.Atoi(strings.TrimPrefix(name, "port-")); err != nil {
				continue
			}
		}
		one := service{Name: name, Port: port}
		if json.Unmarshal(entry, &one.URL) == nil {
			*s = append(*s, one)
		}
	}
	// A map's order is random; the same answer must always mean the same.
	slices.SortFunc(*s, func(a, b service) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

// ports maps each routable service's port to its place. Where two services
// share a port the first one listed wins. refused says why the others are not
// routable.
func (s services) ports(below suffix) (ports map[uint16]string, refused []error) {
	ports = map[uint16]string{}
	for _, one := range s {
		place, err := one.place(below)
		if err != nil {
			refused = append(refused, fmt.Errorf("service on port %d: %w", one.Port, err))
			continue
		}
		if _, taken := ports[uint16(one.Port)]; !taken {
			ports[uint16(one.Port)] = place
		}
	}
	return ports, refused
}

// place is the service's URL, reduced to scheme and host.
func (s service) place(below suffix) (string, error) {
	if s.Port < 1 || s.Port > 65535 {
		return "", errors.New("no such port")
	}
	// The edge's key must not reach a tenant's service, and the client's own
	// Authorization must.
	if s.AuthMode != "" && s.AuthMode != "none" {
		return "", errors.New("it wants the account's key, which is not sent to a sandbox")
	}
	return below.accept(s.URL)
}

// suffix is the domain below which service URLs are accepted.
type suffix struct {
	domain string
	port   string // "" is 443
}

// accept returns the URL's scheme and host when it is https to a name below
// the suffix and nothing more.
func (s suffix) accept(text string) (string, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		// url.Parse quotes its input, and a tenant's text has no business in a log.
		return "", errors.New("its URL can't be read")
	case u.Scheme != "https":
		return "", errors.New("its URL is not https")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Opaque != "" || u.Path != "" && u.Path != "/":
		return "", errors.New("its URL is more than a host")
	}
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if port == "443" {
		port = ""
	}
	label, below := strings.CutSuffix(host, "."+s.domain)
	if !below || label == "" || !isHostName(host) || port != s.port {
		return "", fmt.Errorf("its URL is not below %s", s)
	}
	if port != "" {
		host += ":" + port
	}
	return "https://" + host, nil
}

// String is the suffix as configured.
func (s suffix) String() string {
	if s.port == "" {
		return s.domain
	}
	return s.domain + ":" + s.port
}

// isHostName tells whether a lower-case name consists of DNS labels.
func isHostName(name string) bool {
	if len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if !isLabel(label) {
			return false
		}
	}
	return true
}

// isLabel tells whether text is one lower-case DNS label, which is what a slug
// is too.
func isLabel(text string) bool {
	if text == "" || len(text) > 63 || text[0] == '-' || text[len(text)-1] == '-' {
		return false
	}
	for i := range len(text) {
		if c := text[i]; c != '-' && !isAlnum(c) {
			return false
		}
	}
	return true
}

func isAlnum(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }

func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n > 0
}
