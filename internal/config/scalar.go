package config

import (
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// scalar decodes a single value into v.
func (d *document) scalar(n *yaml.Node, v reflect.Value, f field, path string) {
	if err := d.wrongKind(n, v, f); err != nil {
		d.at(n, "%s %v", path, err)
		return
	}
	if err := f.set(v, n.Value); err != nil {
		d.at(n, "%s: %v", path, err)
	}
}

// wrongKind tells why n is not the kind of value that v wants. YAML decides by
// the look of an unquoted word, so 5, true and 2s are three kinds.
func (d *document) wrongKind(n *yaml.Node, v reflect.Value, f field) error {
	switch {
	case n.Kind != yaml.ScalarNode:
		return fmt.Errorf("is %s; write %s", kind(n), f.wanted(v))
	case null(n):
		return fmt.Errorf("has no value; write %s, or delete the key", f.wanted(v))
	}
	want := "!!str"
	switch v.Interface().(type) {
	case bool:
		want = "!!bool"
	case int:
		want = "!!int"
	case time.Duration:
		if n.Tag == "!!int" || n.Tag == "!!float" {
			return fmt.Errorf("is a number without a unit; write %q", n.Value+"s")
		}
	}
	switch {
	case n.Tag == want:
		return nil
	case want == "!!str" && len(f.oneof()) == 0 && v.Kind() == reflect.String:
		return fmt.Errorf("is %s; put the value in quotes", kind(n))
	default:
		return fmt.Errorf("is %s; write %s", kind(n), f.wanted(v))
	}
}

// wanted says what a value of the field looks like.
func (f field) wanted(v reflect.Value) string {
	if words := f.oneof(); words != nil {
		return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
	}
	switch v.Interface().(type) {
	case bool:
		return "true or false without quotes"
	case int:
		return "a whole number " + f.limits() + " without quotes"
	case time.Duration:
		return `a duration such as "2s", "500ms" or "1m30s"`
	case netip.Prefix:
		return `a network such as "10.0.0.0/8"`
	}
	if g, ok := grammars[f.tag.Get("form")]; ok {
		return g.wanted
	}
	return "text"
}

// set parses text, as the file would hold it, into v and holds it to the
// field's limits. Its errors follow "PATH: ".
func (f field) set(v reflect.Value, text string) error {
	if words := f.oneof(); words != nil && !slices.Contains(words, text) {
		if near := nearest(text, words); near != "" {
			return fmt.Errorf("%q is unknown; did you mean %q?", clip(text), near)
		}
		return fmt.Errorf("%q is unknown; write %s", clip(text), f.wanted(v))
	}
	switch p := v.Addr().Interface().(type) {
	case *bool:
		// YAML reads True and TRUE as well; one spelling is enough.
		if text != "true" && text != "false" {
			return fmt.Errorf("%q; write true or false in lower case", clip(text))
		}
		*p = text == "true"
	case *int:
		i, err := strconv.Atoi(text)
		if err != nil || strconv.Itoa(i) != text {
			return fmt.Errorf("%s is not a plain decimal number; write a whole number %s", clip(text), f.limits())
		}
		*p = i
		return f.within(text, int64(i), parseInt)
	case *time.Duration:
		t, err := parseDuration(text)
		if err != nil {
			return err
		}
		*p = t
		return f.within(text, int64(t), func(limit string) (int64, error) {
			l, err := parseDuration(limit)
			return int64(l), err
		})
	case *netip.Prefix:
		prefix, err := parsePrefix(text)
		if err != nil {
			return err
		}
		*p = prefix
	case *slog.Level:
		return p.UnmarshalText([]byte(text))
	default:
		if g, ok := grammars[f.tag.Get("form")]; ok {
			if err := g.check(text); err != nil {
				return err
			}
		}
		v.SetString(text)
	}
	return nil
}

func parseInt(text string) (int64, error) { return strconv.ParseInt(text, 10, 64) }

// within holds n, written as text, to the field's limits.
func (f field) within(text string, n int64, parse func(string) (int64, error)) error {
	for _, limit := range []struct {
		tag  string
		kept func(limit int64) bool
	}{
		{"above", func(l int64) bool { return n > l }},
		{"min", func(l int64) bool { return n >= l }},
		{"max", func(l int64) bool { return n <= l }},
	} {
		value, ok := f.tag.Lookup(limit.tag)
		if !ok {
			continue
		}
		l, err := parse(value)
		if err != nil {
			return fmt.Errorf("the %s tag: %w", limit.tag, err)
		}
		if !limit.kept(l) {
			return fmt.Errorf("%s is out of range; write a value %s", clip(text), f.limits())
		}
	}
	return nil
}

func parseDuration(text string) (time.Duration, error) {
	t, err := time.ParseDuration(text)
	if err == nil {
		return t, nil
	}
	if _, bare := strconv.ParseFloat(text, 64); bare == nil {
		return 0, fmt.Errorf("%q has no unit; write %q", clip(text), clip(text)+"s")
	}
	return 0, fmt.Errorf(`%q is not a duration; write one such as "2s", "500ms" or "1m30s"`, clip(text))
}

func parsePrefix(text string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(text); err == nil {
		ip = ip.Unmap().WithZone("")
		return netip.Prefix{}, fmt.Errorf("%q is an address, not a network; write %q", text, netip.PrefixFrom(ip, ip.BitLen()))
	}
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return netip.Prefix{}, fmt.Errorf(`%q is not a network; write one such as "10.0.0.0/8" or "fd00::/8"`, clip(text))
	// A mapped network would match nothing: addresses are unmapped before
	// they are compared.
	case p.Addr().Is4In6() && p.Bits() >= 96:
		return netip.Prefix{}, fmt.Errorf("%q is an IPv4 network written as IPv6; write %q", text, netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96).Masked())
	case p != p.Masked():
		return netip.Prefix{}, fmt.Errorf("%q has bits set after its mask; write %q", text, p.Masked())
	}
	return p, nil
}
