package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// decode fills v from the file. What is at fault keeps its default.
func (d *document) decode(v reflect.Value) {
	if d.root != nil {
		d.value(d.root, v, field{}, "")
	}
}

// value decodes n, which stands at path, into v.
func (d *document) value(n *yaml.Node, v reflect.Value, f field, path string) {
	d.nodes[path] = n
	// What refuse has reported needs no second fault.
	if n.Kind == yaml.AliasNode || tagged(n) {
		return
	}
	switch {
	case v.Kind() == reflect.Pointer:
		// A section with nothing below it is as if it were not there.
		if !null(n) {
			v.Set(reflect.New(v.Type().Elem()))
			setDefaults(v.Elem())
			d.section(n, v.Elem(), path)
		}
	case section(v.Type()):
		d.section(n, v, path)
	case v.Kind() == reflect.Slice:
		d.list(n, v, f, path)
	case v.Kind() == reflect.Map && v.Type().Key().Kind() == reflect.String:
		d.words(n, v, f, path)
	case v.Kind() == reflect.Map:
		d.ports(n, v, f, path)
	default:
		d.scalar(n, v, f, path)
	}
}

// section decodes a mapping with known keys.
func (d *document) section(n *yaml.Node, v reflect.Value, path string) {
	if null(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.at(n, "%s is %s; write KEY: VALUE lines", path, kind(n))
		return
	}
	known := fields(v.Type())
	d.pairs(n, func(key, value *yaml.Node) {
		for _, f := range known {
			if f.key == key.Value && f.key != "-" {
				d.value(value, v.Field(f.index), f, join(path, f.key))
				return
			}
		}
		d.unknown(key, path, known)
	})
}

// pairs calls fn for every key of a mapping, the first time it is there.
func (d *document) pairs(n *yaml.Node, fn func(key, value *yaml.Node)) {
	first := make(map[string]*yaml.Node, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.Kind == yaml.AliasNode, key.Tag == "!!merge":
			// refuse has reported it.
		case key.Kind != yaml.ScalarNode:
			d.at(key, "%s cannot be a key; write a word", kind(key))
		case first[key.Value] != nil:
			was := first[key.Value]
			d.at(key, "the key %q is here a second time, after line %d; delete one of the two", clip(key.Value), was.Line)
		default:
			first[key.Value] = key
			fn(key, value)
		}
	}
}

// unknown reports a key that path does not have.
func (d *document) unknown(key *yaml.Node, path string, known []field) {
	var names []string
	for _, f := range known {
		if f.key != "-" {
			names = append(names, f.key)
		}
	}
	where := ""
	if path != "" {
		where = " in " + path
	}
	if near := nearest(key.Value, names); near != "" {
		d.at(key, "unknown key %q%s; did you mean %q?", clip(key.Value), where, near)
		return
	}
	if len(names) == 1 {
		d.at(key, "unknown key %q%s; the only known key is %s", clip(key.Value), where, names[0])
		return
	}
	d.at(key, "unknown key %q%s; known keys are %s", clip(key.Value), where, strings.Join(names, ", "))
}

// list decodes a sequence. Single values that are at fault are left out.
func (d *document) list(n *yaml.Node, v reflect.Value, f field, path string) {
	if n.Kind != yaml.SequenceNode {
		d.at(n, "%s is %s; write a list, [A, B] or lines that begin with -", path, kind(n))
		return
	}
	items := reflect.MakeSlice(v.Type(), 0, len(n.Content))
	seen := make(map[string]bool, len(n.Content))
	for i, child := range n.Content {
		item := reflect.New(v.Type().Elem()).Elem()
		before := len(d.faults)
		at := fmt.Sprintf("%s[%d]", path, i)
		if section(item.Type()) {
			setDefaults(item)
		}
		d.value(child, item, f, at)
		if child.Kind == yaml.ScalarNode && len(d.faults) == before {
			if seen[child.Value] {
				d.at(child, "%s: %q is listed twice; delete one of the two", at, clip(child.Value))
			}
			seen[child.Value] = true
		}
		// A section stays even so: the rules on its other keys still apply,
		// and its index must remain that of the file.
		if len(d.faults) == before || section(item.Type()) {
			items = reflect.Append(items, item)
		}
	}
	if items.Len() > 0 {
		v.Set(items)
	}
}

// ports decodes a mapping from port numbers to text.
func (d *document) ports(n *yaml.Node, v reflect.Value, f field, path string) {
	if n.Kind != yaml.MappingNode {
		d.at(n, `%s is %s; write PORT: "HOST:PORT" lines`, path, kind(n))
		return
	}
	ports := reflect.MakeMapWithSize(v.Type(), len(n.Content)/2)
	d.pairs(n, func(key, value *yaml.Node) {
		port, err := parsePort(key.Value)
		if err != nil || port == 0 {
			d.at(key, "%s: %q is not a port; write a number from 1 to 65535", path, clip(key.Value))
			return
		}
		item := reflect.New(v.Type().Elem()).Elem()
		before := len(d.faults)
		d.value(value, item, f, portPath(path, port))
		if len(d.faults) == before {
			ports.SetMapIndex(reflect.ValueOf(port), item)
		}
	})
	if ports.Len() > 0 {
		v.Set(ports)
	}
}

// words decodes a mapping from words, which the operator chooses, to values.
func (d *document) words(n *yaml.Node, v reflect.Value, f field, path string) {
	if n.Kind != yaml.MappingNode {
		if !null(n) {
			d.at(n, `%s is %s; write WORD: VALUE lines`, path, kind(n))
		}
		return
	}
	words := reflect.MakeMapWithSize(v.Type(), len(n.Content)/2)
	d.pairs(n, func(key, value *yaml.Node) {
		if !label(key.Value) {
			d.at(key, "%s: %q cannot be a name; write lower-case letters, digits and hyphens", path, clip(key.Value))
			return
		}
		item := reflect.New(v.Type().Elem()).Elem()
		before := len(d.faults)
		d.value(value, item, f, join(path, key.Value))
		if len(d.faults) == before {
			words.SetMapIndex(reflect.ValueOf(key.Value), item)
		}
	})
	if words.Len() > 0 {
		v.Set(words)
	}
}

// portPath is the path of one value below a ports key.
func portPath(path string, port uint16) string {
	return path + "[" + strconv.Itoa(int(port)) + "]"
}

func null(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// kind is what n is, in the words of a sentence. It never repeats the value,
// which may be a secret in the wrong place.
func kind(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.Tag {
	case "!!null":
		return "empty"
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "a boolean"
	case "!!timestamp":
		return "a date"
	default:
		return "text"
	}
}
