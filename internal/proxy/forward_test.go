package proxy

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// exchangeCase is one whole exchange, byte for byte: what the client sends,
// what the sandbox must get, what it answers, what the client must get. A line
// "~Name" of a wanted head stands for a header whose value does not matter.
type exchangeCase struct {
	name       string
	client     string
	body       string // sent behind client
	wantServer string // head; the body must arrive as sent, by its framing
	wantBody   string
	server     string
	wantClient string
	wantData   string // behind the head, up to the end of the connection
	keptAlive  bool   // there is no such end
}

// forwarded are the headers that every request gets.
const forwarded = `Cdn-Loop: cmux-edge
X-Cmux-Hops: 1
X-Cmux-Original-Host: port-39375-box.cmux.test
X-Cmux-Proxied: true
X-Forwarded-For: 127.0.0.1
X-Forwarded-Host: port-39375-box.cmux.test
X-Forwarded-Proto: http
~X-Request-Id
`

const (
	hello       = "HTTP/1.1 200 OK\nContent-Length: 5\nContent-Type: text/plain\n\nhello"
	helloClient = "HTTP/1.1 200 OK\nConnection: close\nContent-Length: 5\nContent-Type: text/plain\n~Date\n~X-Request-Id\n\n"
)

// exchangeCases are what any forwarder must pass.
var exchangeCases = []exchangeCase{
	{
		name:       "AddsNothingToABareRequest",
		client:     "GET /x HTTP/1.1\nHost: port-39375-box.cmux.test\nConnection: close\n\n",
		wantServer: "GET /x HTTP/1.1\nHost: port-39375-box.cmux.test\n" + forwarded + "\n",
		server:     hello, wantClient: helloClient, wantData: "hello",
	},
	{
		name:       "KeepsWhatTheClientSays",
		client:     "GET / HTTP/1.1\nHost: port-39375-box.cmux.test\nAccept-Encoding: br\nUser-Agent: t/1\nCookie: a=1; b=2\nX-Two: 1\nX-Two: 2\nX-Empty:\nConnection: close\n\n",
		wantServer: "GET / HTTP/1.1\nHost: port-39375-box.cmux.test\nAccept-Encoding: br\nCookie: a=1; b=2\nUser-Agent: t/1\nX-Empty: \nX-Two: 1\nX-Two: 2\n" + forwarded + "\n",
		server:     hello, wantClient: helloClient, wantData: "hello",
	},
	{
		name:       "DropsHopByHopHeadersOfTheRequest",
		client:     "GET / HTTP/1.1\nHost: port-39375-box.cmux.test\nConnection: close, X-Mine\nX-Mine: 1\nKeep-Alive: 5\nProxy-Connection: x\nProxy-Authorization: x\nTE: trailers, gzip\nUpgrade: h2c\n\n",
		wantServer: "GET / HTTP/1.1\nHost: port-39375-box.cmux.test\nTe: trailers\n" + forwarded + "\n",
		server:     hello, wantClient: helloClient, wantData: "hello",
	},
	{
		name:       "DropsHopByHopHeadersOfTheAnswer",
		client:     "GET / HTTP/1.1\nHost: port-39375-box.cmux.test\nConnection: close\n\n",
		wantServer: "GET / HTTP/1.1\nHost: port-39375-box.cmux.test\n" + forwarded + "\n",
		server:     "HTTP/1.1 200 OK\nConnection: X-Theirs\nX-Theirs: 1\nKeep-Alive: timeout=5\nProxy-Authenticate: x\nContent-Type: text/plain\nContent-Length: 5\n\nhello",
		wantClient: helloClient, wantData: "hello",
	},
	{
		name:       "DropsTheClientsInternalAndForwardedHeaders",
		client:     "GET / HTTP/1.1\nHost: port-39375-box.cmux.test\nX-Cmux-Port-Internal: 22\nX-Cmux-Host-Override: evil\nX-Cmux-Workspace-Internal: w\nX-Cmux-Anything: 1\nX_Cmux_Port_Internal: 22\nX-Forwarded-For: 6.6.6.6\nForwarded: for=6.6.6.6\nX-Forwarded-Host: evil\nX-Forwarded-Proto: https\nX-Real-Ip: 6.6.6.6\nX-Request-Id: mine\nConnection: close\n\n",
		wantServer: "GET / HTTP/1.1\nHost: port-39375-box.cmux.test\n" + forwarded + "\n",
		server:     hello, wantClient: helloClient, wantData: "hello",
	},
	{
		name:       "KeepsOtherPartiesLoopEntries",
		client:     "GET / HTTP/1.1\nHost: port-39375-box.cmux.test\nCDN-Loop: cloudflare; subreqs=1\nConnection: close\n\n",
		wantServer: "GET / HTTP/1.1\nHost: port-39375-box.cmux.test\n" + strings.Replace(forwarded, "cmux-edge", "cloudflare; subreqs=1, cmux-edge", 1) + "\n",
		server:     hello, wantClient: helloClient, wantData: "hello",
	},
	{
		name:       "SendsTheProxyFormToTheInnerProxy",
		client:     "GET / HTTP/1.1\nHost: cmux-box-team-8080.cmux.test\nConnection: close\n\n",
		wantServer: "GET / HTTP/1.1\nHost: localhost:8080\n" + strings.ReplaceAll(strings.Replace(forwarded, "X-Cmux-Proxied: true\n", "X-Cmux-Port-Internal: 8080\nX-Cmux-Proxied: true\nX-Cmux-Workspace-Internal: team\n", 1), "port-39375-box.cmux.test", "cmux-box-team-8080.cmux.test") + "\n",
		server:     hello, wantClient: strings.Replace(helloClient, "~X-Request-Id", "Vary: Origin\n~X-Request-Id", 1), wantData: "hello",
	},
	{
		name:       "NamesNoWorkspaceInTheBaseScope",
		client:     "GET / HTTP/1.1\nHost: manaflow-box-base-8080.cmux.test\nConnection: close\n\n",
		wantServer: "GET / HTTP/1.1\nHost: localhost:8080\n" + strings.ReplaceAll(strings.Replace(forwarded, "X-Cmux-Proxied: true\n", "X-Cmux-Port-Internal: 8080\nX-Cmux-Proxied: true\n", 1), "port-39375-box.cmux.test", "manaflow-box-base-8080.cmux.test") + "\n",
		server:     hello, wantClient: strings.Replace(helloClient, "~X-Request-Id", "Vary: Origin\n~X-Request-Id", 1), wantData: "hello",
	},
	{
		name:       "SaysLocalhostToAnApp",
		client:     "GET / HTTP/1.1\nHost: port-3000-box.cmux.test:8080\nOrigin: http://port-3000-box.cmux.test:8080\nConnection: close\n\n",
		wantServer: "GET / HTTP/1.1\nHost: localhost:3000\nOrigin: http://localhost:3000\n" + strings.ReplaceAll(forwarded, "port-39375-box.cmux.test", "port-3000-box.cmux.test:8080") + "\n",
		server:     "HTTP/1.1 200 OK\nAccess-Control-Allow-Origin: http://localhost:3000\nContent-Length: 5\nContent-Type: text/plain\n\nhello",
		wantClient: strings.Replace(helloClient, "Connection", "Access-Control-Allow-Origin: http://port-3000-box.cmux.test:8080\nConnection", 1), wantData: "hello",
	},
	{
		name:       "LeavesOtherOriginsToAnApp",
		client:     "GET / HTTP/1.1\nHost: port-3000-box.cmux.test\nOrigin: https://port-3000-other.cmux.test\nConnection: close\n\n",
		wantServer: "GET / HTTP/1.1\nHost: localhost:3000\nOrigin: https://port-3000-other.cmux.test\n" + strings.ReplaceAll(forwarded, "port-39375-box.cmux.test", "port-3000-box.cmux.test") + "\n",
		server:     hello, wantClient: strings.Replace(helloClient, "~X-Request-Id", "Vary: Origin\n~X-Request-Id", 1), wantData: "hello",
	},
	{
		name:       "SniffsNoContentType",
		client:     "GET / HTTP/1.1\nHost: port-39375-box.cmux.test\nConnection: close\n\n",
		wantServer: "GET / HTTP/1.1\nHost: port-39375-box.cmux.test\n" + forwarded + "\n",
		server:     "HTTP/1.1 200 OK\nContent-Length: 6\n\n<html>",
		wantClient: "HTTP/1.1 200 OK\nConnection: close\nContent-Length: 6\n~Date\n~X-Request-Id\n\n", wantData: "<html>",
	},
	{
		name:       "PassesCompressedBytesOn",
		client:     "GET / HTTP/1.1\nHost: port-39375-box.cmux.test\nConnection: close\n\n",
		wantServer: "GET / HTTP/1.1\nHost: port-39375-box.cmux.test\n" + forwarded + "\n",
		server:     "HTTP/1.1 200 OK\nContent-Encoding: gzip\nContent-Length: 3\n\nabc",
		wantClient: "HTTP/1.1 200 OK\nConnection: close\nContent-Encoding: gzip\nContent-Length: 3\n~Date\n~X-Request-Id\n\n", wantData: "abc",
	},
	{
		name:       "KeepsTheAnswersOwnDateAndSpaces",
		client:     "GET / HTTP/1.1\nHost: port-39375-box.cmux.test\nConnection: close\n\n",
		wantServer: "GET / HTTP/1.1\nHost: port-39375-box.cmux.test\n" + forwarded + "\n",
		server:     "HTTP/1.1 299 Odd\nDate: never\nSet-Cookie: a=1; Path=/\nSet-Cookie: b=2\nX-Edge-State: mine\nX-Request-Id: mine\nContent-Length: 0\n\n",
		wantClient: "HTTP/1.1 299 status code 299\nConnection: close\nContent-Length: 0\nDate: never\nSet-Cookie: a=1; Path=/\nSet-Cookie: b=2\n~X-Request-Id\n\n",
	},
	{
		name:       "KeepsTheLengthInTheAnswerToHead",
		client:     "HEAD / HTTP/1.1\nHost: port-39375-box.cmux.test\nConnection: close\n\n",
		wantServer: "HEAD / HTTP/1.1\nHost: port-39375-box.cmux.test\n" + forwarded + "\n",
		server:     "HTTP/1.1 200 OK\nContent-Length: 1234\nContent-Type: text/plain\n\n",
		wantClient: strings.Replace(helloClient, ": 5", ": 1234", 1),
	},
	{
		name:       "Passes304WithoutBody",
		client:     "GET / HTTP/1.1\nHost: port-39375-box.cmux.test\nIf-None-Match: \"v\"\nConnection: close\n\n",
		wantServer: "GET / HTTP/1.1\nHost: port-39375-box.cmux.test\nIf-None-Match: \"v\"\n" + forwarded + "\n",
		server:     "HTTP/1.1 304 Not Modified\nEtag: \"v\"\n\n",
		wantClient: "HTTP/1.1 304 Not Modified\nConnection: close\n~Date\nEtag: \"v\"\n~X-Request-Id\n\n",
	},
	{
		name:       "PassesRangesOn",
		client:     "GET / HTTP/1.1\nHost: port-39375-box.cmux.test\nRange: bytes=1-3\nConnection: close\n\n",
		wantServer: "GET / HTTP/1.1\nHost: port-39375-box.cmux.test\nRange: bytes=1-3\n" + forwarded + "\n",
		server:     "HTTP/1.1 206 Partial Content\nContent-Range: bytes 1-3/5\nContent-Length: 3\nContent-Type: text/plain\n\nell",
		wantClient: "HTTP/1.1 206 Partial Content\nConnection: close\nContent-Length: 3\nContent-Range: bytes 1-3/5\nContent-Type: text/plain\n~Date\n~X-Request-Id\n\n", wantData: "ell",
	},
	{
		name:       "SendsABodyWithItsLength",
		client:     "POST / HTTP/1.1\nHost: port-39375-box.cmux.test\nContent-Length: 5\nConnection: close\n\n",
		body:       "12345",
		wantServer: "POST / HTTP/1.1\nHost: port-39375-box.cmux.test\nContent-length: 5\n" + forwarded + "\n", wantBody: "12345",
		server: hello, wantClient: helloClient, wantData: "hello",
	},
	{
		name:       "SaysThatABodyIsEmpty",
		client:     "POST / HTTP/1.1\nHost: port-39375-box.cmux.test\nContent-Length: 0\nConnection: close\n\n",
		wantServer: "POST / HTTP/1.1\nHost: port-39375-box.cmux.test\nContent-length: 0\n" + forwarded + "\n",
		server:     hello, wantClient: helloClient, wantData: "hello",
	},
	{
		name:       "GivesADeleteNoBody",
		client:     "DELETE / HTTP/1.1\nHost: port-39375-box.cmux.test\nConnection: close\n\n",
		wantServer: "DELETE / HTTP/1.1\nHost: port-39375-box.cmux.test\n" + forwarded + "\n",
		server:     hello, wantClient: helloClient, wantData: "hello",
	},
	{
		name:       "PassesChunksAndTrailersUp",
		client:     "POST / HTTP/1.1\nHost: port-39375-box.cmux.test\nTransfer-Encoding: chunked\nTrailer: X-Sum\nConnection: close\n\n",
		body:       "3\nabc\n0\nX-Sum: 9\n\n",
		wantServer: "POST / HTTP/1.1\nHost: port-39375-box.cmux.test\nTrailer: X-Sum\nTransfer-Encoding: chunked\n" + forwarded + "\n",
		wantBody:   "3\nabc\n0\nX-Sum: 9\n\n",
		server:     hello, wantClient: helloClient, wantData: "hello",
	},
	{
		name:       "PassesChunksAndTrailersDown",
		client:     "GET / HTTP/1.1\nHost: port-39375-box.cmux.test\nTE: trailers\nConnection: close\n\n",
		wantServer: "GET / HTTP/1.1\nHost: port-39375-box.cmux.test\nTe: trailers\n" + forwarded + "\n",
		server:     "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nTrailer: X-Sum\nContent-Type: text/plain\n\n3\nabc\n0\nX-Sum: 9\n\n",
		wantClient: "HTTP/1.1 200 OK\nConnection: close\nContent-Type: text/plain\n~Date\nTrailer: X-Sum\nTransfer-Encoding: chunked\n~X-Request-Id\n\n",
		wantData:   "3\nabc\n0\nX-Sum: 9\n\n",
	},
	{
		name:       "PassesUnannouncedTrailersDown",
		client:     "GET / HTTP/1.1\nHost: port-39375-box.cmux.test\nConnection: close\n\n",
		wantServer: "GET / HTTP/1.1\nHost: port-39375-box.cmux.test\n" + forwarded + "\n",
		server:     "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nContent-Type: text/plain\n\n3\nabc\n0\nX-Sum: 9\n\n",
		wantClient: "HTTP/1.1 200 OK\nConnection: close\nContent-Type: text/plain\n~Date\nTransfer-Encoding: chunked\n~X-Request-Id\n\n",
		wantData:   "3\nabc\n0\nX-Sum: 9\n\n",
	},
	{
		name:       "EndsAnAnswerWithoutLengthByItsEnd",
		client:     "GET / HTTP/1.1\nHost: port-39375-box.cmux.test\nConnection: close\n\n",
		wantServer: "GET / HTTP/1.1\nHost: port-39375-box.cmux.test\n" + forwarded + "\n",
		server:     "HTTP/1.0 200 OK\nContent-Type: text/plain\n\nabc",
		// In chunks a client can tell this end from a truncation by the edge.
		wantClient: "HTTP/1.1 200 OK\nConnection: close\nContent-Type: text/plain\n~Date\nTransfer-Encoding: chunked\n~X-Request-Id\n\n", wantData: "3\nabc\n0\n\n",
	},
	{
		name:       "AnswersAnHTTP10ClientWithoutChunks",
		client:     "GET / HTTP/1.0\nHost: port-39375-box.cmux.test\n\n",
		wantServer: "GET / HTTP/1.1\nHost: port-39375-box.cmux.test\n" + forwarded + "\n",
		server:     "HTTP/1.1 103 Early Hints\nLink: </a>\n\nHTTP/1.1 200 OK\nTransfer-Encoding: chunked\nContent-Type: text/plain\n\n3\nabc\n0\n\n",
		wantClient: "HTTP/1.0 200 OK\nConnection: close\nContent-Type: text/plain\n~Date\n~X-Request-Id\n\n", wantData: "abc",
	},
	{
		name:       "PassesEarlyHintsOnWithoutHopByHopHeaders",
		client:     "GET / HTTP/1.1\nHost: port-39375-box.cmux.test\nConnection: close\n\n",
		wantServer: "GET / HTTP/1.1\nHost: port-39375-box.cmux.test\n" + forwarded + "\n",
		server:     "HTTP/1.1 103 Early Hints\nLink: </style.css>; rel=preload\nConnection: X-Hop\nX-Hop: 1\nKeep-Alive: 5\n\n" + hello,
		wantClient: "HTTP/1.1 103 Early Hints\nLink: </style.css>; rel=preload\n\n",
		wantData:   "HTTP/1.1 200 OK\nConnection: close\nContent-Length: 5\nContent-Type: text/plain\n~Date\n~X-Request-Id\n\nhello",
	},
	{
		name:       "PassesARefusedUpgradeOn",
		client:     "GET /ws HTTP/1.1\nHost: port-39375-box.cmux.test\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Key: k\nSec-WebSocket-Version: 13\n\n",
		wantServer: "GET /ws HTTP/1.1\nHost: port-39375-box.cmux.test\nConnection: Upgrade\nSec-WebSocket-Key: k\nSec-WebSocket-Version: 13\nUpgrade: websocket\n" + forwarded + "\n",
		server:     "HTTP/1.1 401 Unauthorized\nWww-Authenticate: Basic\nContent-Length: 4\nContent-Type: text/plain\nConnection: close\n\nnope",
		wantClient: "HTTP/1.1 401 Unauthorized\nContent-Length: 4\nContent-Type: text/plain\n~Date\nWww-Authenticate: Basic\n~X-Request-Id\n\n",
		wantData:   "nope", keptAlive: true,
	},
	{
		name:       "ForwardsOptionsForTheWholeServer",
		client:     "OPTIONS * HTTP/1.1\nHost: port-39375-box.cmux.test\nConnection: close\n\n",
		wantServer: "OPTIONS * HTTP/1.1\nHost: port-39375-box.cmux.test\n" + forwarded + "\n",
		server:     hello, wantClient: helloClient, wantData: "hello",
	},
	{
		name:       "ReadsAnAbsoluteTarget",
		client:     "GET http://port-39375-box.cmux.test/a?b HTTP/1.1\nHost: elsewhere.example\nConnection: close\n\n",
		wantServer: "GET /a?b HTTP/1.1\nHost: port-39375-box.cmux.test\n" + forwarded + "\n",
		server:     hello, wantClient: helloClient, wantData: "hello",
	},
}

