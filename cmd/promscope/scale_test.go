package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/bridge/plugin/probetest"
)

var scalePoints = flag.String("points", "small", "which points BenchmarkScale measures: small, all, or one as in \"targets=10 series=1000\"")

// smallPoints take a few seconds each. They show that the generators work.
func smallPoints() []string {
	return []string{
		"targets=3 series=1000 selected=100",
		"series=1000 selected=500 pids=10 metrics=5 interval=1s",
		"series=1000 selected=1000 pids=10 rules=10 kind=rate",
		"processes=50",
		"churn=2",
		"servers=3",
	}
}

// allPoints are the curves in docs/performance.md.
func allPoints() []string {
	points := []string{
		"targets=1 series=1000 selected=10", "targets=10 series=1000 selected=10",
		"targets=100 series=1000 selected=10", "targets=300 series=1000 selected=10",
		"targets=300 series=1000 selected=10 processes=2000",

		"series=1000 selected=10", "series=10000 selected=100", "series=100000 selected=1000", "series=1000000 selected=10000",
		"series=1000 selected=1000 pids=100", "series=10000 selected=10000 pids=100",
		"series=100000 selected=100000 pids=100", "series=100000 selected=100000 pids=1000",
		"series=50000 selected=50000 pids=100",
	}
	for _, kind := range []string{"rate", "quantile", "join"} {
		for _, rules := range []int{10, 100, 500} {
			points = append(points, fmt.Sprintf("series=2000 selected=2000 pids=100 rules=%d kind=%s", rules, kind))
		}
	}
	for _, interval := range []string{"1s", "5s"} {
		for _, nodes := range []int{100, 1000, 3000} {
			points = append(points, fmt.Sprintf("series=%d selected=%d pids=%d metrics=5 interval=%s", 5*nodes, 5*nodes, nodes, interval))
		}
	}
	return append(points,
		"processes=0", "processes=200", "processes=1000", "processes=3000",
		"churn=20",
		"servers=1", "servers=100", "servers=1000",
		"targets=10 series=1000 selected=100 reloads=1",
	)
}

// scale is how much there is of what promscope's work grows with.
type scale struct {
	targets  int // each a process of its own
	series   int // of a target
	selected int // of these
	pids     int // processes that the selected series name by the label pid
	metrics  int // into which the selected series are divided
	rules    int // further ones, of a kind
	kind     string
	interval time.Duration // of scrapes

	processes int  // others, that do nothing
	churn     int  // processes a second that start, serve an exposition and end
	servers   int  // HTTP servers, asked each second
	reloads   int  // of the configuration, in a second
	zero      bool // no configuration: what promscope finds by itself
}

// parseScale reads a point of BenchmarkScale.
func parseScale(point string) (s scale, err error) {
	s = scale{metrics: 1, interval: 5 * time.Second, zero: true}
	for _, word := range strings.Fields(point) {
		key, value, _ := strings.Cut(word, "=")
		numbers := map[string]*int{
			"targets": &s.targets, "series": &s.series, "selected": &s.selected, "pids": &s.pids, "metrics": &s.metrics,
			"rules": &s.rules, "processes": &s.processes, "churn": &s.churn, "servers": &s.servers, "reloads": &s.reloads,
		}
		switch {
		case numbers[key] != nil:
			*numbers[key], err = strconv.Atoi(value)
		case key == "kind":
			s.kind = value
		case key == "interval":
			s.interval, err = time.ParseDuration(value)
		default:
			err = fmt.Errorf("there is no %q", key)
		}
		if err != nil {
			return s, fmt.Errorf("point %q: %w", point, err)
		}
		s.zero = s.zero && key != "series"
	}
	if s.series > 0 {
		s.targets = max(s.targets, 1)
	}
	return s, nil
}

