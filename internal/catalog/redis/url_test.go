package redis_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cmux.sh/edge/internal/catalog/redis"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		url  string
		want redis.Options
		text string // "" is the URL itself
	}{
		{"redis://10.0.0.9", redis.Options{Addrs: []string{"10.0.0.9:6379"}}, "redis://10.0.0.9:6379"},
		{"redis://redis.test:6380/2", redis.Options{Addrs: []string{"redis.test:6380"}, DB: 2}, ""},
		{"redis://redis.test?db=2", redis.Options{Addrs: []string{"redis.test:6379"}, DB: 2}, "redis://redis.test:6379/2"},
		{"redis://[fd00::1]:6380", redis.Options{Addrs: []string{"[fd00::1]:6380"}}, ""},
		{"redis://[fd00::1]", redis.Options{Addrs: []string{"[fd00::1]:6379"}}, "redis://[fd00::1]:6379"},
		{
			"rediss://edge:p%40ss%2Fw%3Ard@redis.test:6380/0?ca_file=/etc/ca.pem&server_name=a.test",
			redis.Options{
				Addrs: []string{"redis.test:6380"}, Username: "edge", Password: "p@ss/w:rd", TLS: true,
				CAFile: "/etc/ca.pem", ServerName: "a.test",
			},
			"rediss://edge:***@redis.test:6380",
		},
		{"redis://:secret@redis.test:6379", redis.Options{Addrs: []string{"redis.test:6379"}, Password: "secret"}, "redis://:***@redis.test:6379"},
		{"redis://:se@cret@redis.test:6379", redis.Options{Addrs: []string{"redis.test:6379"}, Password: "se@cret"}, "redis://:***@redis.test:6379"},
		{
			"redis+sentinel://s1,s2:26380,s3/mymaster/3?sentinel_username=w&sentinel_password=x",
			redis.Options{
				Mode: redis.Sentinel, Addrs: []string{"s1:26379", "s2:26380", "s3:26379"}, Master: "mymaster", DB: 3,
				SentinelUsername: "w", SentinelPassword: "x",
			},
			"redis+sentinel://s1:26379,s2:26380,s3:26379/mymaster/3",
		},
		{
			"rediss+sentinel://u:p@s1/m", redis.Options{
				Mode: redis.Sentinel, Addrs: []string{"s1:26379"}, Master: "m", Username: "u", Password: "p", TLS: true,
			}, "rediss+sentinel://u:***@s1:26379/m",
		},
		{
			"redis://s1:26379/2?master_name=m&addr=s2:26379&addr=s3",
			redis.Options{Mode: redis.Sentinel, Addrs: []string{"s1:26379", "s2:26379", "s3:26379"}, Master: "m", DB: 2},
			"redis+sentinel://s1:26379,s2:26379,s3:26379/m/2",
		},
		{
			"redis+cluster://n1:7000,n2:7001,[fd00::3]:7002",
			redis.Options{Mode: redis.Cluster, Addrs: []string{"n1:7000", "n2:7001", "[fd00::3]:7002"}},
			"",
		},
		{"rediss+cluster://n1:7000", redis.Options{Mode: redis.Cluster, Addrs: []string{"n1:7000"}, TLS: true}, ""},
		{"redis://n1:7000?addr=n2:7001", redis.Options{Mode: redis.Cluster, Addrs: []string{"n1:7000", "n2:7001"}}, "redis+cluster://n1:7000,n2:7001"},
	} {
		got, err := redis.Parse(tt.url)
		if err != nil {
			t.Errorf("%s: %v", tt.url, err)
			continue
		}
		if !cmp.Equal(tt.want, got) {
			t.Errorf("%s: got %+v with other fields than wanted", tt.url, got)
		}
		if tt.text == "" {
			tt.text = tt.url
		}
		if got.String() != tt.text {
			t.Errorf("%s is written %s, want %s", tt.url, got, tt.text)
		}
	}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"":                                    "want redis://",
		"10.0.0.9:6379":                       "want redis://",
		"http://user:hunter2@h":               "want redis://",
		"unix:///run/redis.sock":              "want redis://",
		"redis://":                            "a host is missing",
		"redis://user:hunter2@":               "a host is missing",
		"redis://:6379":                       "a host is missing",
		"redis+cluster://a,,b":                "a host is missing",
		"redis://h:port":                      "a port is not a number",
		"redis://h:0":                         "a port is not a number",
		"redis://h:70000":                     "a port is not a number",
		"redis://a:b:c":                       "neither a name nor an IP address",
		"redis://fe80::1%25eth0":              "neither a name nor an IP address",
		"redis://user:1?hunter2@h":            "%3F",
		"redis+sentinel://h/my%2Fmaster":      "the database is not a number",
		"redis://h?master_name=a%20b":         "other characters",
		"redis://user:hunter2%zz@h":           "not percent-encoded",
		"redis://user:hunter2#x@h":            "%23",
		"redis://user:hunter2/x@h":            "%2F",
		"redis://h/one":                       "the database is not a number",
		"redis://h/-1":                        "the database is not a number",
		"redis://h/0/1":                       "longer than expected",
		"redis://h?skip_verify=true":          `unknown parameter "skip_verify"`,
		"redis://h?db=1&db=2":                 "parameter db is there 2 times",
		"redis://h?db=%zz":                    "malformed",
		"redis+sentinel://h":                  "the path names the master",
		"redis+cluster://h?master_name=m":     "master_name is for Sentinel",
		"redis://h?sentinel_password=hunter2": "are for Sentinel",
		"redis+cluster://h/1":                 "only database 0",
		"redis://h?addr=h2&db=1":              "only database 0",
		"redis://h?ca_file=/etc/ca.pem":       "need rediss",
		"rediss://h?cert_file=/etc/c.pem":     "come together",
	} {
		_, err := redis.Parse(url)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", url, err, want)
			continue
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestOptionsNeverShowAPassword(t *testing.T) {
	t.Parallel()
	o, err := redis.Parse("redis+sentinel://edge:hunter2@s1/m?sentinel_password=hunter3")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
		slog.New(handler).Info("redis", "options", o, "pointer", &o, "nested", []redis.Options{o})
	}
	if err := json.NewEncoder(&b).Encode(map[string]any{"o": o}); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&b, "%v %+v %#v %s %v", o, o, o, o, &o)
	if strings.Contains(b.String(), "hunter") || !strings.Contains(b.String(), "s1:26379") {
		t.Errorf("got %s", b.String())
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"redis://u:hunter2@h:6379/1?ca_file=x", "redis+sentinel://u:hunter2@a,b:1/m?sentinel_password=hunter2",
		"redis+cluster://[::1]:1,b", "redis://h?addr=b&master_name=m",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, url string) {
		o, err := redis.Parse(url)
		if err != nil {
			if strings.Contains(err.Error(), "hunter2") && !strings.Contains(url, "?") {
				t.Errorf("%q: %v", url, err)
			}
			return
		}
		// What it says of itself reads as the same, but for the passwords and files.
		again, err := redis.Parse(strings.Replace(o.String(), ":***@", "@", 1))
		if err != nil {
			t.Fatalf("%q is written %q: %v", url, o, err)
		}
		if again.Mode != o.Mode || !cmp.Equal(again.Addrs, o.Addrs) || again.Master != o.Master || again.DB != o.DB || again.TLS != o.TLS || again.Username != o.Username {
			t.Errorf("%q: got %q and then %q", url, o, again)
		}
	})
}
