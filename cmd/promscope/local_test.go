package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/promscope/promscope/bridge/plugin/probetest"
)

// The intervals of the default configuration.
const (
	lookInterval   = 5 * time.Second
	scrapeInterval = 5 * time.Second
)

// local is a program with an exporter, and what is expected of it without any
// configuration.
type local struct {
	name   string
	node   string   // key of the node
	topo   string   // its topology
	gauges []string // there after the first scrape
	rates  []string // there after the second
}

func processNode(p *process) string { return fmt.Sprintf("%s;%d", hostName, p.Process.Pid) }

// missing returns what the report does not have.
func (l local) missing(r *probetest.Report, metrics []string) error {
	for _, metric := range metrics {
		if _, ok := r.Value(l.topo, l.node, metric); !ok {
			return fmt.Errorf("no %s of %s on %s", metric, l.name, l.node)
		}
	}
	return nil
}

// scrapedOften makes the default configuration scrape each second, for rates to be
// there sooner. TestNoConfiguration has its own intervals.
const scrapedOften = "global: {scrape_interval: 1s}\n"

// allShown shows all that the presets have on programs, also what is off by default.
const allShown = scrapedOften + `presets:
  include: [node_exporter, process, client_golang, client_golang/full, client_java, client_java/full,
    client_nodejs, client_nodejs/full, client_python, http_handlers, redis_exporter, nginx_exporter]
`

