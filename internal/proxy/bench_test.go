package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// BenchmarkRequest is one warm request with a small answer, over kept
// connections, through the edge and through httputil.ReverseProxy with nothing
// added. Compare cpu-ns/op: it is both ends' and the proxy's CPU time, so the
// direct case is to be taken off each.
func BenchmarkRequest(b *testing.B) {
	answer := []byte("hello, world")
	upstream := serveHTTP(b, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write(answer)
	})
	b.Run("direct", func(b *testing.B) { benchmarkRequest(b, upstream) })
	b.Run("reverseproxy", func(b *testing.B) { benchmarkRequest(b, plainProxy(b, upstream)) })
	b.Run("edge", func(b *testing.B) { benchmarkRequest(b, newBenchEdge(b, upstream).addr) })
}

// BenchmarkDocument is a document of 100 kB from an app, as it comes and with
// the head script put into it: as plain text, and compressed, which has to be
// undone and done again.
func BenchmarkDocument(b *testing.B) {
	text := "<!doctype html><html><head><title>x</title></head><body>" + strings.Repeat("<p class=\"a\">a paragraph like any other</p>\n", 2300)
	for _, name := range []string{"identity", "gzip", "br", "zstd"} {
		c, _ := codingOf([]string{name})
		sent := []byte(text)
		if c.encode != nil {
			sent = compress(b, c, text)
		}
		upstream := serveHTTP(b, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Header().Set("Content-Encoding", name)
			w.Header().Set("Content-Length", strconv.Itoa(len(sent)))
			_, _ = w.Write(sent)
		})
		for how, on := range map[string]bool{"as it comes": false, "inserted": true} {
			b.Run(name+"/"+how, func(b *testing.B) {
				e := newEdge(b, upstream, func(c *Config) { c.HeadScript = on })
				e.Handler.log = quiet
				benchmarkHost(b, e.addr, appHost)
			})
		}
	}
}

func benchmarkRequest(b *testing.B, address string) { benchmarkHost(b, address, testHost) }

func benchmarkHost(b *testing.B, address, host string) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	request := []byte("GET /some/path?q=1 HTTP/1.1\r\nHost: " + host + "\r\nUser-Agent: bench\r\nAccept: */*\r\nAccept-Encoding: gzip\r\nCookie: session=0123456789abcdef\r\n\r\n")
	r := bufio.NewReader(conn)
	b.ReportAllocs()
	before := cpuTime(b)
	for b.Loop() {
		if _, err := conn.Write(request); err != nil {
			b.Fatal(err)
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
}

// BenchmarkEventLatency is the time from a sandbox's write of a server-sent
// event to its arrival at the client.
func BenchmarkEventLatency(b *testing.B) {
	next, sent := make(chan struct{}), make(chan time.Time, 1)
	upstream := serveHTTP(b, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		flush := http.NewResponseController(w).Flush
		_ = flush()
		for {
			select {
			case <-next:
			case <-r.Context().Done():
				return
			}
			sent <- time.Now()
			_, _ = io.WriteString(w, "data: x\n\n")
			_ = flush()
		}
	})
	for name, address := range map[string]string{"direct": upstream, "edge": newBenchEdge(b, upstream).addr} {
		b.Run(name, func(b *testing.B) {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", testHost)
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				b.Fatal(err)
			}
			event := make([]byte, len("data: x\n\n"))
			var total time.Duration
			for b.Loop() {
				next <- struct{}{}
				if _, err := io.ReadFull(resp.Body, event); err != nil {
					b.Fatal(err)
				}
				total += time.Since(<-sent)
			}
			b.ReportMetric(float64(total)/float64(b.N), "latency-ns/op")
		})
	}
}

// newBenchEdge is an edge that logs nothing below a warning.
func newBenchEdge(b *testing.B, upstream string) *edge {
	e := newEdge(b, upstream)
	e.Handler.log = quiet
	return e
}

// plainProxy is the peer: Go's own, with a pool of the same size.
func plainProxy(b *testing.B, upstream string) string {
	target := &url.URL{Scheme: "http", Host: upstream}
	transport := &http.Transport{MaxIdleConnsPerHost: 4, DisableCompression: true}
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.SetXForwarded()
	}}
	l := listen(b)
	server := &http.Server{Handler: proxy}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	b.Cleanup(func() {
		_ = server.Shutdown(context.Background())
		serving.Wait()
		transport.CloseIdleConnections()
	})
	return l.Addr().String()
}

// cpuTime is the CPU time of the process so far, user and system.
func cpuTime(b *testing.B) time.Duration {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}