func TestForwarderCarriesEveryExchangeExactly(t *testing.T) {
	t.Parallel()
	for _, c := range exchangeCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := make(chan [2]string, 1)
			e := newEdge(t, serveRaw(t, func(w *wire) {
				head := w.head()
				if head == "" {
					return
				}
				body := w.bytes(len(crlf(c.wantBody)))
				got <- [2]string{head, body}
				w.send(c.server)
			}))
			client := e.dial(t)
			client.send(c.client + c.body)
			head := client.head()
			var data string
			if c.keptAlive {
				data = client.bytes(len(c.wantData))
			} else {
				data, _ = client.rest()
			}
			server := <-got
			compareHeads(t, "the sandbox got", server[0], c.wantServer)
			if want := crlf(c.wantBody); server[1] != want {
				t.Errorf("the sandbox got the body %q, want %q", server[1], want)
			}
			compareHeads(t, "the client got", head, c.wantClient)
			if strings.Contains(c.wantData, "~") {
				compareHeads(t, "the client got behind that", strings.ReplaceAll(data, "\r\n", "\n"), c.wantData)
			} else if want := c.wantData; data != want && data != crlf(want) {
				t.Errorf("the client got the data %q, want %q", data, want)
			}
		})
	}
}

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

// compareHeads compares two heads. The order of fields with different names
// means nothing (RFC 9110 section 5.3), and "~Name" is any value.
func compareHeads(t *testing.T, what, got, want string) {
	t.Helper()
	if diff := cmp.Diff(headLines(want, want), headLines(got, want)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// headLines are the lines of a head, by name, with values that want leaves
// open taken out.
func headLines(head, want string) map[string][]string {
	lines := make(map[string][]string)
	first := true
	for line := range strings.SplitSeq(head, "\n") {
		name, _, _ := strings.Cut(line, ":")
		if open := strings.TrimPrefix(name, "~"); strings.Contains(want, "~"+open+"\n") && open != "" {
			name, line = open, "~"+open
		}
		if first {
			name, first = "", false
		}
		lines[name] = append(lines[name], line)
	}
	return lines
}

// targets are request targets that must arrive as they were sent.
var targets = []string{
	"/", "/?", "/a?", "/a?b=1;c=2&d", "/a;b", "/a%2Fb", "/a%2Fb|c", "/a%2fb^c", `/a"b`, `/a\b`, "/\x80\xff", "/ä", "/%C3%A4ä",
	"//evil.example/x", "//evil.example/%2F|x", "//", "///", "/a//b", "/../a/./b/..", "/%2e%2e/a", "/a?%zz", "/a?b?c", "/a?b#", "/a?|^`{}",
	"/:80", "/@host", "//user@evil.example:80/x", "/a%20b+c", "/*", "/http://x/", "/a%00b", "/%3F?%3F", "//a?b", "//%2F", "//[::1]/x",
	"/a&b=c", "/~a!b$c'd(e)f", "/a%2", "/%",
}

func TestForwarderKeepsTheTargetByteForByte(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	e := newEdge(t, serveRaw(t, func(w *wire) {
		for {
			head := w.head()
			if head == "" {
				return
			}
			line, _, _ := strings.Cut(head, "\n")
			got <- line
			w.send("HTTP/1.1 204 No Content\n\n")
		}
	}))
	for _, target := range targets {
		w := e.dial(t)
		w.send("GET " + target + " HTTP/1.1\nHost: " + testHost + "\n\n")
		resp := w.response(http.MethodGet)
		path, _, _ := strings.Cut(target, "?")
		if resp.StatusCode == http.StatusBadRequest && strings.Contains(path, "%") {
			// net/http refuses what is no valid escape before a handler sees it.
			if target != "/a%2" && target != "/%" {
				t.Errorf("%q is refused", target)
			}
			continue
		}
		if resp.StatusCode != http.StatusNoContent {
			t.Errorf("%q: status %d", target, resp.StatusCode)
			continue
		}
		line := strings.TrimSuffix(strings.TrimPrefix(<-got, "GET "), " HTTP/1.1")
		// The absolute form says the same (RFC 9112 section 3.2.2).
		if line != target && line != "http://"+testHost+target {
			t.Errorf("sent %q, the sandbox got %q", target, line)
		}
	}
}
