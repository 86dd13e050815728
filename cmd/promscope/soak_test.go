package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/procfs"

	"github.com/promscope/promscope/bridge/plugin/probetest"
)

var soakDuration = flag.Duration("soak", 0, "how long TestSoak runs")

// The load of a soak.
const (
	soakProcesses  = 50  // started a second
	soakTargets    = 5   // exporters that come and go, at a time
	soakContainers = 3   // likewise, in namespaces and a cgroup of their own
	soakStorm      = 40  // targets that are scraped each second, and stay
	soakSeries     = 500 // of each of them
	soakReload     = 2 * time.Second
	soakStays      = 15 * time.Second // how long a target or container stays
	soakGather     = 10 * time.Second // the interval of the collector http
)

// soakConfig has the address of the storm's targets, the executable of those that come
// and go, and the expression of the rule that changes.
//
// The collector keeps the counts of a process for two intervals after its end, and the
// test must have read them by then, also on a machine that is busy.
func soakConfig(storm, executable, expr string) string {
	return fmt.Sprintf(`
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: storm
    static_configs: [{targets: [%s]}]
  - job_name: local
    listener_sd_configs: [{ports: [9400-9499], exe: {include: ["%s"]}, interval: 1s}]
collectors: {http: {interval: %s, max_processes: 4096, ports: {include: [10000-19999]}}}
rules:
  - {metric: changed, label: Changed, expr: %s, node: host}
  - {metric: storm, label: Storm, expr: avg(storm), node: host}
  - {metric: http_total, label: HTTP requests in all, expr: "sum by (pid) (promscope_http_requests_total)", node: {process: pid}}
  - {metric: soak_pid, label: Own pid, expr: soak_pid, node: {process: target_pid}}
  - {metric: soak_container, label: Own container, expr: soak_container, node: {container: target_container_id}}
`, storm, executable, soakGather, expr)
}

// shortlived is the server that soaks start many of.
var shortlived = sync.OnceValues(func() (string, error) {
	return build("shortlived", "0", "build", "-o", "{}", "./testdata/shortlived")
})

// soak is what a soak counts.
type soak struct {
	t       *testing.T
	p       *plugin
	server  string // path of shortlived
	cgroups string
	ledger  *ledger

	mu       sync.Mutex
	failures map[string]int  // by what they say
	shown    map[string]bool // the nodes of targets and containers that the report had

	reloads, asked, bodies  atomic.Int64
	targets, stayed, unseen atomic.Int64 // that came and went; that stayed their time, and of them those that no report had
}

// newSoak returns a soak of a collector http with that interval, in a network of its own.
func newSoak(t *testing.T, interval time.Duration) *soak {
	t.Helper()
	server, err := shortlived()
	if err != nil {
		t.Fatal(err)
	}
	// What is counted is on these ports, and the machine's other servers are not.
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("10000 19999"), 0); err != nil {
		t.Fatal(err)
	}
	return &soak{t: t, server: server, ledger: newLedger(interval), shown: map[string]bool{}, failures: map[string]int{}}
}

// probe returns a client for a promscope that may have to wait for the machine's CPUs.
func (s *soak) probe() *probetest.Client {
	client := probetest.NewClient(s.p.socket, probetest.Options{Host: hostName, Timeout: 5 * time.Second, DeadGrace: 5 * time.Second})
	s.t.Cleanup(client.Close)
	return client
}

// failf notes what is wrong. Of many failures of a kind the first tell enough.
func (s *soak) failf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failures[format]++; s.failures[format] <= 5 {
		s.t.Errorf(format, args...)
	}
}

