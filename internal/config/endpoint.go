package config

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// endpoint is a host:port that is listened on or dialled.
type endpoint struct {
	host string     // in lower case; "" is every interface
	ip   netip.Addr // unmapped; invalid for a name
	port uint16
}

// parseEndpoint reads HOST:PORT or :PORT. Its errors follow "PATH: ".
func parseEndpoint(s string) (endpoint, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return endpoint{}, fmt.Errorf("%q is not HOST:PORT; write %s", clip(s), asEndpoint(s))
	}
	e := endpoint{host: strings.ToLower(host)}
	if e.port, err = parsePort(port); err != nil {
		return endpoint{}, fmt.Errorf("%q has no port number; write HOST:PORT with a port up to 65535", clip(s))
	}
	if host == "" {
		return e, nil
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		e.ip = ip.Unmap()
		return e, checkZone(ip)
	}
	return e, checkName(host)
}

// asEndpoint guesses what somebody who wrote s without a port meant.
func asEndpoint(s string) string {
	if _, err := parsePort(s); err == nil {
		return strconv.Quote(":" + s)
	}
	if ip, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return strconv.Quote(net.JoinHostPort(ip.WithZone("").String(), "PORT"))
	}
	if checkName(s) == nil {
		return strconv.Quote(s + ":PORT")
	}
	return `"HOST:PORT", an IPv6 address in brackets`
}

// parsePort reads a port in plain decimal.
func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, err
	}
	if strconv.FormatUint(n, 10) != s {
		return 0, strconv.ErrSyntax
	}
	return uint16(n), nil
}

// addrs are the addresses that e certainly means; none for a host name, which
// only a resolver knows.
func (e endpoint) addrs() []netip.Addr {
	switch {
	case e.ip.IsValid():
		return []netip.Addr{e.ip}
	case e.host == "":
		return []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	case e.host == "localhost":
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	default:
		return nil
	}
}

// loopback tells whether only this machine can reach e.
func (e endpoint) loopback() bool {
	return e.host == "localhost" || e.ip.IsLoopback()
}

// everywhere tells whether e is on every interface.
func (e endpoint) everywhere() bool { return e.host == "" || e.ip.IsUnspecified() }

// reaches tells whether dialling e arrives at the listener l. Dialling an
// unspecified address arrives at loopback.
func (e endpoint) reaches(l endpoint) bool {
	if l.port == 0 || e.port != l.port {
		return false
	}
	if e.host == l.host {
		return true
	}
	for _, a := range e.addrs() {
		for _, b := range l.addrs() {
			here := a.IsLoopback() || a.IsUnspecified()
			if a == b || here && b.IsUnspecified() || a.IsUnspecified() && b.IsLoopback() {
				return true
			}
		}
	}
	return false
}

// collides tells whether the listeners e and l cannot both be had.
func (e endpoint) collides(l endpoint) bool {
	if e.port == 0 || e.port != l.port {
		return false
	}
	return e.everywhere() || l.everywhere() || e.reaches(l)
}