// Programs with exporters on their default ports, and promscope with its default job:
// each metric is on the node that it speaks of.
func TestLocal(t *testing.T) {
	t.Parallel()
	if !inSandbox(t, ownNetwork|ownProcesses, nodeExporter) {
		return
	}
	p := startPlugin(t, allShown)
	client := probe(t, p)
	poll(t, client, 1)

	nodePath, err := nodeExporter()
	if err != nil {
		t.Fatal(err)
	}
	redisServer := start(t, program(t, "redis-server", "redis-server"), "--port", "6379", "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir())
	awaitListener(t, "127.0.0.1:6379")
	nginx := startNginx(t, "127.0.0.1:8080")
	redis := start(t, program(t, "prometheus-redis-exporter", "redis_exporter", "prometheus-redis-exporter"))
	nginxExporter := start(t, program(t, "prometheus-nginx-exporter", "nginx-prometheus-exporter", "prometheus-nginx-exporter"),
		"-nginx.scrape-uri=http://127.0.0.1:8080/stub_status")
	node := start(t, nodePath)
	golang, _ := startRole(t, 0, nil, "golang 127.0.0.1:9400")
	python := startPython(t, "127.0.0.1", 9500)
	for _, port := range []int{9100, 9113, 9121, 9400, 9500} {
		awaitListener(t, fmt.Sprintf("127.0.0.1:%d", port))
	}
	began := time.Now()
	asked := traffic(t, "http://127.0.0.1:8080/", "http://127.0.0.1:9400/")
	redisTraffic(t, "127.0.0.1:6379")

	programs := []local{
		{"node_exporter", hostNode, "Host",
			[]string{"promscope_node_memory_available", "promscope_node_filesystem_used__"},
			[]string{"promscope_node_context_switches", "promscope_node_forks"}},
		{"node_exporter itself", processNode(node), "Process",
			[]string{"promscope_go_goroutines", "promscope_go_threads", "promscope_process_fds_used"},
			[]string{"promscope_go_allocated"}},
		{"redis", processNode(redisServer), "Process",
			[]string{"promscope_redis_clients", "promscope_redis_memory"},
			[]string{"promscope_redis_commands", "promscope_redis_hits", "promscope_redis_evicted"}},
		{"redis_exporter itself", processNode(redis), "Process",
			[]string{"promscope_go_goroutines", "promscope_process_fds_used"}, nil},
		{"nginx", processNode(nginx), "Process",
			[]string{"promscope_nginx_connections"},
			[]string{"promscope_nginx_requests", "promscope_nginx_dropped"}},
		{"client_golang", processNode(golang), "Process",
			[]string{"promscope_go_goroutines", "promscope_go_threads", "promscope_go_heap", "promscope_process_fds_used"},
			[]string{"promscope_handler_requests", "promscope_handler_errors", "promscope_go_gc_runs", "promscope_go_gc_pause", "promscope_go_allocated"}},
		{"client_python", processNode(python), "Process",
			[]string{"promscope_python_gc_uncollectable", "promscope_process_fds_used"},
			[]string{"promscope_python_gc_runs", "promscope_python_gc_collected"}},
	}
	follow(t, client, began, programs, map[string]truth{
		processNode(golang): func(r *probetest.Report) error {
			requests := asked()
			return errors.Join(
				about(r, processNode(golang), "promscope_handler_requests", requests, 0.2*requests),
				about(r, processNode(golang), "promscope_handler_errors", 0, 0),
				about(r, processNode(golang), "promscope_go_gc_runs", requests, 0.3*requests), // one in each
				sameAsProc(golang, r),
			)
		},
		processNode(python): func(r *probetest.Report) error {
			return errors.Join(
				about(r, processNode(python), "promscope_python_gc_runs", 4, 1.5), // one every 200 ms, and what it takes
				sameAsProc(python, r),
			)
		},
	})

	// What redis_exporter says of Redis is on no other node.
	report := poll(t, client, 1)
	onlyOn(t, report, "promscope_python_", python)
	onlyOn(t, report, "promscope_handler_", golang)
	for key, n := range report.Topologies["Process"].Nodes {
		if _, ok := n.Metrics["promscope_redis_clients"]; ok && key != processNode(redisServer) {
			t.Errorf("Redis is shown on %s, and runs as %s", key, processNode(redisServer))
		}
	}

	// A restart. A look between the two finds nobody, and the next one the new process.
	golang.kill()
	again, _ := startRole(t, 0, nil, "golang 127.0.0.1:9400")
	began = time.Now()
	within(t, client, began, lookInterval+3*time.Second, "the restarted program", restarted(golang, again, "promscope_go_goroutines"))
	// And it stays, also when discovery has seen that it is another socket.
	for looked := began.Add(2 * lookInterval); time.Now().Before(looked); time.Sleep(500 * time.Millisecond) {
		report := poll(t, client, 1)
		if _, ok := report.Value("Process", processNode(again), "promscope_go_goroutines"); !ok {
			t.Fatalf("the restarted program is gone again %s after it came", time.Since(began).Round(time.Second))
		}
	}

	// An exporter ends, what it spoke of lives on; and the other way round.
	const vanish = 20 * time.Second
	began = time.Now()
	terminate(t, redis)
	terminate(t, nginx)
	terminate(t, node)
	within(t, client, began, vanish, "what has ended is gone", func(r *probetest.Report) error {
		for _, gone := range []struct{ topo, node, metric string }{
			{"Process", processNode(redisServer), "promscope_redis_clients"},
			{"Process", processNode(nginx), "promscope_nginx_connections"},
			{"Host", hostNode, "promscope_node_memory_available"},
			{"Host", hostNode, "promscope_node_context_switches"},
			{"Process", processNode(node), "promscope_go_goroutines"},
		} {
			if r.Metric(gone.topo, gone.node, gone.metric) != nil {
				return fmt.Errorf("%s is still on %s", gone.metric, gone.node)
			}
		}
		return nil
	})
	began = time.Now()
	for _, p := range []*process{redisServer, nginxExporter, again, python} {
		terminate(t, p)
	}
	own := processNode(p.process)
	within(t, client, began, vanish, "everything is gone", func(r *probetest.Report) error {
		for key := range r.Topologies["Process"].Nodes {
			if key != own {
				return fmt.Errorf("%s is still there", key)
			}
		}
		if !strings.Contains(p.metrics(t), `promscope_targets{health="up",job="local"} 0`) {
			return errNotYet
		}
		return nil
	})
}

// restarted checks that a metric of a program is on its new process, and not on the one
// before.
func restarted(before, now *process, metric string) func(*probetest.Report) error {
	return func(r *probetest.Report) error {
		if m := r.Metric("Process", processNode(before), metric); m != nil {
			return fmt.Errorf("metrics of the process before: %+v", m)
		}
		return local{now.Path, processNode(now), "Process", nil, nil}.missing(r, []string{metric})
	}
}

// A restart is seen by the next scrape: here, nobody looks for listeners again.
func TestRestart(t *testing.T) {
	t.Parallel()
	if !inSandbox(t, ownNetwork|ownProcesses) {
		return
	}
	before, _ := startRole(t, 0, nil, "golang 127.0.0.1:9400")
	client := probe(t, startPlugin(t, scrapedOften+noPresets+`
scrape_configs: [{job_name: local, listener_sd_configs: [{interval: 1h}]}]
rules: [{metric: goroutines, label: Goroutines, expr: go_goroutines, node: {process: target_pid}}]
`))
	began := time.Now()
	within(t, client, began, 2*lookInterval, "the program", func(r *probetest.Report) error {
		return local{"it", processNode(before), "Process", nil, nil}.missing(r, []string{"goroutines"})
	})
	before.kill()
	now, _ := startRole(t, 0, nil, "golang 127.0.0.1:9400")
	within(t, client, time.Now(), 3*time.Second, "the restarted program", restarted(before, now, "goroutines"))
}

// within polls until a check holds, and says how long after began that was. Other tests have the
// machine, too, so it fails after twice the limit.
func within(t *testing.T, client *probetest.Client, began time.Time, limit time.Duration, what string, check func(*probetest.Report) error) {
	t.Helper()
	limit = 2 * unhurried(limit)
	for {
		report, err := client.Poll(t.Context())
		if err == nil {
			err = check(report)
		}
		took := time.Since(began)
		switch {
		case err == nil && took <= limit:
			t.Logf("%s after %s", what, took.Round(100*time.Millisecond))
			return
		case took > limit:
			t.Fatalf("%s: not within %s: %v", what, limit, err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// terminate ends a program as an operator does.
func terminate(t testing.TB, p *process) {
	t.Helper()
	_ = p.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		p.kill()
	}
}

func awaitListener(t testing.TB, address string) {
	t.Helper()
	eventually(t, time.Minute, "listening on "+address, func() error {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err
	})
}

// startNginx runs nginx with a page and stub_status.
func startNginx(t testing.TB, address string) *process {
	t.Helper()
	path := program(t, "nginx", "nginx")
	dir := t.TempDir()
	config := "daemon off; user root; pid " + dir + "/pid; error_log stderr;\nevents {}\nhttp {\n  access_log off;\n"
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		config += fmt.Sprintf("  %s_temp_path %s/%s;\n", kind, dir, kind)
	}
	config += "  server { listen " + address + "; location / { return 200 \"hello\"; } location /stub_status { stub_status; } }\n}\n"
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	p := start(t, path, "-p", dir, "-e", "stderr", "-c", file)
	awaitListener(t, address)
	return p
}

// startPython runs a Python program with its client library.
func startPython(t *testing.T, host string, port int) *process {
	t.Helper()
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(python, "-c", "import prometheus_client").Run() == nil {
			return start(t, python, "-c", fmt.Sprintf(`
import gc, time
from prometheus_client import start_http_server
start_http_server(%d, addr=%q)
while True:
    gc.collect()
    time.sleep(0.2)
`, port, host))
		}
	}
	unmet(t, "needs python3 with prometheus_client (Debian: python3-prometheus-client)")
	return nil
}

// traffic asks for the URLs until the test ends. What it returns tells how often a
// second each was asked for so far.
func traffic(t *testing.T, urls ...string) (perSecond func() float64) {
	t.Helper()
	client := &http.Client{Timeout: time.Second}
	began := time.Now()
	var rounds atomic.Int64
	during(t, func() {
		for _, url := range urls {
			if resp, err := client.Get(url); err == nil {
				resp.Body.Close()
			}
		}
		rounds.Add(1)
	})
	return func() float64 { return float64(rounds.Load()) / time.Since(began).Seconds() }
}

// redisTraffic asks Redis for a key that is there and one that is not.
func redisTraffic(t *testing.T, address string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			_ = lines.Text() // the answers
		}
	}()
	during(t, func() { fmt.Fprint(conn, "SET a 1\r\nGET a\r\nGET b\r\n") })
}

// during does something ten times a second until the test ends.
func during(t *testing.T, do func()) {
	t.Helper()
	stop, done := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() {
		close(stop)
		<-done
	})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
				do()
			}
		}
	}()
}