// TestSoak has promscope at work for as long as -soak says: processes that start, serve
// HTTP and die, targets and containers that come and go, rules that change, a storm of
// scrapes and of clients. Each second it checks the whole contract of a report. In the
// end, no figure of promscope may rise over the second half, and each HTTP request was
// counted on its process.
//
//	make soak DURATION=2h
func TestSoak(t *testing.T) {
	if *soakDuration == 0 {
		t.Skip("make soak runs it")
	}
	// Not in a pid namespace: the kernel counts HTTP by the pids of the first.
	if !inSandbox(t, ownNetwork, shortlived) {
		return
	}
	s := newSoak(t, soakGather)
	s.cgroups = cgroup2(t)
	storm := s.startStorm()
	config := func(expr string) string { return soakConfig(storm, s.server, expr) }
	file := writeConfig(t, config("vector(1)"))
	s.p = startPlugin(t, "", "--config.file="+file)
	if !strings.Contains(s.p.metrics(t), `promscope_collector_running{collector="http"} 1`) {
		unmet(t, "the collector http does not run:\n%s", s.p.output)
	}
	client := s.probe()
	await(t, client, "storm")

	load, end := context.WithTimeout(t.Context(), *soakDuration)
	defer end()
	watch, unwatch := context.WithCancel(t.Context())
	defer unwatch()
	var loads, watchers sync.WaitGroup
	stays := []*child{s.mustStart(), s.mustStart()}
	for _, c := range stays {
		loads.Go(func() { s.ask(load, c) })
	}
	loads.Go(func() { s.churn(load, soakProcesses) })
	for slot := range soakTargets {
		loads.Go(func() { s.comeAndGo(load, slot, false) })
	}
	for slot := range soakContainers {
		loads.Go(func() { s.comeAndGo(load, slot, true) })
	}
	loads.Go(func() { s.reload(load, file, config) })
	for _, path := range []string{"/", "/nodes", "/targets", "/rules", "/api/v1/status", "/api/v1/nodes"} {
		loads.Go(func() { s.storm(load, path) })
	}
	for range 2 {
		loads.Go(func() { s.readBodies(load) })
	}
	watchers.Go(func() { s.readCounts(watch) })

	samples := newFigures(s)
	sampleEvery := min(max(*soakDuration/200, time.Second), 10*time.Second)
	began, sampled, told := time.Now(), time.Time{}, time.Now()
	polls := 0
	pollOnce := func() *probetest.Report {
		report, err := client.Poll(t.Context())
		if polls++; err != nil {
			body := []byte(nil)
			if report != nil {
				body = report.Body
			}
			s.failf("poll %d: %v\nthe body:\n%s", polls, err, body)
			return nil
		}
		s.judge(report)
		return report
	}
	for tick := time.Tick(time.Second); load.Err() == nil; <-tick {
		pollOnce()
		if time.Since(sampled) >= sampleEvery {
			sampled = time.Now()
			samples.take()
		}
		if time.Since(told) >= max(10*time.Second, *soakDuration/100) {
			told = time.Now()
			t.Logf("%s: %d polls, p99 %s; %s; %d requests of pages, %d whole reports, %d reloads; %s",
				time.Since(began).Round(time.Second), polls, client.Latency(0.99).Round(10*time.Microsecond),
				s.ledger, s.asked.Load(), s.bodies.Load(), s.reloads.Load(), samples.last())
		}
	}
	loads.Wait()

	// The last counts come within the collector's interval.
	eventually(t, 40*time.Second, "the counts of the processes that stay", func() error {
		report := pollOnce()
		for _, c := range stays {
			want := float64(s.ledger.made(c.pid))
			if got, _ := report.Value("Process", fmt.Sprintf("%s;%d", hostName, c.pid), "http_total"); got != want {
				return fmt.Errorf("process %d shows %v requests, and had %v", c.pid, got, want)
			}
		}
		return nil
	})
	for _, c := range stays {
		s.ledger.end(c.pid)
		c.stop()
	}
	eventually(t, 40*time.Second, "the counts of all processes", func() error {
		pollOnce()
		return s.ledger.open()
	})
	unwatch()
	watchers.Wait()
	s.judgeLosses(s.p.metrics(t))
	// A machine that is too busy may be too late now and then.
	if 10*s.ledger.unread > s.ledger.processes {
		s.failf("too late: %s", s.ledger)
	}
	most := 0.1
	if *soakDuration < trendAfter { // of a few, one that a busy machine is late for is a tenth
		most = 0.5
	}
	if stayed, unseen := s.stayed.Load(), s.unseen.Load(); float64(unseen) > most*float64(stayed) {
		s.failf("of %d targets and containers that stayed, %d were never shown", stayed, unseen)
	}
	t.Logf("in the end: %d polls, p50 %s, p99 %s; %s; %d targets and containers came and went, and %d of %d that stayed were shown; %d requests of pages; %d whole reports; %d reloads",
		polls, client.Latency(0.5).Round(10*time.Microsecond), client.Latency(0.99).Round(10*time.Microsecond),
		s.ledger, s.targets.Load(), s.stayed.Load()-s.unseen.Load(), s.stayed.Load(), s.asked.Load(), s.bodies.Load(), s.reloads.Load())
	samples.judge()
	s.p.interrupt(t)
	if code := s.p.exit(t, 10*time.Second); code != 0 {
		s.failf("exit code %d", code)
	}
	for what, n := range s.failures {
		t.Logf("%d times: %q", n, what)
	}
}

