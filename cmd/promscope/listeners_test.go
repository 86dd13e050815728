package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// getUnix asks over a unix socket.
func getUnix(ctx context.Context, socket, path string) (int, string, error) {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://plugin"+path, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// hostile are listeners that do everything but serve an exposition.
var hostile = map[string]struct {
	result string // what comes of asking
	answer func(net.Conn)
}{
	"says nothing": {"timeout", func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }},
	"hangs up":     {"error", func(net.Conn) {}},
	"binary":       {"error", func(c net.Conn) { _, _ = c.Write(make([]byte, 100_000)) }},
	"binary in HTTP": {"other", func(c net.Conn) {
		readRequest(c)
		fmt.Fprint(c, "HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n\r\n")
		_, _ = c.Write(make([]byte, 100_000))
	}},
	"endless": {"timeout", func(c net.Conn) {
		fmt.Fprint(c, "HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n\r\n")
		for i := 0; ; i++ {
			if _, err := fmt.Fprintf(c, "endless{i=\"%d\"} 1\n", i); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}},
	"endless header": {"error", func(c net.Conn) {
		fmt.Fprint(c, "HTTP/1.0 200 OK\r\n")
		for {
			if _, err := fmt.Fprintf(c, "X-More: %s\r\n", strings.Repeat("x", 1000)); err != nil {
				return
			}
		}
	}},
	"drips": {"timeout", func(c net.Conn) {
		for _, b := range "HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n\r\n" {
			if _, err := c.Write([]byte{byte(b)}); err != nil {
				return
			}
			time.Sleep(200 * time.Millisecond)
		}
	}},
	"sends elsewhere": {"other", func(c net.Conn) {
		readRequest(c)
		fmt.Fprint(c, "HTTP/1.0 302 Found\r\nLocation: http://127.0.0.1:9600/metrics\r\nContent-Length: 0\r\n\r\n")
	}},
	"a web page": {"other", func(c net.Conn) {
		readRequest(c)
		fmt.Fprint(c, "HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n<html>metric 1\n</html>")
	}},
}

// readRequest reads the request, so that closing the connection does not reset it.
func readRequest(c net.Conn) { _, _ = http.ReadRequest(bufio.NewReader(c)) }

// counter counts the connections to a port that come from processes in the
// sandbox. Other tests' promscopes, which cannot be seen here, look into it, too.
type counter struct{ n atomic.Int64 }

func (c *counter) count(conn net.Conn) {
	_, port, _ := net.SplitHostPort(conn.RemoteAddr().String())
	number, _ := strconv.Atoi(port)
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		rows, _ := os.ReadFile(table)
		for row := range strings.Lines(string(rows)) {
			fields := strings.Fields(row)
			if len(fields) > 9 && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", number)) && isHeld(fields[9]) {
				c.n.Add(1)
				return
			}
		}
	}
}

func isHeld(inode string) bool {
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		if target, _ := os.Readlink(fd); target == "socket:["+inode+"]" {
			return true
		}
	}
	return false
}

// countedListener counts the connections to a port.
func countedListener(t *testing.T, address string, answer func(net.Conn)) *counter {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	count := &counter{}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				count.count(c)
				answer(c)
			}()
		}
	}()
	return count
}

// Whatever listens is asked with one connection, and is no target if it is no
// exporter.
func TestHostileListeners(t *testing.T) {
	t.Parallel()
	if !inSandbox(t, ownNetwork|ownProcesses) {
		return
	}
	connections, results := map[string]*counter{}, map[string]int{"exposition": 1}
	port := 9601
	for name, h := range hostile {
		connections[name] = countedListener(t, fmt.Sprintf("127.0.0.1:%d", port), h.answer)
		results[h.result]++
		port++
	}
	outside := countedListener(t, "127.0.0.1:9089", func(net.Conn) {})
	serveExporter(t, "127.0.0.1:9600", "good 1\n")

	p := startPlugin(t, noPresets+`
scrape_configs: [{job_name: local, listener_sd_configs: [{interval: 1s}]}]
rules:
  - {metric: good, label: Good, expr: good, node: host}
  - {metric: late, label: Late, expr: late, node: host}
`)
	client := probe(t, p)
	await(t, client, "good")
	eventually(t, 10*time.Second, "the result of each", func() error {
		metrics := p.metrics(t)
		for result, n := range results {
			series := fmt.Sprintf("promscope_listener_probes_total{result=%q}", result)
			if got := value(metrics, series); got != float64(n) {
				return fmt.Errorf("%s is %v, want %d", series, got, n)
			}
		}
		return nil
	})
	// Once more it looks at all of them, and finds one that is new. Those that may be
	// starting are asked again after 10 s only.
	serveExporter(t, "127.0.0.1:9650", "late 1\n")
	results["exposition"]++
	await(t, client, "late")

	for name, count := range connections {
		if n := count.n.Load(); n != 1 {
			t.Errorf("%s: %d connections, want 1", name, n)
		}
	}
	if n := outside.n.Load(); n != 0 {
		t.Errorf("a port that is not to be asked was asked %d times", n)
	}
	metrics := p.metrics(t)
	for result, n := range results {
		if want := fmt.Sprintf("promscope_listener_probes_total{result=%q} %d", result, n); !strings.Contains(metrics, want) {
			t.Errorf("no %s in /metrics", want)
		}
	}
	for health, n := range map[string]float64{"up": 2, "down": 0, "unknown": 0} {
		if got := value(metrics, fmt.Sprintf("promscope_targets{health=%q,job=\"local\"}", health)); got != n {
			t.Errorf("%v targets are %s, want %v", got, health, n)
		}
	}
}

// value returns the value of a series of an exposition, 0 if it is not there.
func value(exposition, series string) float64 {
	for line := range strings.Lines(exposition) {
		if v, ok := strings.CutPrefix(line, series+" "); ok {
			f, _ := strconv.ParseFloat(strings.TrimSpace(v), 64)
			return f
		}
	}
	return 0
}

// What another job scrapes, and promscope's own debug server, are not found a
// second time, whatever the address they go by.
func TestNothingTwice(t *testing.T) {
	t.Parallel()
	if !inSandbox(t, ownNetwork|ownProcesses) {
		return
	}
	serveExporter(t, ":9600", "good 1\n")
	p := startPlugin(t, noPresets+`
scrape_configs:
  - job_name: named
    static_configs: [{targets: ["localhost:9600"]}]
  - job_name: local
    listener_sd_configs: [{interval: 1s, ports: [1-65535]}]
rules:
  - {metric: good, label: Good, expr: sum(good), node: host}
  - {metric: late, label: Late, expr: sum(late), node: host}
`)
	client := probe(t, p)
	await(t, client, "good")
	// What nobody has named is found, in the first look after that or a later one.
	serveExporter(t, ":9700", "late 1\n")
	await(t, client, "late")
	if v, _ := poll(t, client, 1).Value("Host", hostNode, "good"); v != 1 {
		t.Errorf("the sum is %v: it is scraped twice", v)
	}
	metrics := p.metrics(t)
	for series, want := range map[string]float64{
		`promscope_targets{health="up",job="named"}`:           1,
		`promscope_targets{health="up",job="local"}`:           1,
		`promscope_targets{health="down",job="local"}`:         0,
		`promscope_targets{health="unknown",job="local"}`:      0,
		`promscope_listener_probes_total{result="exposition"}`: 1,
	} {
		if got := value(metrics, series); got != want {
			t.Errorf("%s is %v, want %v", series, got, want)
		}
	}
}
