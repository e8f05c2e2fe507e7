package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
)

// field is one key as the tags of its struct field describe it.
type field struct {
	index int
	key   string // "-" for a [Secret]
	tag   reflect.StructTag
}

// fields returns the keys of a struct type in the order they are declared.
func fields(t reflect.Type) []field {
	fs := make([]field, t.NumField())
	for i := range fs {
		sf := t.Field(i)
		fs[i] = field{index: i, key: sf.Tag.Get("yaml"), tag: sf.Tag}
	}
	return fs
}

// oneof returns the words that the field allows, nil for any.
func (f field) oneof() []string {
	words, ok := f.tag.Lookup("oneof")
	if !ok {
		return nil
	}
	return strings.Split(words, "|")
}

// limits says in words which numbers or durations the field allows, "" for
// any.
func (f field) limits() string {
	var parts []string
	if above, ok := f.tag.Lookup("above"); ok {
		parts = append(parts, "above "+above)
	}
	if least, ok := f.tag.Lookup("min"); ok {
		parts = append(parts, "at least "+least)
	}
	if most, ok := f.tag.Lookup("max"); ok {
		parts = append(parts, "at most "+most)
	}
	return strings.Join(parts, " and ")
}

var (
	prefixType = reflect.TypeFor[netip.Prefix]()
	secretType = reflect.TypeFor[Secret]()
)

// section tells whether t is a struct of keys rather than a single value.
func section(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t != prefixType && t != secretType
}

// setDefaults gives every key below v its default.
func setDefaults(v reflect.Value) {
	for _, f := range fields(v.Type()) {
		fv := v.Field(f.index)
		if section(fv.Type()) {
			setDefaults(fv)
			continue
		}
		text, ok := f.tag.Lookup("default")
		if !ok {
			continue
		}
		if err := f.set(fv, text); err != nil {
			panic(fmt.Sprintf("config: the default of %s: %v", f.key, err))
		}
	}
}

// join is the path of key below path.
func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
