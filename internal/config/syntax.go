package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

// maxDepth bounds nesting. The schema needs six levels; deeper input is a
// mistake or an attack on the stack.
const maxDepth = 32

// document is one configuration file on its way to a [Config].
type document struct {
	file   string
	getenv func(string) string
	root   *yaml.Node // nil for an empty file
	// nodes are the values that the file sets, by path
	// ("providers.static.instances[0].slug").
	nodes  map[string]*yaml.Node
	faults Faults
}

// parse reads data as one YAML document and reports whether there is a tree
// to decode.
func (d *document) parse(data []byte) bool {
	d.nodes = make(map[string]*yaml.Node)
	loader, err := yaml.NewLoader(bytes.NewReader(data), yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(maxDepth))))
	if err != nil {
		d.syntax(err)
		return false
	}
	var doc, next yaml.Node
	switch err := loader.Load(&doc); {
	case errors.Is(err, io.EOF):
		return true
	case err != nil:
		d.syntax(err)
		return false
	}
	switch err := loader.Load(&next); {
	case errors.Is(err, io.EOF):
	case err != nil:
		d.syntax(err)
	default:
		d.at(&next, "a second document begins here; keep one and delete the --- line")
	}
	d.root = doc.Content[0]
	d.refuse(d.root)
	if d.root.Kind != yaml.MappingNode && !null(d.root) {
		d.at(d.root, "the file is %s; write KEY: VALUE lines", kind(d.root))
		return false
	}
	return true
}

// refuse reports the parts of YAML that a configuration does without: anchors
// and aliases (their expansion can be made to explode), merge keys and tags.
func (d *document) refuse(n *yaml.Node) {
	switch {
	case n.Kind == yaml.AliasNode:
		d.at(n, "aliases are not allowed; write the value out")
	case n.Anchor != "":
		d.at(n, "anchors are not allowed; delete &%s and write the value out where it is needed", clip(n.Anchor))
	case n.Tag == "!!merge":
		d.at(n, "merge keys are not allowed; write the keys out")
	case tagged(n):
		d.at(n, "tags are not allowed; delete %s", clip(n.Tag))
	}
	for _, child := range n.Content {
		d.refuse(child)
	}
}

// tagged tells whether n has a tag in the file. The parser resolves one for
// every other node too, and marks the bare "!" in no other way.
func tagged(n *yaml.Node) bool { return n.Style&yaml.TaggedStyle != 0 || n.Tag == "!" }

// at reports a fault at the position of n.
func (d *document) at(n *yaml.Node, format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	if n.Kind == yaml.ScalarNode && strings.Contains(n.Value, "${") {
		message += "; variables such as ${NAME} are not expanded"
	}
	d.faults = append(d.faults, Fault{File: d.file, Line: max(n.Line, 1), Column: max(n.Column, 1), Message: message})
}

// advice turns the parser's words into the operator's.
var advice = []struct{ parser, message string }{
	{"mapping values are not allowed", `a ": " where no key can stand; put the value in quotes, or give the line the indentation of its neighbours`},
	{"did not find expected key", "this line does not line up with the keys above it; give it their indentation, or close the quotes and brackets before it"},
	{"did not find expected '-' indicator", "this line does not line up with the list above it; begin it with - or change its indentation"},
	{"did not find expected ',' or ']'", "the list before this place is not closed; write ] or a comma"},
	{"did not find expected ',' or '}'", "the mapping before this place is not closed; write } or a comma"},
	{"did not find expected node content", "a value is missing here; write it, and close every bracket"},
	{"could not find expected ':'", `a key without a value; write KEY: VALUE, with a space after the colon`},
	{"found unexpected end of stream", "this quote is never closed; write the closing one"},
	{"found unexpected document indicator", "this quote is never closed; write the closing one"},
	{"did not find expected hexadecimal number", `an escape with too few digits; write a backslash as \\, or use single quotes`},
	{"unknown escape character", `an unknown escape; write a backslash as \\, or use single quotes`},
	{"exceeded max depth", fmt.Sprintf("nested deeper than %d levels; a configuration has six", maxDepth)},
	{"unknown anchor", "aliases are not allowed; write the value out, in quotes when it begins with *"},
	{"cannot start any token", "a value cannot begin with this character; put it in quotes, and indent with spaces instead of tabs"},
	{"incompatible YAML document", "an unknown YAML version; delete the %YAML line"},
}

// syntax reports what the parser refused.
func (d *document) syntax(err error) {
	message, _, _ := strings.Cut(err.Error(), "\n")
	var where yaml.Node
	if le, ok := errors.AsType[*yaml.LoadError](err); ok {
		message = le.Message
		where.Line, where.Column = le.Mark.Line, le.Mark.Column
		// Of what is never completed only the beginning is of use.
		if strings.Contains(le.ContextMsg, "simple key") || strings.Contains(message, "end of stream") || strings.Contains(message, "document indicator") {
			where.Line, where.Column = le.ContextMark.Line, le.ContextMark.Column
		}
	}
	for _, a := range advice {
		if strings.Contains(message, a.parser) {
			d.at(&where, "%s", a.message)
			return
		}
	}
	d.at(&where, "not YAML: %s; check the indentation, quotes and brackets around this place", clip(message))
}

// clip shortens a text that a message repeats.
func clip(s string) string {
	const limit = 80
	for i := range s {
		if i >= limit {
			return s[:i] + "…"
		}
	}
	return s
}
