package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/promscope/promscope/bridge/plugin/probetest"
)

// crowd is how many bad clients of a kind there are at a time.
const crowd = 1000

// badClients do to a server, over connections that dial makes, what no good client
// does, until ctx is done.
type badClients func(ctx context.Context, dial func() (net.Conn, error))

// each keeps n clients at it, each with one connection after another.
func each(n int, client func(ctx context.Context, conn net.Conn)) badClients {
	return func(ctx context.Context, dial func() (net.Conn, error)) {
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() {
				for ctx.Err() == nil {
					conn, err := dial()
					if err != nil { // as it may be in the crowd
						pause(ctx, 10*time.Millisecond)
						continue
					}
					stop := context.AfterFunc(ctx, func() { conn.Close() })
					client(ctx, conn)
					stop()
					conn.Close()
					// An attack that only dials says more of the one who dials.
					pause(ctx, 100*time.Millisecond)
				}
			})
		}
		wg.Wait()
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// says sends a text and waits for the server to end the connection.
func says(text string) func(context.Context, net.Conn) {
	return func(_ context.Context, conn net.Conn) {
		_, _ = io.WriteString(conn, text)
		_, _ = io.Copy(io.Discard, conn)
	}
}

// allBadClients are those of both servers, by name; path is one that the server answers.
func allBadClients(path string) map[string]badClients {
	request := "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n"
	large := strings.Repeat("x", 10<<20)
	return map[string]badClients{
		"nothing said": each(crowd, says("")),
		"half open":    each(crowd, says("GET "+path+" HTTP/1.1\r\nHost: loc")),
		"slow reader": each(crowd/5, func(ctx context.Context, conn net.Conn) {
			// Many answers are asked for, and none is read.
			_, _ = io.WriteString(conn, strings.Repeat(request, 1000))
			pause(ctx, time.Minute)
		}),
		"slow writer": each(crowd/5, func(ctx context.Context, conn net.Conn) {
			for _, c := range request {
				if _, err := conn.Write([]byte(string(c))); err != nil {
					return
				}
				pause(ctx, 100*time.Millisecond)
			}
		}),
		"10 MB header": each(4, says("GET "+path+" HTTP/1.1\r\nHost: localhost\r\nX: "+large+"\r\n\r\n")),
		"10 MB body":   each(4, says("POST "+path+" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10485760\r\n\r\n"+large)),
		"chunks for ever": each(4, func(ctx context.Context, conn net.Conn) {
			go func() { _, _ = io.Copy(io.Discard, conn) }()
			text := "POST " + path + " HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
			for ctx.Err() == nil {
				if _, err := io.WriteString(conn, text); err != nil {
					return
				}
				text = "1\r\nx\r\n"
			}
		}),
		"garbage": each(crowd/5, says("\x16\x03\x01\x00\xa5\x00\xff\r\n\r\n\x00"+strings.Repeat("\xff\x00\n", 1000))),
		"a crowd that polls": each(crowd, func(ctx context.Context, conn net.Conn) {
			_, _ = io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
			_, _ = io.Copy(io.Discard, conn)
			pause(ctx, time.Second)
		}),
	}
}

// ask has n clients ask for URLs in a loop, each time for another one.
func asks(n int, url func(i int) string) badClients {
	return func(ctx context.Context, dial func() (net.Conn, error)) {
		client := &http.Client{Transport: &http.Transport{
			MaxIdleConnsPerHost: n,
			DialContext:         func(context.Context, string, string) (net.Conn, error) { return dial() },
		}}
		defer client.CloseIdleConnections()
		var wg sync.WaitGroup
		for c := range n {
			wg.Go(func() {
				for i := c; ctx.Err() == nil; i += n {
					req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+url(i), nil)
					if err != nil {
						return
					}
					if resp, err := client.Do(req); err == nil {
						_, _ = io.Copy(io.Discard, resp.Body)
						resp.Body.Close()
					} else {
						pause(ctx, 10*time.Millisecond)
					}
				}
			})
		}
		wg.Wait()
	}
}

