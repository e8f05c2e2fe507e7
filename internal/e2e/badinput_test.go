package e2e_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// say sends raw bytes to the edge on a connection of their own.
func (e edge) say(t *testing.T, request string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := e.dial(t.Context(), "tcp", "")
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	written := make(chan struct{})
	go func() { // ends with the connection
		defer close(written)
		// The edge may answer, and close, before it has read everything.
		_, _ = io.WriteString(conn, request)
	}()
	t.Cleanup(func() { conn.Close(); <-written })
	return conn, bufio.NewReader(conn)
}

// answerTo is the whole answer to one raw request.
func (e edge) answerTo(t *testing.T, request string) (*http.Response, string) {
	t.Helper()
	conn, answers := e.say(t, request)
	defer conn.Close()
	resp, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestBadInputGetsAClearAnswer(t *testing.T) {
	t.Parallel()
	port := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "from the sandbox: ", r.Header.Get("X-Cmux-Original-Host"), " ", r.RequestURI)
	}))
	e := startEdge(t)
	good := e.host(port)
	get := func(host string) string { return "GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n" }

	for name, tc := range map[string]struct {
		request string
		status  int
		text    string // in the body
	}{
		"port zero":                {get("port-0-real.cmux.test"), 400, "Invalid port in subdomain"},
		"port too large":           {get("port-65536-real.cmux.test"), 400, "Invalid port in subdomain"},
		"no slug":                  {get("port-80-.cmux.test"), 400, "Invalid cmux subdomain"},
		"two labels":               {get("port-80-a.b.cmux.test"), 400, "Invalid cmux subdomain"},
		"empty label":              {get("port-80-real..cmux.test"), 400, "Invalid host"},
		"port that is none":        {get("port-80-real.cmux.test:http"), 400, "Invalid host"},
		"percent":                  {get("port-80-re%61l.cmux.test"), 400, "Invalid host"},
		"very long":                {get(strings.Repeat("a.", 130) + "cmux.test"), 400, "Invalid host"},
		"empty":                    {get(""), 400, "Invalid host"},
		"bytes that no name has":   {get("port-80-\xff\x01.cmux.test"), 400, "400 Bad Request"},
		"foreign":                  {get("evil.example"), 421, "Not a cmux domain"},
		"foreign that looks known": {get("port-80-real.cmux.test.evil.example"), 421, "Not a cmux domain"},
		"an address":               {get("127.0.0.1"), 421, "Not a cmux domain"},
		"unknown sandbox":          {get("port-80-nobody.cmux.test"), 404, "There is no sandbox nobody"},
		"loop":                     {"GET / HTTP/1.1\r\nHost: " + good + "\r\nX-Cmux-Proxied: true\r\n\r\n", 508, "Loop detected in proxy"},
		"CONNECT":                  {"CONNECT evil.example:443 HTTP/1.1\r\nHost: " + good + "\r\n\r\n", 421, "Not a cmux domain"},
		"no Host":                  {"GET / HTTP/1.1\r\n\r\n", 400, "missing required Host header"},
		"two Hosts":                {"GET / HTTP/1.1\r\nHost: " + good + "\r\nHost: evil.example\r\n\r\n", 400, "400 Bad Request"},
		"two equal Hosts":          {"GET / HTTP/1.1\r\nHost: " + good + "\r\nHost: " + good + "\r\n\r\n", 400, "400 Bad Request"},
		"one huge header":          {"GET / HTTP/1.1\r\nHost: " + good + "\r\nX-Bomb: " + strings.Repeat("a", 4<<20) + "\r\n\r\n", 431, ""},
		"many headers":             {"GET / HTTP/1.1\r\nHost: " + good + "\r\n" + strings.Repeat("X-Bomb: bang\r\n", 300_000) + "\r\n", 431, ""},
		"a header that is none":    {"GET / HTTP/1.1\r\nHost: " + good + "\r\nX Bomb: a\r\n\r\n", 400, ""},
		"two lengths":              {"POST / HTTP/1.1\r\nHost: " + good + "\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400, ""},
		"an unknown coding":        {"POST / HTTP/1.1\r\nHost: " + good + "\r\nTransfer-Encoding: gzip\r\n\r\n", 501, ""},
		"not HTTP":                 {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, ""},
		"absolute target": {
			"GET http://" + good + "/a%2Fb?c HTTP/1.1\r\nHost: evil.example\r\n\r\n",
			200, "from the sandbox: " + good + " /a%2Fb?c",
		},
		"absolute foreign target": {"GET http://evil.example/ HTTP/1.1\r\nHost: " + good + "\r\n\r\n", 421, "Not a cmux domain"},
	} {
		t.Run(name, func(t *testing.T) {
			resp, body := e.answerTo(t, tc.request)
			if resp.StatusCode != tc.status || !strings.Contains(body, tc.text) {
				t.Errorf("got %s %q, want status %d and %q", resp.Status, body, tc.status, tc.text)
			}
			// The edge lives, and serves the next one.
			if resp, body := e.answerTo(t, get(good)); resp.StatusCode != http.StatusOK {
				t.Errorf("after it, a good request got %s %q", resp.Status, body)
			}
		})
	}
}

// A length beside chunks is how requests are smuggled: a proxy in front that
// believes the length takes the rest for another request. RFC 9112 section 6.3
// allows to answer the request by its chunks and then to close, which leaves
// nothing to smuggle.
func TestNothingIsReadBehindARequestWithLengthAndChunks(t *testing.T) {
	t.Parallel()
	requests := make(chan string, 10)
	port := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		requests <- fmt.Sprintf("%s %s %v %q", r.Method, r.URL.Path, r.Header["Content-Length"], body)
		fmt.Fprint(w, "answer")
	}))
	e := startEdge(t)
	_, answers := e.say(t, "POST /first HTTP/1.1\r\nHost: "+e.host(port)+"\r\n"+
		"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"+
		"GET /second HTTP/1.1\r\nHost: "+e.host(port)+"\r\n\r\n")

	resp, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK || string(body) != "answer" || err != nil || !resp.Close {
		t.Errorf("got %s %q, error %v, close %v; want the sandbox's answer and a close", resp.Status, body, err, resp.Close)
	}
	// A reset is an end too: the edge closes with bytes unread.
	if rest, _ := io.ReadAll(answers); len(rest) > 0 {
		t.Errorf("the connection went on:\n%s", rest)
	}
	if got, want := receive(t, requests, "the request"), `POST /first [] "ab"`; got != want {
		t.Errorf("the sandbox got %s, want %s", got, want)
	}
	select {
	case got := <-requests:
		t.Errorf("the sandbox got %s too", got)
	default:
	}
}
