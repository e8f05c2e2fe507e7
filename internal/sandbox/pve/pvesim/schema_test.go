package pvesim_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"cmux.sh/edge/internal/sandbox/pve/pvesim"
)

// sample is a value that a parameter accepts.
func sample(name string, p pvesim.Param) string {
	switch {
	case len(p.Enum) > 0:
		return p.Enum[0]
	case name == "node":
		return "pve"
	case name == "vmid" || name == "newid":
		return "999"
	case name == "upid":
		return "UPID:pve:00000001:00000001:00000001:qmstart:100:root@pam:"
	case p.Type == "boolean":
		return "1"
	case p.Type == "integer" || p.Type == "number":
		if p.Minimum != nil {
			return fmt.Sprint(int64(*p.Minimum))
		}
		return "1"
	case name == "userid":
		return "edge@pve"
	case strings.HasPrefix(name, "nets"):
		return "net0=1500"
	}
	return "abc"
}

// place is an endpoint's path and the parameters it can't do without.
func place(e *pvesim.Endpoint) (path string, required url.Values) {
	path, required = e.Path, url.Values{}
	for name, p := range e.Params {
		switch {
		case p.In == "path":
			path = strings.ReplaceAll(path, "{"+name+"}", url.PathEscape(sample(name, p)))
		case p.Required:
			required.Set(name, sample(name, p))
		}
	}
	return path, required
}

// TestTheSchemasConstraintsAreReplayed breaks each constraint of each endpoint
// that is played, one at a time, and wants the real server's words.
func TestTheSchemasConstraintsAreReplayed(t *testing.T) {
	t.Parallel()
	endpoints, err := pvesim.Schema()
	if err != nil {
		t.Fatal(err)
	}
	c := play(t, pvesim.Config{})
	played, broken := 0, 0
	for _, e := range endpoints {
		path, required := place(e)
		if a := c.call(e.Method, path, required); a.status == http.StatusNotImplemented {
			continue
		}
		played++
		refuse := func(name, why string, path string, params url.Values) {
			t.Helper()
			broken++
			a := c.call(e.Method, path, params)
			if a.status != http.StatusBadRequest || a.reason != "Parameter verification failed." || a.Errors[name] != why {
				t.Errorf("%s with %v:\ngot  %d %q %v\nwant %q for %s", e.Name(), params, a.status, a.reason, a.Errors, why, name)
			}
		}
		with := func(name, v string) url.Values {
			params := url.Values{}
			maps.Copy(params, required)
			params.Set(name, v)
			return params
		}
		refuse("no-such-thing", "property is not defined in schema and the schema does not allow additional properties", path, with("no-such-thing", "1"))
		for key, p := range e.Params {
			name := strings.Replace(key, "[n]", "0", 1)
			if p.In == "path" {
				if name == "vmid" {
					refuse("vmid", "value must have a minimum value of 100", strings.Replace(path, "/999", "/99", 1), required)
					refuse("vmid", "type check ('integer') failed - got 'abc'", strings.Replace(path, "/999", "/abc", 1), required)
				}
				continue
			}
			if p.Required {
				without := with(name, "")
				without.Del(name)
				refuse(name, "property is missing and it is not optional", path, without)
			}
			for v, why := range violations(p) {
				refuse(name, why, path, with(name, v))
			}
			if p.Requires != "" && !slices.Contains(rootOnly, name) {
				refuse(p.Requires, "missing property required by '"+name+"'", path, with(name, sample(name, p)))
			}
		}
		for _, name := range rootOnly {
			if p, ok := e.Params[name]; ok {
				refuse(name, "Only root may use this option.", path, with(name, sample(name, p)))
			}
		}
	}
	if played < 35 || broken < 400 {
		t.Errorf("only %d endpoints are played, %d constraints broken", played, broken)
	}
}

var rootOnly = []string{"skiplock", "keepActive", "stateuri", "migratedfrom", "force-cpu", "nocheck"}

