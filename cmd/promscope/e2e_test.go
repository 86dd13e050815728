package main

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
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
	// The probe allows 500 ms. The tests that run at once leave this machine less time
	// than that now and then; TestHangingTargets measures how long polls take.
	client := probetest.NewClient(p.socket, probetest.Options{Host: hostName, Timeout: 5 * time.Second})
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

// Without any configuration: the host's CPUs, and an exporter that was started later.
func TestNoConfiguration(t *testing.T) {
	t.Parallel()
	if !inSandbox(t, ownNetwork|ownProcesses, nodeExporter) {
		return
	}
	path, err := nodeExporter()
	if err != nil {
		t.Fatal(err)
	}
	p := startPlugin(t, "")
	client := probe(t, p)
	await(t, client, "promscope_cpu_iowait")
	p.awaitReady(t)

	node := start(t, path)
	awaitListener(t, "127.0.0.1:9100")
	began := time.Now()
	values := map[string]map[time.Time]float64{"promscope_cpu_iowait": {}}
	// merge keeps the values of all reports, as Scope does.
	merge := func(r *probetest.Report) {
		for metric := range values {
			m := r.Metric("Host", hostNode, metric)
			if m == nil {
				t.Fatalf("no %s in:\n%s", metric, r.Body)
			}
			if len(m.Samples) > 15 {
				t.Errorf("%d samples of %s in a report, want the last 15 s at most", len(m.Samples), metric)
			}
			for _, s := range m.Samples {
				values[metric][s.Date] = s.Value
			}
		}
	}
	host := local{"node_exporter", hostNode, "Host",
		[]string{"promscope_node_memory_available", "promscope_node_filesystem_used__"},
		nil}
	itself := local{"node_exporter itself", processNode(node), "Process",
		[]string{"promscope_go_goroutines", "promscope_go_heap", "promscope_process_fds_used"}, nil}
	within(t, client, began, 2*lookInterval, "the exporter", func(r *probetest.Report) error {
		merge(r)
		return errors.Join(host.missing(r, host.gauges), itself.missing(r, itself.gauges))
	})
	within(t, client, began, 2*lookInterval+2*scrapeInterval, "its rates", func(r *probetest.Report) error {
		merge(r)
		// Which ones have room depends on the machine.
		shown := slices.Sorted(maps.Keys(r.Topologies["Host"].Nodes[hostNode].Metrics))
		if !slices.ContainsFunc(shown, func(metric string) bool {
			return metric == "promscope_node_pressure_cpu" || strings.HasPrefix(metric, "promscope_node_disk_busy_")
		}) {
			return fmt.Errorf("no rate among %q", shown)
		}
		return nil
	})
	within(t, client, began, 30*time.Second, "16 s of values", func(r *probetest.Report) error {
		merge(r)
		dates := slices.SortedFunc(maps.Keys(values["promscope_cpu_iowait"]), time.Time.Compare)
		if dates[len(dates)-1].Sub(dates[0]) < 16*time.Second {
			return errNotYet
		}
		return nil
	})
	for metric, values := range values {
		dates := slices.SortedFunc(maps.Keys(values), time.Time.Compare)
		for i, date := range dates {
			if v := values[date]; v < 0 || v > 100 {
				t.Errorf("%s is %v %%", metric, v)
			}
			if i == 0 {
				continue
			}
			if gap := date.Sub(dates[i-1]); gap < 500*time.Millisecond || gap > 2100*time.Millisecond {
				t.Errorf("%s: %s between two samples, want a second", metric, gap)
			}
		}
		span := dates[len(dates)-1].Sub(dates[0])
		if mean := span / time.Duration(len(dates)-1); mean < 950*time.Millisecond || mean > 1100*time.Millisecond {
			t.Errorf("%s: %d samples in %s, want one a second", metric, len(dates), span)
		}
	}
	report := poll(t, client, 1)
	iowait := report.Topologies["Host"].Templates["promscope_cpu_iowait"]
	if iowait.Label != "CPU iowait" || iowait.Format != "percent" || iowait.Priority != 2.5 {
		t.Errorf("template of promscope_cpu_iowait is %+v", iowait)
	}
	if status, _, err := get(t.Context(), p.web+"/-/ready"); err != nil || status != 200 {
		t.Errorf("/-/ready: status %d, %v", status, err)
	}
}

