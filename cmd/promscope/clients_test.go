package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
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

// allBadClients are those of both servers, by name; the endpoint is one that
// the server answers.
func allBadClients(endpoint string) map[string]badClients {
	request := "GET " + endpoint + " HTTP/1.1\r\nHost: localhost\r\n\r\n"
	large := strings.Repeat("x", 10<<20)
	return map[string]badClients{
		"nothing said": each(crowd, says("")),
		"half open":    each(crowd, says("GET "+endpoint+" HTTP/1.1\r\nHost: loc")),
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
		"10 MB header": each(4, says("GET "+endpoint+" HTTP/1.1\r\nHost: localhost\r\nX: "+large+"\r\n\r\n")),
		"10 MB body":   each(4, says("POST "+endpoint+" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10485760\r\n\r\n"+large)),
		"chunks for ever": each(4, func(ctx context.Context, conn net.Conn) {
			go func() { _, _ = io.Copy(io.Discard, conn) }()
			text := "POST " + endpoint + " HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
			for ctx.Err() == nil {
				if _, err := io.WriteString(conn, text); err != nil {
					return
				}
				text = "1\r\nx\r\n"
			}
		}),
		"garbage": each(crowd/5, says("\x16\x03\x01\x00\xa5\x00\xff\r\n\r\n\x00"+strings.Repeat("\xff\x00\n", 1000))),
		"a crowd that polls": each(crowd, func(ctx context.Context, conn net.Conn) {
			_, _ = io.WriteString(conn, "GET "+endpoint+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
			_, _ = io.Copy(io.Discard, conn)
			pause(ctx, time.Second)
		}),
	}
}

// asks has n clients ask for URLs in a loop, each time for another one.
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

// pollsOf polls each of them in turn, and returns how long the polls of each took,
// ascending.
func pollsOf(t testing.TB, n int, clients ...*probetest.Client) [][]time.Duration {
	t.Helper()
	took := make([][]time.Duration, len(clients))
	for range n {
		for i, client := range clients {
			began := time.Now()
			if _, err := client.Poll(t.Context()); err != nil {
				t.Fatal(err)
			}
			took[i] = append(took[i], time.Since(began))
		}
		time.Sleep(5 * time.Millisecond)
	}
	for _, times := range took {
		slices.Sort(times)
	}
	return took
}

// figure is the value of one of promscope's own metrics.
func (p *plugin) figure(t testing.TB, name string) float64 {
	t.Helper()
	for line := range strings.Lines(p.metrics(t)) {
		if value, found := strings.CutPrefix(line, name+" "); found {
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	t.Fatalf("there is no %s", name)
	return 0
}

// Bad clients of the socket and of the debug port do not delay the probe's polls, and
// take no more than their share. BenchmarkPollBesideBadClients has the figures: this
// machine may be busy with other tests, so that a promscope which nobody attacks is
// polled in turn with the one that is.
func TestBadClients(t *testing.T) {
	e := newExporter(t, manySeries(1000))
	p := startPlugin(t, fmt.Sprintf(scrapesOne, e.address()))
	other := startPlugin(t, nothingToScrape)
	await(t, probe(t, p), "good")
	scrapes := func() int {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.scrapes
	}
	const (
		median   = 10 * time.Millisecond
		late     = 200 * time.Millisecond // p99
		sockets  = 128 + 32 + 20          // connections of both servers; those that listen, of scrapes and of inquiries
		residing = 150 << 20
	)
	for _, network := range []string{"unix", "tcp"} {
		for name := range clientsOf(network) {
			t.Run(network+"/"+name, func(t *testing.T) {
				// The probe was there before.
				var probes []*probetest.Client
				for _, p := range []*plugin{p, other} {
					client := probetest.NewClient(p.socket, probetest.Options{Host: hostName, Timeout: 5 * time.Second})
					defer client.Close()
					probes = append(probes, client)
				}
				pollsOf(t, 1, probes...)
				end := p.attack(t, network, name)
				defer end()
				began, before := time.Now(), scrapes()
				for goes := 1; ; goes++ {
					took := pollsOf(t, 100, probes...)
					p50, p99, usual50, usual99 := took[0][49], took[0][98], took[1][49], took[1][98]
					if p50 <= max(unhurried(median), 3*usual50) && p99 <= max(unhurried(late), 5*usual99) {
						break
					}
					if goes == 3 {
						t.Errorf("polls take %s and %s (p99), and %s and %s of one that is left alone", p50, p99, usual50, usual99)
						break
					}
				}
				// Twice what scraping each second takes, and two for the beginning and the end.
				if n, most := scrapes()-before, 2*int(time.Since(began)/time.Second)+3; n > most {
					t.Errorf("the target was asked %d times in %s, want at most %d", n, time.Since(began), most)
				}
				// Whoever watches over promscope does not take it for dead.
				if status, body, err := get(t.Context(), p.web+"/-/healthy"); err != nil || status != http.StatusOK {
					t.Errorf("/-/healthy: status %d, %s, %v", status, body, err)
				}
				end()
				if n := openFiles(p.Process.Pid).sockets; n > sockets {
					t.Errorf("%d sockets are open", n)
				}
				if n := p.figure(t, "process_resident_memory_bytes"); n > residing && !raceDetector() {
					t.Errorf("promscope takes %v MB", n/1e6)
				}
			})
		}
	}
	if log := p.output.String(); strings.Count(log, "\n") > 20 {
		t.Errorf("clients fill the log:\n%s", log)
	}
}

// BenchmarkPollBesideBadClients reports how long polls take meanwhile. The bad clients
// are a process of their own, on the same CPUs.
func BenchmarkPollBesideBadClients(b *testing.B) {
	for _, network := range []string{"", "unix", "tcp"} {
		names := []string{"nothing"}
		if network != "" {
			names = slices.Sorted(maps.Keys(clientsOf(network)))
		}
		for _, name := range names {
			b.Run(path.Join(network, name), func(b *testing.B) {
				p := startPlugin(b, nothingToScrape)
				if network != "" {
					defer p.attack(b, network, name)()
				}
				client := probetest.NewClient(p.socket, probetest.Options{Host: hostName, Timeout: 5 * time.Second})
				defer client.Close()
				// A crowd may close a connection before it is served: a probe polls again a second later.
				polls, failed := 0, 0
				for b.Loop() {
					polls++
					if _, err := client.Fetch(b.Context()); err != nil {
						if failed++; failed > 1+polls/100 {
							b.Fatal(err)
						}
					}
					time.Sleep(5 * time.Millisecond)
				}
				b.ReportMetric(float64(client.Latency(0.5).Microseconds()), "p50-µs")
				b.ReportMetric(float64(client.Latency(0.99).Microseconds()), "p99-µs")
				b.ReportMetric(0, "ns/op") // most of it is the pause
			})
		}
	}
}