// startStorm starts the targets that are scraped each second, and returns their list.
func (s *soak) startStorm() string {
	var body strings.Builder
	for i := range soakSeries {
		fmt.Fprintf(&body, "storm{i=\"%d\"} 7\nother{i=\"%d\"} 8\n", i, i)
	}
	l, err := net.Listen("tcp", "0.0.0.0:9600")
	if err != nil {
		s.t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = io.WriteString(w, body.String())
	})}
	go func() { _ = server.Serve(l) }()
	s.t.Cleanup(func() { server.Close() })
	addresses := make([]string, soakStorm)
	for i := range addresses {
		addresses[i] = fmt.Sprintf("%q", fmt.Sprintf("127.0.2.%d:9600", i+1))
	}
	return strings.Join(addresses, ", ")
}

// judge looks at the values of a report that passed the checks of the contract. Each
// target says on which node its value belongs.
func (s *soak) judge(r *probetest.Report) {
	if v, ok := r.Value("Host", hostNode, "storm"); ok && v != 7 {
		s.failf("storm is %v, want 7", v)
	}
	if t := r.Topologies["Process"]; t != nil {
		for key := range t.Nodes {
			pid := 0
			if _, err := fmt.Sscanf(key, hostName+";%d", &pid); err != nil {
				s.failf("node %q: %v", key, err)
			}
			if v, ok := r.Value("Process", key, "soak_pid"); ok {
				s.note(key)
				if v != float64(pid) {
					s.failf("process %d has the value of %v", pid, v)
				}
			}
			if v, ok := r.Value("Process", key, "http_total"); ok {
				if err := s.ledger.atMost(pid, v); err != nil {
					s.failf("in the report: %v", err)
				}
			}
		}
	}
	if t := r.Topologies["Container"]; t != nil {
		for key := range t.Nodes {
			if v, ok := r.Value("Container", key, "soak_container"); ok {
				s.note(key)
				if want := containerValue(key); v != want {
					s.failf("container %s has the value %v, want %v", key, v, want)
				}
			}
		}
	}
}

// judgeLosses looks at what the collector says it has not seen.
func (s *soak) judgeLosses(exposition string) {
	for _, name := range []string{
		"promscope_http_requests_lost_total", "promscope_http_connections_lost_total", "promscope_http_reads_failed_total",
		"promscope_http_process_evictions_total", "promscope_http_hook_runs_missed_total",
	} {
		series := regexp.MustCompile(`(?m)^`+name+`(?:\{.*\})? (\S+)$`).FindAllStringSubmatch(exposition, -1)
		if len(series) == 0 {
			s.failf("there is no %s", name)
		}
		for _, one := range series {
			if one[1] != "0" {
				s.failf("%s", one[0])
			}
		}
	}
}

func (s *soak) note(node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shown[node] = true
}

// wasShown returns whether a report had the node, and forgets it.
func (s *soak) wasShown(node string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	shown := s.shown[node]
	delete(s.shown, node)
	return shown
}

// reload changes a rule again and again, and waits each time until the change is in force.
func (s *soak) reload(ctx context.Context, file string, config func(string) string) {
	for n := 1; ctx.Err() == nil; n++ {
		if err := os.WriteFile(file, []byte(config(fmt.Sprintf("vector(%d)", n%2+1))), 0o600); err != nil {
			s.failf("%v", err)
		}
		if err := s.p.Process.Signal(syscall.SIGHUP); err != nil {
			s.failf("reload %d: %v", n, err)
			return
		}
		for deadline := time.Now().Add(time.Minute); strings.Count(s.p.output.String(), "was loaded anew") < n; pause(s.t.Context(), 50*time.Millisecond) {
			if time.Now().After(deadline) {
				s.failf("reload %d is not done", n)
				return
			}
		}
		s.reloads.Add(1)
		pause(ctx, soakReload)
	}
}

// storm asks for a page, five times a second.
func (s *soak) storm(ctx context.Context, path string) {
	for ; ctx.Err() == nil; pause(ctx, 200*time.Millisecond) {
		status, _, err := get(ctx, s.p.web+path)
		switch {
		case ctx.Err() != nil:
		case err != nil || status != http.StatusOK:
			s.failf("%s: status %d, %v", path, status, err)
		default:
			s.asked.Add(1)
		}
	}
}