// BenchmarkScale measures a promscope as its work grows: CPU time of the process, by the
// kernel's clock of it, memory, polls, and how old values are. Beside it a process fetches
// the same expositions at the same pace and throws them away, which is CPU%-bare.
//
//	go test ./cmd/promscope -run '^$' -bench Scale -benchtime 1x -timeout 1h -points all
//
// The ages are those of values at the polls, from the exporters' own clocks.
func BenchmarkScale(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root, for network namespaces and the collector http")
	}
	points := []string{*scalePoints}
	settle, window := 10*time.Second, 15*time.Second
	switch *scalePoints {
	case "small":
		points, settle, window = smallPoints(), 0, 2*time.Second
	case "all":
		points = allPoints()
	}
	for _, point := range points {
		s, err := parseScale(point)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(strings.ReplaceAll(point, " ", ","), func(b *testing.B) {
			for b.Loop() {
				s.measure(b, settle, window)
			}
		})
	}
}

// measure runs one point: what there is, promscope, and the bare fetch.
func (s scale) measure(b *testing.B, settle, window time.Duration) {
	generators, config, addresses := s.start(b)
	defer func() {
		for _, g := range generators {
			g.kill()
		}
	}()
	p := startPlugin(b, config)
	defer p.kill()
	client := newScalePoller(p.socket)
	defer client.CloseIdleConnections()
	began := time.Now()
	awaitScale(b, client, s)
	b.ReportMetric(time.Since(began).Seconds(), "s-to-all-up")
	b.ReportMetric(cpuTime(b, p.Process.Pid).Seconds(), "CPU-s-to-all-up")

	var bare *process
	if addresses != "" {
		bare, _ = startRole(b, 0, nil, fmt.Sprintf("fetch %s %s", s.interval, addresses))
		defer bare.kill()
	}
	if s.reloads > 0 {
		reload := time.NewTicker(time.Second / time.Duration(s.reloads))
		defer reload.Stop()
		go func() {
			for range reload.C {
				_ = p.Process.Signal(syscall.SIGHUP)
			}
		}()
	}
	if err := client.pollFor(b, settle, func(scaleReport) {}); err != nil {
		b.Fatal(err)
	}

	var took []time.Duration
	var size int
	ages := map[string][]float64{}
	shareBare := func(fn func()) { fn() }
	if bare != nil {
		shareBare = func(fn func()) { b.ReportMetric(cpuShare(b, bare.Process.Pid, fn), "CPU%-bare") }
	}
	shareBare(func() {
		b.ReportMetric(cpuShare(b, p.Process.Pid, func() {
			err := client.pollFor(b, window, func(report scaleReport) {
				took = append(took, report.took)
				size = report.bytes
				report.addAges(ages)
			})
			if err != nil {
				b.Fatal(err)
			}
		}), "CPU%")
	})
	b.ReportMetric(float64(size)/1e3, "kB-answer")
	reportQuantiles(b, "ms-poll", milliseconds(took))
	reportQuantiles(b, "s-age", ages["clock"])
	reportQuantiles(b, "s-age-cheap", ages["cheap"])
	b.ReportMetric(float64(strings.Count(p.output.String(), "Target is down")), "down")
	proc, err := procfs.NewProc(p.Process.Pid)
	if err != nil {
		b.Fatal(err)
	}
	memory, err := proc.NewStatus()
	if err != nil {
		b.Fatal(err)
	}
	descriptors, err := proc.FileDescriptorsLen()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(memory.VmRSS)/(1<<20), "MiB")
	b.ReportMetric(float64(descriptors), "fds")
}

