package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/promscope/promscope/bridge/plugin/probetest"
)

// The limits of TestFullMap.
const (
	fullConnections = 8
	fullProcesses   = 2
)

// keptConnection is a connection to an HTTP server that stays open.
type keptConnection struct {
	net.Conn
	answers *bufio.Reader
}

func keepConnection(t *testing.T, address string) keptConnection {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return keptConnection{conn, bufio.NewReader(conn)}
}

// request makes a request, and reads its answer.
func (c keptConnection) request(t *testing.T) {
	t.Helper()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(c.answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
}

// More connections and processes than the maps of the collector http have room for: what
// is beyond is not counted, but its number is, in the metrics and on the page, and what
// fits goes on. When there is room again it is used.
func TestFullMap(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		unmet(t, "needs root, for the collector http")
	}
	var servers [3]*process
	var addresses, ports [3]string
	for i := range servers {
		servers[i], addresses[i] = startRole(t, 0, nil, "server 127.0.0.1:0")
		_, ports[i], _ = net.SplitHostPort(addresses[i])
	}
	p := startPlugin(t, strings.Replace(steadyConfig(t), "http: {enabled: false}", fmt.Sprintf(
		"http: {own_requests: true, max_connections: %d, max_processes: %d, ports: {include: [%s]}}", fullConnections, fullProcesses, strings.Join(ports[:], ", ")), 1)+
		`  - {metric: requests, label: Requests, expr: sum by (pid) (promscope_http_requests_total), node: {process: pid}}
`)
	client := probe(t, p)
	recovers(t, p, client, 20*time.Second)
	if p.figure(t, `promscope_collector_running{collector="http"}`) != 1 {
		unmet(t, "the collector http does not run here:\n%s", p.output)
	}
	shows := func(what string, check func(*probetest.Report) error) {
		t.Helper()
		eventually(t, 20*time.Second, what, func() error {
			report, err := client.Poll(t.Context())
			if err != nil {
				return err
			}
			if err := judge(t, p, report); err != nil { // what has nothing to do with it goes on
				return err
			}
			return check(report)
		})
	}
	counted := func(r *probetest.Report, server *process, want float64) error {
		if got, _ := r.Value("Process", processNode(server), "requests"); got != want {
			return fmt.Errorf("process %d shows %v requests, want %v", server.Process.Pid, got, want)
		}
		return nil
	}
	page := func(facts ...string) {
		t.Helper()
		_, body, err := get(t.Context(), p.web+"/api/v1/collectors")
		if err != nil {
			t.Fatal(err)
		}
		for _, fact := range facts {
			if !strings.Contains(body, fact) {
				t.Errorf("no %s in %s", fact, body)
			}
		}
	}

	// Five connections too many: no request of theirs counts.
	const beyond = 5
	var connections []keptConnection
	for range fullConnections + beyond {
		c := keepConnection(t, addresses[0])
		c.request(t)
		connections = append(connections, c)
	}
	for range 3 {
		for _, c := range connections {
			c.request(t)
		}
	}
	shows("a full map of connections", func(r *probetest.Report) error { return counted(r, servers[0], 4*fullConnections) })
	for series, want := range map[string]float64{
		`promscope_http_connections`:                            fullConnections,
		`promscope_http_connections_lost_total{reason="limit"}`: beyond,
		`promscope_http_requests_lost_total`:                    0,
	} {
		if got := p.figure(t, series); got != want {
			t.Errorf("%s is %v, want %v", series, got, want)
		}
	}
	page(fmt.Sprintf(`"name":"Connections lost: too many","value":"%d"`, beyond))

	// There is room again.
	for _, c := range connections {
		c.Close()
	}
	eventually(t, 20*time.Second, "the end of all connections", func() error {
		if n := p.figure(t, "promscope_http_connections"); n != 0 {
			return fmt.Errorf("%v connections are tracked", n)
		}
		return nil
	})
	keepConnection(t, addresses[0]).request(t)
	shows("a connection that fits", func(r *probetest.Report) error { return counted(r, servers[0], 4*fullConnections+1) })

	// A process too many: it takes the place of the one that was idle the longest, and what
	// it served until then is lost, and counted as that.
	keepConnection(t, addresses[1]).request(t)
	shows("the second process", func(r *probetest.Report) error { return counted(r, servers[1], 1) })
	third, made := keepConnection(t, addresses[2]), 0.0
	shows("the third process", func(r *probetest.Report) error {
		if _, there := r.Value("Process", processNode(servers[2]), "requests"); there {
			return nil
		}
		third.request(t)
		made++
		return errNotYet
	})
	lost := p.figure(t, "promscope_http_requests_lost_total")
	if lost < 1 || p.figure(t, "promscope_http_process_evictions_total") < 1 {
		t.Errorf("%v requests are lost, and %v processes made room", lost, p.figure(t, "promscope_http_process_evictions_total"))
	}
	shows("what fits", func(r *probetest.Report) error {
		if v, there := r.Value("Process", processNode(servers[0]), "requests"); there {
			return fmt.Errorf("the process that made room still shows %v requests", v)
		}
		if err := counted(r, servers[1], 1); err != nil {
			return err
		}
		return counted(r, servers[2], made-lost)
	})
	page(fmt.Sprintf(`"name":"Requests lost: too many processes","value":"%v"`, lost))
	if log := p.output.String(); strings.Contains(log, "level=ERROR") || strings.Count(log, "\n") > 20 {
		t.Errorf("the log:\n%s", log)
	}
}
