package csp_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cmux.sh/edge/internal/csp"
)

const list = "'self' https://a.test"

func TestSetFrameAncestors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		values []string
		add    bool
		want   []string
		set    bool
	}{
		{"nothing stays nothing", nil, false, nil, false},
		{"nothing becomes a policy", nil, true, []string{"frame-ancestors " + list}, true},
		{"a policy about something else", []string{"default-src 'self'"}, false, []string{"default-src 'self'"}, false},
		{"it gets a list", []string{"default-src 'self'"}, true, []string{"default-src 'self'; frame-ancestors " + list}, true},
		{"it gets a list behind its semicolon", []string{"default-src 'self'; "}, true, []string{"default-src 'self'; frame-ancestors " + list}, true},
		{"a list is replaced", []string{"frame-ancestors 'none'"}, false, []string{"frame-ancestors " + list}, true},
		{"a list is replaced in its place", []string{"img-src *; Frame-Ancestors 'none' ;script-src x"}, false, []string{"img-src *; frame-ancestors " + list + ";script-src x"}, true},
		{"an empty list is one", []string{"a;frame-ancestors"}, false, []string{"a;frame-ancestors " + list}, true},
		{"a second list of a policy", []string{"frame-ancestors a; frame-ancestors b"}, false, []string{"frame-ancestors " + list + "; frame-ancestors " + list}, true},
		{"tabs separate too", []string{"frame-ancestors\t'none'"}, false, []string{"frame-ancestors " + list}, true},
		{"another name that begins alike", []string{"frame-ancestorsx a"}, false, []string{"frame-ancestorsx a"}, false},
		{"several policies in one value", []string{"img-src a, frame-ancestors b"}, false, []string{"img-src a, frame-ancestors " + list}, true},
		{"several policies get one each", []string{"img-src a, frame-ancestors b"}, true, []string{"img-src a; frame-ancestors " + list + ", frame-ancestors " + list}, true},
		{"several values", []string{"img-src a", "frame-ancestors b"}, false, []string{"img-src a", "frame-ancestors " + list}, true},
		{"empty policies stay empty", []string{"", ",;, img-src a"}, true, []string{"", ",;, img-src a; frame-ancestors " + list}, true},
		{"only empty policies", []string{" , ;"}, true, []string{" , ;", "frame-ancestors " + list}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, set := csp.SetFrameAncestors(tt.values, list, tt.add)
			if diff := cmp.Diff(tt.want, got); diff != "" || set != tt.set {
				t.Errorf("set is %v, want %v (-want +got):\n%s", set, tt.set, diff)
			}
		})
	}
}

