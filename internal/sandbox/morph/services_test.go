package morph

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var real = suffix{domain: "http.cloud.morph.so"}

func TestOnlyURLsBelowTheSuffixAreAccepted(t *testing.T) {
	t.Parallel()
	const want = "https://port-39378-morphvm-abc.http.cloud.morph.so"
	for text, want := range map[string]string{
		want:                       want,
		want + "/":                 want,
		want + ":443":              want,
		strings.ToUpper(want[8:9]): "",
		"HTTPS://Port-39378-MorphVM-abc.HTTP.cloud.morph.so": want,
		"https://vscode-morphvm-abc.http.cloud.morph.so":     "https://vscode-morphvm-abc.http.cloud.morph.so",
		"http://x.http.cloud.morph.so":                       "",
		"wss://x.http.cloud.morph.so":                        "",
		"https://http.cloud.morph.so":                        "",
		"https://.http.cloud.morph.so":                       "",
		"https://x.http.cloud.morph.so.":                     "",
		"https://x.http.cloud.morph.so.evil.com":             "",
		"https://evilhttp.cloud.morph.so":                    "",
		"https://x-http.cloud.morph.so":                      "",
		"https://evil.com/x.http.cloud.morph.so":             "",
		"https://evil.com?x.http.cloud.morph.so":             "",
		"https://evil.com#x.http.cloud.morph.so":             "",
		"https://evil.com\\.http.cloud.morph.so":             "",
		"https://x.http.cloud.morph.so@evil.com":             "",
		"https://user:pass@x.http.cloud.morph.so":            "",
		"https://x.http.cloud.morph.so:8443":                 "",
		"https://x.http.cloud.morph.so:22":                   "",
		"https://x.http.cloud.morph.so/path":                 "",
		"https://x.http.cloud.morph.so/?q":                   "",
		"https://x.http.cloud.morph.so?":                     "",
		"https://x%2ehttp.cloud.morph.so":                    "",
		"https://x\u3002http.cloud.morph.so":                 "",
		"https://xn--80ak6aa92e.http.cloud.morph.so":         "https://xn--80ak6aa92e.http.cloud.morph.so",
		"https://\u0430.http.cloud.morph.so":                 "",
		"https://a_b.http.cloud.morph.so":                    "",
		"https://-a.http.cloud.morph.so":                     "",
		"https://a..http.cloud.morph.so":                     "",
		"https://169.254.169.254":                            "",
		"https://[::1].http.cloud.morph.so":                  "",
		"//x.http.cloud.morph.so":                            "",
		"https:x.http.cloud.morph.so":                        "",
		"https:///x.http.cloud.morph.so":                     "",
		"x.http.cloud.morph.so":                              "",
		"":                                                   "",
		"https://x.http.cloud.morph.so\n":                    "",
	} {
		got, err := real.accept(text)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v, want %q", text, got, err, want)
		}
	}
}

func TestASuffixWithAPortWantsThatPort(t *testing.T) {
	t.Parallel()
	s, err := Config{HTTPSuffix: "HTTP.morph.localhost:8443"}.suffix()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.accept("https://x.http.morph.localhost:8443"); err != nil || got != "https://x.http.morph.localhost:8443" {
		t.Errorf("got %q, %v", got, err)
	}
	for _, text := range []string{"https://x.http.morph.localhost", "https://x.http.morph.localhost:443", "https://x.http.morph.localhost:84430"} {
		if got, err := s.accept(text); err == nil {
			t.Errorf("%s: got %s, want a refusal", text, got)
		}
	}
}

