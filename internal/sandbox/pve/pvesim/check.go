package pvesim

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// rootOnly are the options that only the user root@pam itself may use; a
// token of root's is not root.
var rootOnly = []string{"skiplock", "keepActive", "stateuri", "migratedfrom", "force-cpu", "nocheck"}

// formats are the schema's named string forms: a test and what a violation is
// called.
var formats = map[string]struct {
	form *regexp.Regexp
	text string
}{
	"pve-vmid":       {regexp.MustCompile(`^[1-9][0-9]{2,8}$`), "value does not look like a valid VM ID"},
	"pve-node":       {regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?$`), "value '%s' does not look like a valid node name"},
	"dns-name":       {regexp.MustCompile(`^([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)(\.[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)*$`), "value '%s' does not look like a valid DNS name"},
	"pve-storage-id": {regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9._-]*[a-zA-Z0-9]$`), "storage ID '%s' contains illegal characters"},
	"pve-poolid":     {regexp.MustCompile(`^[a-zA-Z0-9._/-]+$`), "value '%s' does not look like a valid pool name"},
	"pve-configid":   {regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_-]+$`), "invalid configuration ID '%s'"},
}

// check verifies sent parameters as PVE::JSONSchema does. The result maps
// each faulty parameter to what is wrong with it, and is empty when all is
// well.
func (e *Endpoint) check(sent map[string]value, major int) map[string]string {
	faults := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(sent)) {
		p, checked, ok := e.param(name, major)
		switch {
		case !ok:
			faults[name] = "property is not defined in schema and the schema does not allow additional properties"
		case checked:
			if text := p.check(sent[name]); text != "" {
				faults[name] = text
			}
			if _, there := sent[p.Requires]; p.Requires != "" && !there {
				faults[p.Requires] = fmt.Sprintf("missing property required by '%s'", name)
			}
		}
	}
	for name, p := range e.Params {
		if _, there := sent[name]; p.Required && !there {
			faults[name] = "property is missing and it is not optional"
		}
	}
	if len(faults) > 0 {
		return faults
	}
	for _, name := range rootOnly { // asked by the handlers, which see only what fits the schema
		if _, there := sent[name]; there {
			faults[name] = "Only root may use this option."
		}
	}
	return faults
}

// value is one parameter as sent. typed says that it came as a JSON boolean,
// which a boolean parameter accepts in addition to 1 and 0.
type value struct {
	text  string
	typed bool
}

func (p *Param) check(v value) string {
	switch p.Type {
	case "boolean":
		if v.text != "0" && v.text != "1" && !v.typed {
			return fmt.Sprintf("type check ('boolean') failed - got '%s'", v.text)
		}
	case "integer", "number":
		n, err := strconv.ParseFloat(v.text, 64)
		if err != nil || math.IsNaN(n) || math.IsInf(n, 0) || p.Type == "integer" && strings.ContainsAny(v.text, ".eExX_") {
			return fmt.Sprintf("type check ('%s') failed - got '%s'", p.Type, v.text)
		}
		if p.Minimum != nil && n < *p.Minimum {
			return fmt.Sprintf("value must have a minimum value of %v", int64(*p.Minimum))
		}
		if p.Maximum != nil && n > *p.Maximum {
			return fmt.Sprintf("value must have a maximum value of %v", int64(*p.Maximum))
		}
	}
	if f, ok := formats[p.Format]; ok && !f.form.MatchString(v.text) {
		text := f.text
		if strings.Contains(text, "%s") {
			text = fmt.Sprintf(text, v.text)
		}
		return "invalid format - " + text
	}
	if len(p.Enum) > 0 && !slices.Contains(p.Enum, v.text) {
		return fmt.Sprintf("value '%s' does not have a value in the enumeration '%s'", v.text, strings.Join(p.Enum, ", "))
	}
	if p.Pattern != "" {
		if re, err := regexp.Compile("^(?:" + p.Pattern + ")$"); err != nil || !re.MatchString(v.text) {
			return "value does not match the regex pattern"
		}
	}
	return ""
}