func TestAllowsScript(t *testing.T) {
	t.Parallel()
	https := csp.URL{Scheme: "https", Host: "port-3000-box.cmux.test", Path: "/.edge/head.js"}
	plain := csp.URL{Scheme: "http", Host: "port-3000-box.cmux.test", Port: 8080, Path: "/.edge/head.js"}
	for _, tt := range []struct {
		policy      string
		https, http bool
	}{
		{"", true, true},
		{"img-src 'none'", true, true},
		{"default-src 'self'", true, true},
		{"default-src 'SELF' data:", true, true},
		{"DEFAULT-SRC 'none'", false, false},
		{"default-src", false, false},
		{"default-src 'none'; script-src 'self'", true, true},
		{"script-src 'none'; script-src-elem 'self'", true, true},
		{"script-src 'self'; script-src 'none'", true, true},
		{"script-src 'none'; script-src 'self'", false, false},
		{"script-src-attr 'none'", true, true},
		{"script-src 'nonce-abc'", false, false},
		{"script-src 'self' 'nonce-abc'", true, true},
		{"script-src 'sha256-abc='", false, false},
		{"script-src 'self' 'strict-dynamic' 'nonce-abc'", false, false},
		{"script-src 'unsafe-inline' 'unsafe-eval'", false, false},
		{"script-src *", true, true},
		{"script-src https:", true, false},
		{"script-src http:", true, true},
		{"script-src data: blob:", false, false},
		{"script-src cdn.example", false, false},
		{"script-src port-3000-box.cmux.test", true, false},
		{"script-src PORT-3000-box.cmux.test:8080", false, true},
		{"script-src port-3000-box.cmux.test:*", true, true},
		{"script-src port-3000-box.cmux.test:443", true, false},
		{"script-src port-3000-box.cmux.test:80", true, false},
		{"script-src *.cmux.test", true, false},
		{"script-src *.cmux.test:*", true, true},
		{"script-src *:*", true, true},
		{"script-src *.port-3000-box.cmux.test:*", false, false},
		{"script-src *cmux.test:*", false, false},
		{"script-src https://port-3000-box.cmux.test", true, false},
		{"script-src http://port-3000-box.cmux.test", true, false},
		{"script-src http://port-3000-box.cmux.test:8080", false, true},
		{"script-src *:*/", true, true},
		{"script-src *:*/.edge/", true, true},
		{"script-src *:*/.edge/head.js", true, true},
		{"script-src *:*/%2Eedge/head.js", true, true},
		{"script-src *:*/static/", false, false},
		{"script-src *:*/.edge", false, false},
		{"script-src *:*/%zz", false, false},
		{"sandbox", false, false},
		{"sandbox allow-scripts", true, true},
		{"sandbox allow-forms; script-src 'self'", false, false},
		{"img-src *, script-src 'none'", false, false},
		{"script-src 'self', default-src 'self'", true, true},
	} {
		if got := csp.AllowsScript([]string{"object-src 'none'", tt.policy}, https); got != tt.https {
			t.Errorf("%q allows the script over TLS: %v", tt.policy, got)
		}
		if got := csp.AllowsScript([]string{tt.policy}, plain); got != tt.http {
			t.Errorf("%q allows the script in the clear: %v", tt.policy, got)
		}
	}
}

// Whatever a sandbox sends, a list that was set is the only one, setting it
// again changes nothing, and all other directives keep their bytes.
func FuzzSetFrameAncestors(f *testing.F) {
	for _, policy := range []string{
		"", "default-src 'self'", "frame-ancestors 'none'", "a; FRAME-ANCESTORS b ;c, d,;frame-ancestors", "\t;,\n", "frame-ancestors,frame-ancestors x;y",
	} {
		f.Add(policy, true)
		f.Add(policy, false)
	}
	f.Fuzz(func(t *testing.T, value string, add bool) {
		got, set := csp.SetFrameAncestors([]string{value}, list, add)
		if add && !set {
			t.Error("the list was to be added and is not set")
		}
		if again, _ := csp.SetFrameAncestors(got, list, add); !cmp.Equal(got, again) {
			t.Errorf("%q became %q, and that %q", value, got, again)
		}
		before, _ := split([]string{value})
		after, lists := split(got)
		if !set {
			lists = nil
		}
		for _, l := range lists {
			if l != "frame-ancestors "+list {
				t.Errorf("%q became %q, with the list %q", value, got, l)
			}
		}
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("%q became %q (-want +got):\n%s", value, got, diff)
		}
		csp.AllowsScript(got, csp.URL{Scheme: "https", Host: "a.test", Path: "/x"})
	})
}

// split returns the directives of values that are not frame-ancestors, and
// those that are.
func split(values []string) (others, lists []string) {
	const space = " \t\n\f\r"
	for d := range strings.FieldsFuncSeq(strings.Join(values, ","), func(r rune) bool { return r == ',' || r == ';' }) {
		d = strings.Trim(d, space)
		name := d
		if i := strings.IndexAny(d, space); i >= 0 {
			name = d[:i]
		}
		switch {
		case strings.EqualFold(name, "frame-ancestors"):
			lists = append(lists, d)
		case d != "":
			others = append(others, d)
		}
	}
	return others, lists
}
