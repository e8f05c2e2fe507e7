package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
)

func checkWord(s string) error {
	if s == "" || strings.TrimSpace(s) != s || strings.ContainsAny(s, " \t\r\n") {
		return fmt.Errorf("%q is not one word; write the name alone", clip(s))
	}
	return nil
}

// checkURL holds s to an absolute http or https URL. No message repeats more
// than its host: the rest may hold a secret.
func checkURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return errors.New(`this is not an http or https address; write one such as "http://127.0.0.1:3000"`)
	case u.User != nil:
		return errors.New("the address holds credentials; name a file with them instead")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return errors.New("the address has a query or fragment; write scheme, host and path alone")
	}
	if port := u.Port(); port != "" {
		if n, err := parsePort(port); err != nil || n == 0 {
			return fmt.Errorf("%q is not a port; write a number from 1 to 65535", clip(port))
		}
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		return nil
	}
	return checkName(u.Hostname())
}

// checkHook lets "" stand for nobody, and a query stand: it may name a tenant.
func checkHook(s string) error {
	if s == "" {
		return nil
	}
	address, _, _ := strings.Cut(s, "?")
	return checkURL(address)
}

func checkHTTPS(s string) error {
	if err := checkURL(s); err != nil {
		return err
	}
	u, err := url.Parse(s)
	if err != nil {
		return err
	}
	if u.Scheme != "https" {
		return fmt.Errorf("plain http would show the token to anybody in between; write %q", "https://"+u.Host)
	}
	if u.Path != "" && u.Path != "/" {
		return fmt.Errorf("the address has a path; write %q", "https://"+u.Host)
	}
	return nil
}

// checkAPI allows plain http to this machine alone.
func checkAPI(s string) error {
	if err := checkURL(s); err != nil {
		return err
	}
	u, err := url.Parse(s)
	if err != nil {
		return err
	}
	ip, _ := netip.ParseAddr(u.Hostname())
	if u.Scheme != "https" && u.Hostname() != "localhost" && !ip.IsLoopback() {
		return fmt.Errorf("plain http would show the key to anybody in between; write %q", "https://"+u.Host)
	}
	return nil
}

// checkOrigin holds s to what a browser sends in Origin (RFC 6454 section 7).
func checkOrigin(s string) error {
	if s == "*" || s == "null" {
		return fmt.Errorf("%q would let any page in; name each origin", s)
	}
	if err := checkURL(s); err != nil {
		return err
	}
	u, err := url.Parse(s)
	if err != nil {
		return err
	}
	want := u.Scheme + "://" + strings.ToLower(u.Host)
	if port := u.Port(); u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		want = strings.TrimSuffix(want, ":"+port)
	}
	if s != want {
		return fmt.Errorf("%q is not how a browser writes an origin; write %q", clip(s), want)
	}
	return nil
}

func checkSuffix(s string) error {
	host := s
	if h, port, err := net.SplitHostPort(s); err == nil {
		if n, err := parsePort(port); err != nil || n == 0 {
			return fmt.Errorf("%q has no port number; write the domain alone", clip(s))
		}
		host = h
	}
	if strings.HasPrefix(host, ".") || !strings.Contains(host, ".") {
		return fmt.Errorf("%q is not a domain; write one such as %q", clip(s), "http.cloud.morph.so")
	}
	return checkName(host)
}

// checkHostname lets "" stand for the key's absence, as do the checks of other
// optional keys below.
func checkHostname(s string) error {
	if s == "" {
		return nil
	}
	if _, err := netip.ParseAddr(s); err == nil || strings.ContainsAny(s, ":/") {
		return fmt.Errorf("%q is not a host name alone; write one such as %q", clip(s), "www.cmux.sh")
	}
	if strings.ToLower(s) != s {
		return fmt.Errorf("%q is not in lower case; write %q", clip(s), strings.ToLower(clip(s)))
	}
	return checkName(s)
}

func checkNode(s string) error {
	if s != "" && !label(strings.ToLower(s)) {
		return fmt.Errorf("%q is not a node; write its name as Proxmox shows it, such as %q", clip(s), "pve1")
	}
	return nil
}

var fingerprint = regexp.MustCompile(`^([0-9A-Fa-f]{2}:){31}[0-9A-Fa-f]{2}$`)

func checkFingerprint(s string) error {
	if s != "" && !fingerprint.MatchString(s) {
		return fmt.Errorf("%q is not a SHA-256 fingerprint; write 32 pairs of hexadecimal digits with colons, as the node's certificate page shows them", clip(s))
	}
	return nil
}
