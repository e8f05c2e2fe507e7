package proxy

import (
	"bufio"
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// FuzzTarget holds the target that is written to what the client sent, for
// every target that net/http lets through.
func FuzzTarget(f *testing.F) {
	for _, target := range targets {
		f.Add(target)
	}
	f.Fuzz(func(t *testing.T, target string) {
		in, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + target + " HTTP/1.1\r\nHost: a.example\r\n\r\n")))
		if err != nil || in.RequestURI != target {
			t.Skip()
		}
		want := rawTarget(target)
		out := &http.Request{Method: http.MethodGet, Host: "a.example", URL: &url.URL{Scheme: "http", Host: "pool:1"}, Header: http.Header{}}
		setTarget(out.URL, want, "a.example")
		var wire bytes.Buffer
		if err := out.Write(&wire); err != nil {
			t.Fatalf("%q: %v", target, err)
		}
		line, _, _ := strings.Cut(wire.String(), "\r\n")
		got := strings.TrimSuffix(strings.TrimPrefix(line, "GET "), " HTTP/1.1")
		if got != want && got != "http://a.example"+want {
			t.Errorf("sent %q, the sandbox gets %q", want, got)
		}
	})
}
