package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// grammar is what a text with a form tag must look like.
type grammar struct {
	wanted string             // "write " + wanted
	check  func(string) error // its errors follow "PATH: "
}

// grammars are the values of the form tag.
var grammars = map[string]grammar{
	"domain":      {`a domain such as "cmux.sh"`, checkDomain},
	"listen":      {`an address such as ":80" or "127.0.0.1:9090"`, checkListen},
	"slug":        {`a slug such as "demo"`, checkSlug},
	"host":        {`an IP address or host name such as "10.0.0.5"`, checkHost},
	"hook":        {`an address such as "https://www.cmux.sh/api/edge"`, checkHook},
	"word":        {`a word`, checkWord},
	"https":       {`an address such as "https://pve.example.com:8006"`, checkHTTPS},
	"api":         {`an address such as "https://cloud.morph.so"`, checkAPI},
	"url":         {`an address such as "http://127.0.0.1:3000"`, checkURL},
	"origin":      {`an origin such as "https://www.cmux.sh"`, checkOrigin},
	"suffix":      {`a domain such as "http.cloud.morph.so"`, checkSuffix},
	"hostname":    {`a host name such as "www.cmux.sh"`, checkHostname},
	"node":        {`a node name such as "pve1"`, checkNode},
	"fingerprint": {`a SHA-256 fingerprint such as "AA:BB:…" with 32 pairs`, checkFingerprint},
	"provider":    {`a provider: ` + providerList, checkProvider},
	"target":      {`a place such as "127.0.0.1:40001"`, checkTarget},
}

// maxLabel is the longest label of a domain name (RFC 1035, section 2.3.4),
// and maxName the longest name in its usual notation.
const (
	maxLabel = 63
	maxName  = 253
)

func checkDomain(s string) error {
	host, _, hasPort := strings.Cut(s, ":")
	_, noAddr := netip.ParseAddr(s)
	switch {
	case s == "":
		return errors.New(`an empty name; write a domain such as "cmux.sh", or delete the entry`)
	case strings.Contains(s, "/"):
		return fmt.Errorf("%q is a URL or path; write the host name alone", clip(s))
	case noAddr == nil:
		return fmt.Errorf(`%q is an IP address; write a domain such as "cmux.localhost"`, s)
	case hasPort:
		return fmt.Errorf("%q has a port; write %q", clip(s), clip(host))
	case strings.HasPrefix(s, "*."):
		return fmt.Errorf("%q has a wildcard; write %q, which includes every name one level below", clip(s), clip(s[2:]))
	case strings.Trim(s, ".") != s:
		return fmt.Errorf("%q begins or ends with a dot; write %q", clip(s), clip(strings.Trim(s, ".")))
	case len(s)+1+maxLabel > maxName:
		return fmt.Errorf("%q is too long; write a domain of at most %d characters, so that a sandbox's label fits in front", clip(s), maxName-maxLabel-1)
	}
	if err := checkName(s); err != nil {
		return err
	}
	if strings.ToLower(s) != s {
		return fmt.Errorf("%q is not in lower case; write %q", clip(s), strings.ToLower(clip(s)))
	}
	if !strings.Contains(s, ".") && s != "localhost" {
		return fmt.Errorf("%q is a single word; write a full domain such as %q", clip(s), clip(s)+".localhost")
	}
	return nil
}

func checkSlug(s string) error {
	if s == "" {
		return errors.New(`an empty slug; write one such as "demo"`)
	}
	if !label(strings.ToLower(s)) {
		return fmt.Errorf("%q is not a slug; write at most 63 lower-case letters, digits and hyphens, with no hyphen at either end", clip(s))
	}
	if strings.ToLower(s) != s {
		return fmt.Errorf("%q is not in lower case; write %q", s, strings.ToLower(s))
	}
	return nil
}

func checkHost(s string) error {
	host, port, hasPort := strings.Cut(s, ":")
	ip, noAddr := netip.ParseAddr(strings.Trim(s, "[]"))
	switch {
	case s == "":
		return errors.New("an empty address; write an IP address or host name, or delete the key and use ports")
	case strings.Contains(s, "/"):
		return fmt.Errorf(`%q is a URL or network; write the IP address or host name alone`, clip(s))
	case noAddr == nil && s[0] == '[':
		return fmt.Errorf("%q has brackets, which only a port needs; write %q", clip(s), ip)
	case noAddr == nil:
		return checkZone(ip)
	case hasPort && (strings.HasPrefix(s, "[") || !strings.Contains(port, ":")):
		return fmt.Errorf(`%q has a port; write the host alone, or put the place of a single port under ports, as in {39378: %q}`, clip(s), clip(s))
	case hasPort:
		return fmt.Errorf("%q is not an IP address; check it, or write a host name", clip(s))
	}
	return checkName(host)
}

func checkListen(s string) error {
	if s == "" {
		return nil
	}
	_, err := parseEndpoint(s)
	return err
}

func checkTarget(s string) error {
	e, err := parseEndpoint(s)
	switch {
	case err != nil:
		return err
	case e.host == "":
		return fmt.Errorf("%q has no host; write %q", clip(s), "127.0.0.1"+clip(s))
	case e.port == 0:
		return fmt.Errorf("%q has port 0; write a port from 1 to 65535", clip(s))
	}
	return nil
}

// checkName holds s to the grammar of host names, in any case.
func checkName(s string) error {
	if len(s) > maxName {
		return fmt.Errorf("%q is too long; write a host name of at most %d characters", clip(s), maxName)
	}
	last := ""
	for part := range strings.SplitSeq(strings.ToLower(s), ".") {
		if !label(part) {
			return fmt.Errorf("%q is not a host name; write letters, digits, hyphens and dots only (a name in another script in its xn-- form)", clip(s))
		}
		last = part
	}
	// Some resolvers read such names as IPv4 addresses: 127.1, 0x7f000001.
	if strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") {
		return fmt.Errorf("%q looks like a shortened IP address; write all four numbers, or a host name", clip(s))
	}
	return nil
}

func checkZone(ip netip.Addr) error {
	if ip.Zone() != "" {
		return fmt.Errorf("%q has a zone; write %q", clip(ip.String()), ip.WithZone(""))
	}
	return nil
}

// label tells whether s is one lower-case label of a host name.
func label(s string) bool {
	if s == "" || len(s) > maxLabel || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