// violations are values that a parameter refuses, and why.
func violations(p pvesim.Param) map[string]string {
	bad := map[string]string{}
	switch p.Type {
	case "boolean":
		for _, v := range []string{"true", "yes", "on", "2", ""} {
			bad[v] = "type check ('boolean') failed - got '" + v + "'"
		}
	case "integer":
		for _, v := range []string{"abc", "1.5", "1e3", "0x10", ""} {
			bad[v] = "type check ('integer') failed - got '" + v + "'"
		}
	case "number":
		bad["abc"] = "type check ('number') failed - got 'abc'"
	}
	if p.Minimum != nil {
		bad[fmt.Sprint(int64(*p.Minimum)-1)] = fmt.Sprintf("value must have a minimum value of %d", int64(*p.Minimum))
	}
	if p.Maximum != nil {
		bad[fmt.Sprint(int64(*p.Maximum)+1)] = fmt.Sprintf("value must have a maximum value of %d", int64(*p.Maximum))
	}
	if len(p.Enum) > 0 {
		bad["no-such-word"] = "value 'no-such-word' does not have a value in the enumeration '" + strings.Join(p.Enum, ", ") + "'"
	}
	if p.Pattern != "" {
		bad["\x01"] = "value does not match the regex pattern"
	}
	switch p.Format {
	case "dns-name":
		bad["a_b"] = "invalid format - value 'a_b' does not look like a valid DNS name"
	case "pve-node":
		bad["a.b"] = "invalid format - value 'a.b' does not look like a valid node name"
	case "pve-storage-id":
		bad["1x"] = "invalid format - storage ID '1x' contains illegal characters"
	case "pve-poolid":
		bad["a b"] = "invalid format - value 'a b' does not look like a valid pool name"
	case "pve-configid":
		bad["1x"] = "invalid format - invalid configuration ID '1x'"
	}
	return bad
}

// TestEveryParameterOfTheSchemaIsAccepted, with a value that fits.
func TestEveryParameterOfTheSchemaIsAccepted(t *testing.T) {
	t.Parallel()
	endpoints, err := pvesim.Schema()
	if err != nil {
		t.Fatal(err)
	}
	c := play(t, pvesim.Config{})
	for _, e := range endpoints {
		path, params := place(e)
		for key, p := range e.Params {
			name := strings.Replace(key, "[n]", "0", 1)
			if p.In != "path" && !slices.Contains(rootOnly, name) {
				params.Set(name, sample(name, p))
			}
		}
		if a := c.call(e.Method, path, params); a.status == http.StatusBadRequest && a.Errors != nil {
			t.Errorf("%s with %v: %v", e.Name(), params, a.Errors)
		}
	}
}

func TestParametersThatVersion8DoesNotKnowAreRefusedThere(t *testing.T) {
	t.Parallel()
	guest := pvesim.Guest{VMID: 100, Kind: pvesim.QEMU, Name: "a"}
	params := form("with-conntrack-state", "1")
	nine, eight := play(t, pvesim.Config{}, guest), play(t, pvesim.Config{Version: "8.4.5"}, guest)
	nine.want(nine.call("POST", "/nodes/pve/qemu/100/status/start", params), 200, "OK")
	eight.want(eight.call("POST", "/nodes/pve/qemu/100/status/start", params), 400, "Parameter verification failed.")
}

func TestBodiesAreReadAsTheServerReadsThem(t *testing.T) {
	t.Parallel()
	c := play(t, pvesim.Config{}, pvesim.Guest{VMID: 100, Kind: pvesim.QEMU, Name: "a", Status: "running"})
	const at = "/nodes/pve/qemu/100/config"
	c.want(c.send("PUT", at, "application/json", `{"onboot":true,"cores":2}`), 200, "OK")
	c.want(c.send("PUT", at, "application/json", `{"onboot":"true"}`), 400, "Parameter verification failed.")
	c.want(c.send("PUT", at, "text/plain", "cores=2"), 506, "")
	c.want(c.send("DELETE", "/nodes/pve/qemu/100", "application/json", `{"purge":1}`), 501, "Unexpected content for method 'DELETE'")
	c.want(c.send("GET", "/version", "application/json", `{}`), 501, "Unexpected content for method 'GET'")
	c.want(c.send("PUT", at, "application/x-www-form-urlencoded", "tags=a;b"), 400, "Parameter verification failed.")
	c.want(c.send("PUT", at, "application/x-www-form-urlencoded", "tags=a%3Bb"), 200, "OK")
	a := c.send("PUT", at, "application/x-www-form-urlencoded", "vmid=101")
	if got := a.Errors["vmid"]; got != "duplicate parameter (already defined in URI) with conflicting values!" {
		t.Errorf("got %q", got)
	}
	c.want(c.send("PUT", at, "application/x-www-form-urlencoded", "vmid=100&cores=1"), 200, "OK")
}

func TestNextIDIsDigitsOrANumber(t *testing.T) {
	t.Parallel()
	for numeric, want := range map[bool]string{true: "101", false: `"101"`} {
		c := play(t, pvesim.Config{NumericNextID: numeric}, pvesim.Guest{VMID: 100, Kind: pvesim.LXC, Name: "a"})
		if got := c.call("GET", "/cluster/nextid", nil); string(got.Data) != want {
			t.Errorf("got %s, want %s", got.Data, want)
		}
		a := c.call("GET", "/cluster/nextid", form("vmid", "100"))
		if a.status != 400 || !strings.Contains(a.Errors["vmid"], "already exists") {
			t.Errorf("got %d %v", a.status, a.Errors)
		}
	}
}
