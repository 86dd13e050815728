package main

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/promscope/promscope/bridge/plugin/probetest"
)

const hostNode = hostName + ";<host>"

// noPresets keeps what a test looks at small.
const noPresets = "presets: []\n"

func probe(t *testing.T, p *plugin) *probetest.Client {
	t.Helper()
	client := probetest.NewClient(p.socket, probetest.Options{Host: hostName})
	t.Cleanup(client.Close)
	return client
}

// poll polls n times, each second as the probe does, and fails at the first
// violation of the contract.
func poll(t *testing.T, client *probetest.Client, n int) *probetest.Report {
	t.Helper()
	report, err := client.PollFor(t.Context(), n, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// await polls until there is a value for the host's metric.
func await(t *testing.T, client *probetest.Client, metric string) *probetest.Report {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	report, err := client.Await(t.Context(), 200*time.Millisecond, func(r *probetest.Report) bool {
		_, ok := r.Value("Host", hostNode, metric)
		return ok || time.Now().After(deadline)
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := report.Value("Host", hostNode, metric); !ok {
		t.Fatalf("no value for %s in:\n%s", metric, report.Body)
	}
	return report
}

func TestNoConfiguration(t *testing.T) {
	t.Parallel()
	p := startPlugin(t, "")
	client := probe(t, p)
	await(t, client, "promscope_cpu_iowait")
	p.awaitReady(t)
	report := poll(t, client, 30)

	for _, metric := range []string{"promscope_cpu_iowait", "promscope_cpu_idle"} {
		m := report.Metric("Host", hostNode, metric)
		if m == nil {
			t.Fatalf("no %s in:\n%s", metric, report.Body)
		}
		if len(m.Samples) != 15 {
			t.Errorf("%s has %d samples after 30 s, want the last 15", metric, len(m.Samples))
		}
		for i, s := range m.Samples {
			if s.Value < 0 || s.Value > 100 {
				t.Errorf("%s is %v %%", metric, s.Value)
			}
			if i == 0 {
				continue
			}
			if gap := s.Date.Sub(m.Samples[i-1].Date); gap < 900*time.Millisecond || gap > 2100*time.Millisecond {
				t.Errorf("%s: %s between two samples, want a second", metric, gap)
			}
		}
	}
	iowait := report.Topologies["Host"].Templates["promscope_cpu_iowait"]
	if iowait.Label != "CPU iowait" || iowait.Format != "percent" || iowait.Priority != 2.5 {
		t.Errorf("template of promscope_cpu_iowait is %+v", iowait)
	}
	if status, _, err := get(t.Context(), p.web+"/-/ready"); err != nil || status != 200 {
		t.Errorf("/-/ready: status %d, %v", status, err)
	}
}

// The configuration of the README's first five minutes, and more of the kind.
const nodeRules = `
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: node
    static_configs: [{targets: ["%s"]}]
presets: [iowait]
rules:
  - metric: cpu_${mode}
    label: CPU time ${mode}
    format: percent
    expr: 100 * avg by (mode) (rate(node_cpu_seconds_total[$__rate_interval]))
    node: host
  - metric: memory_available
    label: Memory available
    format: percent
    expr: 100 * node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes
    node: host
  - metric: load_1m
    label: Load of a minute
    expr: node_load1
    node: host
  - metric: disk_busy_${device}
    label: Disk ${device} busy
    format: percent
    expr: 100 * rate(node_disk_io_time_seconds_total[$__rate_interval])
    node: host
  - metric: network_in_${device}
    label: ${device} in (/s)
    format: filesize
    expr: rate(node_network_receive_bytes_total[$__rate_interval])
    node: host
  - metric: goroutines
    label: Goroutines
    format: integer
    expr: sum by (target_pid) (go_goroutines{job="node"})
    node: {process: target_pid}
`

func TestNodeExporter(t *testing.T) {
	t.Parallel()
	path, err := nodeExporter()
	if err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	exporter := start(t, path, "--web.listen-address="+address)
	p := startPlugin(t, fmt.Sprintf(nodeRules, address))
	client := probe(t, p)
	await(t, client, "cpu_idle")
	report := poll(t, client, 30)

	host := report.Topologies["Host"].Nodes[hostNode]
	// The modes of a CPU are all of its time, but where the machine was so busy that
	// a scrape came late.
	eventually(t, 10*time.Second, "the CPU's modes", func() error {
		report, sum := poll(t, client, 1), 0.0
		for _, mode := range []string{"user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"} {
			value, ok := report.Value("Host", hostNode, "cpu_"+mode)
			if !ok {
				return fmt.Errorf("no CPU time in mode %s", mode)
			}
			sum += value
		}
		if sum < 90 || sum > 110 {
			return fmt.Errorf("they add up to %.1f %%", sum)
		}
		return nil
	})
	if v, ok := report.Value("Host", hostNode, "memory_available"); !ok || v <= 0 || v > 100 {
		t.Errorf("memory available is %v %%", v)
	}
	if v, ok := report.Value("Host", hostNode, "load_1m"); !ok || v < 0 {
		t.Errorf("load is %v", v)
	}
	for _, prefix := range []string{"disk_busy_", "network_in_"} {
		found := false
		for metric := range host.Metrics {
			found = found || strings.HasPrefix(metric, prefix)
		}
		if !found {
			t.Errorf("no metric %s… in:\n%s", prefix, report.Body)
		}
	}

	// No label in the exporter says it, its socket does.
	node := fmt.Sprintf("%s;%d", hostName, exporter.Process.Pid)
	if v, ok := report.Value("Process", node, "goroutines"); !ok || v < 1 {
		t.Errorf("goroutines of the exporter's process %s: %v in:\n%s", node, v, report.Body)
	}

	// A process that has died is out of the next report but one.
	exporter.kill()
	time.Sleep(time.Second)
	report = poll(t, client, 1)
	if m := report.Metric("Process", node, "goroutines"); m != nil {
		t.Errorf("the dead process has metrics: %+v", m)
	}
	// And the host's metrics follow, as soon as the scrape has failed.
	eventually(t, 10*time.Second, "the metrics of the dead exporter", func() error {
		report := poll(t, client, 1)
		if report.Metric("Host", hostNode, "cpu_idle") != nil {
			return errNotYet
		}
		return nil
	})
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	// A counter that grows by 10 a second, and is reset once.
	reset := begin.Add(14 * time.Second)
	e := newExporter(t, "")
	e.serve = func() string {
		now := time.Now()
		since := begin
		if now.After(reset) {
			since = reset
		}
		n := 10 * now.Sub(since).Seconds()
		return fmt.Sprintf(`# TYPE known_gauge gauge
known_gauge 42.125
# TYPE known_requests_total counter
known_requests_total %f
# TYPE known_seconds histogram
known_seconds_bucket{le="0.1"} %f
known_seconds_bucket{le="0.2"} %f
known_seconds_bucket{le="0.4"} %f
known_seconds_bucket{le="+Inf"} %f
known_seconds_sum %f
known_seconds_count %f
`, n, n*0.5, n*0.9, n, n, n*0.15, n)
	}
	p := startPlugin(t, noPresets+fmt.Sprintf(`
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: known
    static_configs: [{targets: ["%s"]}]
rules:
  - {metric: gauge, label: Gauge, expr: known_gauge, node: host}
  - {metric: requests, label: Requests/s, expr: "rate(known_requests_total[5s])", node: host}
  - {metric: requests_2, label: Requests/s of two samples, expr: "irate(known_requests_total[5s])", node: host}
  - {metric: p50, label: p50 (ms), expr: "1000 * histogram_quantile(0.5, rate(known_seconds_bucket[5s]))", node: host}
  - {metric: p99, label: p99 (ms), expr: "1000 * histogram_quantile(0.99, rate(known_seconds_bucket[5s]))", node: host}
  - {metric: up, label: Up, expr: 'up{job="known"}', node: host}
`, e.address()))
	client := probe(t, p)
	await(t, client, "p99")
	time.Sleep(time.Until(begin.Add(8 * time.Second)))

	// The exporter counts by the clock: on a busy machine a scrape that is late is
	// a rate that is off, for once. One that is always off fails.
	check := func() {
		t.Helper()
		eventually(t, 3*time.Second, "the numbers", func() error {
			report := poll(t, client, 1)
			for _, want := range []struct {
				metric           string
				value, tolerance float64
			}{
				{"gauge", 42.125, 0},
				{"up", 1, 0},
				{"requests", 10, 0.01},
				{"requests_2", 10, 0.01},
				// Half of the observations are up to 0.1 s, 9 in 10 up to 0.2:
				// PromQL interpolates within a bucket.
				{"p50", 100, 0.01},
				{"p99", 380, 0.01},
			} {
				got, ok := report.Value("Host", hostNode, want.metric)
				if !ok || math.Abs(got-want.value) > want.tolerance*want.value {
					return fmt.Errorf("%s is %v, want %v", want.metric, got, want.value)
				}
			}
			return nil
		})
	}
	check()

	// Through the reset: what was counted between the last scrape before it and
	// the reset is lost to everyone, and that is less than a second of five.
	time.Sleep(time.Until(reset.Add(2500 * time.Millisecond)))
	report := poll(t, client, 1)
	for _, m := range report.Metric("Host", hostNode, "requests").Samples {
		if m.Date.Before(begin.Add(7 * time.Second)) {
			continue // the window was not full yet
		}
		if m.Value < 7.5 || m.Value > 10.5 {
			t.Errorf("a rate of %v at %s, through a reset", m.Value, m.Date)
		}
	}
	time.Sleep(time.Until(reset.Add(8 * time.Second)))
	check()
}