func TestServicesAreMatchedByPort(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		text    string
		want    map[uint16]string
		refused int
	}{
		"AListNamedAnyhow": {
			text: `[{"name":"worker","port":39377,"url":"https://worker-morphvm-a.http.cloud.morph.so","auth_mode":"none"},
				{"name":"port-39378","port":39378,"url":"https://port-39378-morphvm-a.http.cloud.morph.so"}]`,
			want: map[uint16]string{39377: "https://worker-morphvm-a.http.cloud.morph.so", 39378: "https://port-39378-morphvm-a.http.cloud.morph.so"},
		},
		"TheLegacyObject": {
			text: `{"39379":"https://p-morphvm-a.http.cloud.morph.so","vscode":"https://vscode-morphvm-a.http.cloud.morph.so","port-80":"https://w-morphvm-a.http.cloud.morph.so","other":"https://o-morphvm-a.http.cloud.morph.so"}`,
			want: map[uint16]string{39379: "https://p-morphvm-a.http.cloud.morph.so", 39378: "https://vscode-morphvm-a.http.cloud.morph.so", 80: "https://w-morphvm-a.http.cloud.morph.so"},
		},
		"TheFirstOfTwoOnOnePort": {
			text: `[{"name":"a","port":80,"url":"https://a.http.cloud.morph.so"},{"name":"b","port":80,"url":"https://b.http.cloud.morph.so"}]`,
			want: map[uint16]string{80: "https://a.http.cloud.morph.so"},
		},
		"ARefusedOneDoesNotHideAGoodOne": {
			text:    `[{"name":"a","port":80,"url":"https://evil.com"},{"name":"b","port":80,"url":"https://b.http.cloud.morph.so"}]`,
			want:    map[uint16]string{80: "https://b.http.cloud.morph.so"},
			refused: 1,
		},
		"NotThoseThatWantTheKey": {
			text:    `[{"name":"a","port":80,"url":"https://a.http.cloud.morph.so","auth_mode":"api_key"}]`,
			want:    map[uint16]string{},
			refused: 1,
		},
		"NotPortsThatAreNone": {
			text:    `[{"name":"a","port":0,"url":"https://a.http.cloud.morph.so"},{"name":"b","port":65536,"url":"https://a.http.cloud.morph.so"},{"name":"c","port":-1,"url":"https://a.http.cloud.morph.so"}]`,
			want:    map[uint16]string{},
			refused: 3,
		},
		"UnreadableEntriesAreLeftOut": {
			text: `[7,null,{"port":"80"},{"name":"b","port":80,"url":"https://b.http.cloud.morph.so"}]`,
			want: map[uint16]string{80: "https://b.http.cloud.morph.so"}, refused: 1,
		},
		"Null": {text: `null`, want: map[uint16]string{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var s services
			if err := json.Unmarshal([]byte(tc.text), &s); err != nil {
				t.Fatal(err)
			}
			ports, refused := s.ports(real)
			if diff := cmp.Diff(tc.want, ports); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if len(refused) != tc.refused {
				t.Errorf("got %d refused (%v), want %d", len(refused), refused, tc.refused)
			}
		})
	}
}

func FuzzServices(f *testing.F) {
	for _, seed := range []string{
		`[{"name":"a","port":80,"url":"https://a.http.cloud.morph.so"}]`,
		`[{"name":"a","port":80,"url":"https://a.http.cloud.morph.so@evil.com","auth_mode":"none"}]`,
		`{"39378":"https://a.http.cloud.morph.so/../x","vscode":"https://evil.com:443"}`,
		`[{"port":1,"url":"https://a.http.cloud.morph.so\\@evil.com"}]`, `null`, `[]`, `{}`, `7`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var s services
		if json.Unmarshal(text, &s) != nil {
			return
		}
		ports, _ := s.ports(real)
		for port, place := range ports {
			u, err := url.Parse(place)
			if err != nil || port == 0 || u.Scheme != "https" || u.Host != u.Hostname() || !strings.HasSuffix(u.Host, ".http.cloud.morph.so") || place != "https://"+u.Host {
				t.Errorf("port %d lies on %q", port, place)
			}
			if again, err := real.accept(place); err != nil || again != place {
				t.Errorf("%q becomes %q, %v", place, again, err)
			}
		}
	})
}