// readBodies asks for whole reports, as a client that is no probe, and shows any that is
// no JSON.
func (s *soak) readBodies(ctx context.Context) {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", s.p.socket)
		},
	}}
	defer client.CloseIdleConnections()
	for ; ctx.Err() == nil; pause(ctx, 100*time.Millisecond) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://plugin/report", nil)
		if err != nil {
			s.failf("%v", err)
			return
		}
		resp, err := client.Do(req)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.failf("whole report: %v", err)
			continue
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if ctx.Err() != nil {
			return
		}
		if err != nil || int64(len(body)) != resp.ContentLength || !json.Valid(body) {
			s.failf("whole report of %d bytes, of %d: %v\n%s", len(body), resp.ContentLength, err, body)
		}
		s.bodies.Add(1)
	}
}

// figures are promscope's own, over time.
type figures struct {
	s      *soak
	series map[string][]point
}

// soakFigures are those that must not rise, with what they may over a second half of ten
// minutes or more: a share of their mean, and what comes and goes anyway. The store keeps
// the series of processes that ended for as long as the rules' windows are: more than a minute.
var soakFigures = []struct {
	name   string
	metric string // empty: taken from /proc
	share  float64
	allow  float64
}{
	{name: "anonymous memory (MiB)", share: 0.1, allow: 3},
	{name: "descriptors", share: 0.05, allow: 5},
	{name: "eBPF maps, programs and links", allow: 0.1},
	{name: "goroutines", metric: "go_goroutines", share: 0.05, allow: 8},
	{name: "threads", metric: "go_threads", share: 0.1, allow: 4},
	{name: "processes in the maps", metric: "promscope_http_processes", share: 0.1, allow: 10},
	{name: "connections in the maps", metric: "promscope_http_connections", allow: 10},
	{name: "series in the store", metric: "promscope_store_series", share: 0.05, allow: 1000},
	{name: "samples in the store", metric: "promscope_store_samples", share: 0.05, allow: 5000},
}

func newFigures(s *soak) *figures { return &figures{s: s, series: map[string][]point{}} }

// take samples all figures.
func (f *figures) take() {
	now := time.Now()
	proc, err := procfs.NewProc(f.s.p.Process.Pid)
	if err != nil {
		f.s.failf("promscope is gone: %v", err)
		return
	}
	status, err := proc.NewStatus()
	if err != nil {
		f.s.failf("%v", err)
		return
	}
	files := openFiles(f.s.p.Process.Pid)
	add := func(name string, v float64) { f.series[name] = append(f.series[name], point{now, v}) }
	add("anonymous memory (MiB)", float64(status.RssAnon)/(1<<20))
	add("descriptors", float64(files.all))
	add("eBPF maps, programs and links", float64(files.kernel))
	exposition := f.s.p.metrics(f.s.t)
	for _, figure := range soakFigures {
		if figure.metric != "" {
			add(figure.name, value(exposition, figure.metric))
		}
	}
}

// last says what the figures are now.
func (f *figures) last() string {
	var all []string
	for _, figure := range soakFigures {
		if points := f.series[figure.name]; len(points) > 0 {
			all = append(all, fmt.Sprintf("%s %.4g", figure.name, points[len(points)-1].v))
		}
	}
	return strings.Join(all, ", ")
}

// trendAfter is how long a soak has to take for its trends to say something. Up to then caches and
// windows fill.
const trendAfter = 5 * time.Minute

// noise is how many times more a trend may rise over a span shorter than ten minutes.
func noise(span time.Duration) float64 {
	return max(1, math.Sqrt(float64(10*time.Minute)/float64(span)))
}

// judge prints the trends over the second half, and fails where one rises in a soak that is long enough.
func (f *figures) judge() {
	f.s.t.Logf("%-30s %12s %14s %12s %12s", "over the second half", "mean", "slope by hour", "rise", "may rise")
	for _, figure := range soakFigures {
		t := secondHalf(f.series[figure.name])
		limit := (figure.share*t.mean + figure.allow) * noise(t.span)
		f.s.t.Logf("%-30s %12.2f %14.3f %12.3f %12.3f", figure.name, t.mean, t.slope*3600, t.rise(), limit)
		if *soakDuration < trendAfter {
			continue
		}
		if t.points < 10 || math.IsNaN(t.slope) {
			f.s.failf("%s: %d points are too few for a trend", figure.name, t.points)
		}
		if t.rise() > limit {
			f.s.failf("%s rose by %.3f over the second half, from a mean of %.2f", figure.name, t.rise(), t.mean)
		}
	}
}

// stay is how long a target or container stays this time.
func stay() time.Duration { return soakStays + time.Duration(rand.Int64N(int64(10*time.Second))) }