// A configuration like the README's, and more of the kind.
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
	report := poll(t, client, 5)

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
	within(t, client, time.Now(), 2*time.Second, "the dead process", func(r *probetest.Report) error {
		if m := r.Metric("Process", node, "goroutines"); m != nil {
			return fmt.Errorf("it has metrics: %+v", m)
		}
		return nil
	})
	// The host's metrics follow, as soon as the scrape has failed.
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
	// A counter that grows by 10 a second, and is reset once. It says of which moment
	// its values are: how late the machine gets to a scrape changes no rate.
	since := time.Now()
	var last time.Time
	reset := false
	e := newExporter(t, "")
	e.serve = func() string {
		now := time.Now().Truncate(time.Millisecond)
		if reset {
			since, reset = last.Add(300*time.Millisecond), false
		}
		last = now
		n := 10 * now.Sub(since).Seconds()
		return fmt.Sprintf(`# TYPE known_gauge gauge
known_gauge 42.125
# TYPE known_requests_total counter
known_requests_total %[2]f %[1]d
# TYPE late_requests_total counter
late_requests_total %[2]f
# TYPE known_seconds histogram
known_seconds_bucket{le="0.1"} %[3]f %[1]d
known_seconds_bucket{le="0.2"} %[4]f %[1]d
known_seconds_bucket{le="0.4"} %[2]f %[1]d
known_seconds_bucket{le="+Inf"} %[2]f %[1]d
known_seconds_sum %[5]f %[1]d
known_seconds_count %[2]f %[1]d
`, now.UnixMilli(), n, n*0.5, n*0.9, n*0.15)
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
  - {metric: late, label: Requests/s by the time of the scrape, expr: "rate(late_requests_total[5s])", node: host}
  - {metric: p50, label: p50 (ms), expr: "1000 * histogram_quantile(0.5, rate(known_seconds_bucket[5s]))", node: host}
  - {metric: p99, label: p99 (ms), expr: "1000 * histogram_quantile(0.99, rate(known_seconds_bucket[5s]))", node: host}
  - {metric: up, label: Up, expr: 'up{job="known"}', node: host}
`, e.address()))
	client := probe(t, p)
	await(t, client, "p99")

	// The rate by the time of the scrape is right once the machine was quiet for 5 s. A
	// rate that is always off fails.
	check := func() {
		t.Helper()
		eventually(t, 30*time.Second, "the numbers", func() error {
			report := poll(t, client, 1)
			for _, want := range []struct {
				metric           string
				value, tolerance float64
			}{
				{"gauge", 42.125, 0},
				{"up", 1, 0},
				{"requests", 10, 0.001},
				{"requests_2", 10, 0.001},
				{"late", 10, 0.01},
				// Half of the observations are up to 0.1 s, 9 in 10 up to 0.2:
				// PromQL interpolates within a bucket.
				{"p50", 100, 0.001},
				{"p99", 380, 0.001},
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

	// Through the reset: what was counted between the last scrape before it and the
	// reset is lost to everyone, and that is 0.3 s of five.
	e.mu.Lock()
	resetAt := last
	reset = true
	e.mu.Unlock()
	lowest := 10.0
	within(t, client, resetAt, 20*time.Second, "the reset", func(r *probetest.Report) error {
		for _, m := range r.Metric("Host", hostNode, "requests").Samples {
			if !m.Date.After(resetAt) {
				continue
			}
			if m.Value < 7.5 || m.Value > 10.5 {
				t.Errorf("a rate of %v at %s, through a reset", m.Value, m.Date)
			}
			lowest = min(lowest, m.Value)
		}
		if lowest > 9.7 {
			return fmt.Errorf("the lowest rate is %v: there was no reset", lowest)
		}
		return nil
	})
	check()
}