// start starts the generators. It returns promscope's configuration, empty for none, and
// the addresses of the exporters.
func (s scale) start(b *testing.B) (generators []*process, config, addresses string) {
	run := func(namespaces uintptr, role string) string {
		p, line := startRole(b, namespaces, nil, role)
		generators = append(generators, p)
		return line
	}
	if s.processes > 0 {
		run(unix.CLONE_NEWNET, fmt.Sprintf("crowd %d 0", s.processes))
	}
	if s.churn > 0 {
		run(unix.CLONE_NEWNET, fmt.Sprintf("churn %d", s.churn))
	}
	if s.servers > 0 {
		run(0, fmt.Sprintf("servers %d", s.servers))
		return generators, "presets: [http]\ncollectors: {iowait: {enabled: false}}\nscrape_configs: []\n", ""
	}
	if s.zero {
		return generators, "", ""
	}
	addresses = run(0, fmt.Sprintf("exporters %d %d %d %d %d", s.targets, s.series, s.selected, s.pids, s.metrics))
	config = fmt.Sprintf("presets: []\ncollectors: {iowait: {enabled: false}, http: {enabled: false}}\n"+
		"global: {scrape_interval: %s}\nlimits: {max_series: 2000000, max_report_size: 48MiB, max_evaluation_samples: 50000000}\n"+
		"scrape_configs:\n  - {job_name: scale, static_configs: [{targets: [%s]}]}\n", s.interval, addresses)
	if s.rules > 0 {
		cheap := run(0, "exporters 1 1 0 0 1")
		config += fmt.Sprintf("  - {job_name: cheap, scrape_interval: 1s, static_configs: [{targets: [%s]}]}\n", cheap)
	}
	return generators, config + s.ruleText(), addresses
}

// awaitScale waits until everything is in the report.
func awaitScale(b *testing.B, client *scalePoller, s scale) {
	want := s.targets + s.pids + s.servers
	eventually(b, 2*time.Minute, "everything in the report", func() error {
		report, err := client.poll(b)
		if err == nil && len(report.Process.Nodes) < want {
			time.Sleep(200 * time.Millisecond) // a poll costs promscope something too
			err = fmt.Errorf("%d of %d processes: %w", len(report.Process.Nodes), want, errNotYet)
		}
		return err
	})
}

// scalePoller polls as the probe does. Unlike those of package probetest it is quick with
// reports of many megabytes: a poller that takes its time gets longer answers.
type scalePoller struct{ http.Client }

func newScalePoller(socket string) *scalePoller {
	var dialer net.Dialer
	return &scalePoller{http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		},
	}}}
}

// scaleReport is what BenchmarkScale reads of an answer: which processes are there, and
// their clocks.
type scaleReport struct {
	Process struct {
		Nodes map[string]struct {
			Metrics struct{ Clock, Cheap probetest.Metric }
		}
	}
	at    time.Time     // when it was asked for
	took  time.Duration // until it was read
	bytes int
}

func (c *scalePoller) poll(b *testing.B) (report scaleReport, err error) {
	report.at = time.Now()
	request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://plugin/report?probe_id="+probetest.ProbeID, nil)
	if err != nil {
		return report, err
	}
	response, err := c.Do(request)
	if err != nil {
		return report, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	report.took, report.bytes = time.Since(report.at), len(body)
	if err != nil {
		return report, err
	}
	return report, json.Unmarshal(body, &report)
}

// pollFor polls once a second.
func (c *scalePoller) pollFor(b *testing.B, d time.Duration, use func(scaleReport)) error {
	for end := time.Now().Add(d); time.Now().Before(end); {
		report, err := c.poll(b)
		if err != nil {
			return err
		}
		use(report)
		time.Sleep(time.Until(report.at.Add(time.Second)))
	}
	return nil
}

// addAges adds how old the values are that are clocks.
func (r *scaleReport) addAges(ages map[string][]float64) {
	add := func(name string, clock probetest.Metric) {
		if n := len(clock.Samples); n > 0 {
			ages[name] = append(ages[name], float64(r.at.UnixMilli())/1e3-clock.Samples[n-1].Value)
		}
	}
	for _, node := range r.Process.Nodes {
		add("clock", node.Metrics.Clock)
		add("cheap", node.Metrics.Cheap)
	}
}

func milliseconds(list []time.Duration) (result []float64) {
	for _, d := range list {
		result = append(result, d.Seconds()*1e3)
	}
	return result
}

// reportQuantiles reports the median and the maximum.
func reportQuantiles(b *testing.B, unit string, values []float64) {
	if len(values) == 0 {
		return
	}
	slices.Sort(values)
	b.ReportMetric(values[len(values)/2], unit+"-p50")
	b.ReportMetric(values[len(values)-1], unit+"-max")
}