// clientsOf are the bad clients of a server, by name: of the plugin's socket, or of the
// debug port.
func clientsOf(network string) map[string]badClients {
	if network == "unix" {
		return allBadClients("/report")
	}
	all := allBadClients("/nodes")
	for name, url := range map[string]func(int) string{
		"explain":     func(i int) string { return "/api/v1/explain?subject=series_" + strconv.Itoa(i) },
		"metrics":     func(int) string { return "/metrics" },
		"pages":       func(int) string { return "/nodes" },
		"range query": func(int) string { return "/api/v1/query_range?" + heavyQuery },
	} {
		all[name] = asks(50, url)
	}
	return all
}

// playBadClients attacks the server at a network's address until it is killed.
func playBadClients(argument string) error {
	network, rest, _ := strings.Cut(argument, " ")
	address, name, _ := strings.Cut(rest, " ")
	clients := clientsOf(network)[name]
	if clients == nil {
		return fmt.Errorf("there are no such bad clients: %s", name)
	}
	go clients(context.Background(), func() (net.Conn, error) { return net.DialTimeout(network, address, time.Second) })
	fmt.Println("attacks")
	return nil
}

// heavyQuery is what takes long for each point.
var heavyQuery = url.Values{
	"query": {`sum by (i) (rate({__name__=~".+"}[1m]))`},
	"start": {"2026-01-01T00:00:00Z"}, "end": {"2026-01-01T02:00:00Z"}, "step": {"1s"},
}.Encode()

const scrapesOne = noPresets + `
global: {scrape_interval: 1s}
collectors: {http: {enabled: false}}
scrape_configs: [{job_name: good, static_configs: [{targets: ["%s"]}]}]
rules:
  - {metric: good, label: Good, expr: count(good), node: host}
`

// manySeries is an exposition of n series.
func manySeries(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "good{i=\"%d\"} 1\n", i)
	}
	return b.String()
}

// attack has bad clients at work, and returns what ends them.
func (p *plugin) attack(t testing.TB, network, name string) (end func()) {
	t.Helper()
	address := p.socket
	if network == "tcp" {
		address = strings.TrimPrefix(p.web, "http://")
	}
	clients, _ := startRole(t, 0, nil, "bad "+network+" "+address+" "+name)
	time.Sleep(time.Second) // they have to get going
	return clients.kill
}

// pollsOf polls each of them in turn, over a new connection first, and keeps the times.
func pollsOf(t testing.TB, n int, plugins ...*plugin) []*probetest.Client {
	t.Helper()
	clients := make([]*probetest.Client, len(plugins))
	for i, p := range plugins {
		clients[i] = probetest.NewClient(p.socket, probetest.Options{Host: hostName, Timeout: 5 * time.Second})
		defer clients[i].Close()
	}
	for range n {
		for _, client := range clients {
			if _, err := client.Poll(t.Context()); err != nil {
				t.Error(err)
				return clients
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	return clients
}

func TestTryClients(t *testing.T) {
	e := newExporter(t, manySeries(1000))
	p := startPlugin(t, fmt.Sprintf(scrapesOne, e.address()))
	other := startPlugin(t, nothingToScrape)
	await(t, probe(t, p), "good")
	show := func(name string) {
		e.mu.Lock()
		before := e.scrapes
		e.mu.Unlock()
		c := pollsOf(t, 300, p, other)
		began := time.Now()
		status, _, _ := get(t.Context(), p.web+"/-/healthy")
		health := time.Since(began)
		rss := ""
		for _, l := range strings.Split(p.metrics(t), "\n") {
			if strings.HasPrefix(l, "process_resident_memory_bytes ") || strings.HasPrefix(l, "go_goroutines ") || strings.HasPrefix(l, "process_open_fds ") {
				rss += " " + l
			}
		}
		t.Logf("%-35s p50 %8s p99 %8s other %8s %8s healthy %d %s %s scrapes %d", name, c[0].Latency(0.5), c[0].Latency(0.99), c[1].Latency(0.5), c[1].Latency(0.99), status, health, rss, e.scrapes-before)
	}
	show("nothing")
	for _, network := range []string{"unix", "tcp"} {
		for name := range clientsOf(network) {
			end := p.attack(t, network, name)
			show(network + " " + name)
			end()
		}
	}
}
