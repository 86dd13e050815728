package web

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/promscope/promscope/bridge/view"
)

// fake is a Source that answers from its fields.
type fake struct {
	status     view.Status
	targets    []view.Target
	rules      []view.Rule
	nodes      []view.Node
	collectors []view.Collector
	config     view.Configuration
	scope      view.Scope
	query      func(view.Query) (view.Result, error)
	explain    func(string) (view.Explanation, error)
}

func (f *fake) Status(context.Context) view.Status               { return f.status }
func (f *fake) Targets(context.Context) []view.Target            { return f.targets }
func (f *fake) Rules(context.Context) []view.Rule                { return f.rules }
func (f *fake) Nodes(context.Context) []view.Node                { return f.nodes }
func (f *fake) Collectors(context.Context) []view.Collector      { return f.collectors }
func (f *fake) Configuration(context.Context) view.Configuration { return f.config }
func (f *fake) Scope(context.Context) view.Scope                 { return f.scope }

func (f *fake) Query(ctx context.Context, q view.Query) (view.Result, error) {
	if err := ctx.Err(); err != nil {
		return view.Result{}, err
	}
	return f.query(q)
}

func (f *fake) Explain(_ context.Context, subject string) (view.Explanation, error) {
	return f.explain(subject)
}

// moment is when the examples are looked at.
var moment = time.Date(2026, 11, 22, 14, 3, 27, 250e6, time.UTC)

// wave is a curve that looks like a measurement, the same at every run.
func wave(seed int, t float64) float64 {
	a := float64(seed%17) + 1
	return 0.5 + 0.22*math.Sin(t/(7+a)+a) + 0.14*math.Sin(t/(2.3+a/9)+2*a) + 0.1*math.Sin(t*1.9+a*a)
}

func samples(seed int, end time.Time, interval time.Duration, low, high float64) []view.Sample {
	var list []view.Sample
	for i := 14; i >= 0; i-- {
		at := end.Add(-time.Duration(i) * interval)
		v := low + (high-low)*wave(seed, float64(at.Unix()))
		list = append(list, view.Sample{Time: at, Value: math.Round(v*1000) / 1000})
	}
	return list
}

const (
	shop  = "9c1f64d2a7be5a0ce3f1b0d8427fa61b5c3e9d70a4f8b2c6e1d5930748ab6cfe"
	cache = "3be0a95fd11c47e2b6a8d0f7c5e41329876fedcba0123456789abcdef0123456"
)

// example is a machine with an ordinary day's trouble.
func example(now time.Time) *fake {
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	target := func(job, instance string, pid int, container string, samples, kept int, took, last time.Duration, size int64) view.Target {
		labels := view.Labels{"job": job, "instance": instance, "target_pid": strconv.Itoa(pid)}
		if container != "" {
			labels["target_container_id"] = container
		}
		return view.Target{
			Job: job, URL: "http://" + instance + "/metrics", Labels: labels,
			Discovered: view.Labels{"__address__": instance, "__scheme__": "http", "__metrics_path__": "/metrics", "__meta_listener_comm": strings.ReplaceAll(job, "-", "_"), "__meta_listener_pid": strconv.Itoa(pid)},
			Health:     view.HealthUp, Since: ago(3*time.Hour + 12*time.Minute), LastScrape: ago(last), LastDurationSeconds: took.Seconds(),
			IntervalSeconds: 5, TimeoutSeconds: 5, Samples: samples, Kept: kept, Bytes: size,
			Format: "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
		}
	}
	ms := func(v float64) time.Duration { return time.Duration(v * float64(time.Millisecond)) }
	f := &fake{
		status: view.Status{
			Version: "0.4.0", Revision: "8c2f1e7", GoVersion: "go1.26.8", Started: ago(3*time.Hour + 12*time.Minute),
			Series: 412, SeriesLimit: 100000,
		},
		targets: []view.Target{
			target("node", "localhost:9100", 812, "", 1204, 61, ms(8.7), ms(1840), 94_300),
			target("local", "127.0.0.1:9121", 2210, "", 388, 4, ms(2.1), ms(3120), 31_420),
			target("local", "127.0.0.1:9113", 2274, "", 14, 2, ms(0.9), ms(420), 1_180),
			target("shop", "10.88.0.14:8080", 4127, shop, 2318, 118, ms(11.2), ms(2650), 211_904),
			target("shop", "10.88.0.15:8080", 4188, cache, 2296, 117, ms(9.8), ms(960), 209_012),
			target("cadvisor", "localhost:8081", 1033, "", 4980, 96, ms(31.5), ms(4480), 702_110),
			target("prometheus", "localhost:9090", 1290, "", 871, 8, ms(5.4), ms(3900), 118_233),
			target("payments", "10.88.0.21:9464", 4302, "", 0, 0, ms(5000), ms(2210), 0),
			target("local", "127.0.0.1:9187", 2391, "", 0, 0, ms(1.3), ms(1710), 0),
		},
	}
	f.targets[3].Format = "text/plain; version=0.0.4"
	f.targets[5].Notes = []string{"Every series is parsed: a metric_relabel_configs rule may write __name__."}
	down := &f.targets[7]
	down.Health, down.Since, down.Error = view.HealthDown, ago(4*time.Minute+10*time.Second), "Get \"http://10.88.0.21:9464/metrics\": context deadline exceeded"
	down = &f.targets[8]
	down.Health, down.Since, down.Error = view.HealthDown, ago(51*time.Second), "server returned HTTP status 500 Internal Server Error"
	f.targets = append(f.targets,
		view.Target{Job: "promscope", Labels: view.Labels{"job": "promscope", "instance": "iowait"}, Health: view.HealthUp, Since: ago(3 * time.Hour), LastScrape: ago(ms(310)), LastDurationSeconds: 0.00021, IntervalSeconds: 1, Samples: 27, Kept: 27},
		view.Target{Job: "promscope", Labels: view.Labels{"job": "promscope", "instance": "http"}, Health: view.HealthUp, Since: ago(3 * time.Hour), LastScrape: ago(ms(770)), LastDurationSeconds: 0.00048, IntervalSeconds: 1, Samples: 190, Kept: 152},
		view.Target{Job: "local", Health: view.HealthDropped, Labels: view.Labels{}, Discovered: view.Labels{"__address__": "127.0.0.1:9999", "__meta_listener_comm": "debugger"}, Error: "dropped by relabel_configs"},
	)

	rule := func(topology, metric, label, format, expr, nodeLabel, preset string, series, points int, took float64, last time.Duration) view.Rule {
		r := view.Rule{
			Name: strings.ToLower(topology) + "/" + metric, Metric: metric, Label: label, Format: format, Topology: topology,
			Expr: expr, NodeLabel: nodeLabel, Preset: preset, Series: series, Elements: points, Points: points,
			LastEvaluation: ago(last), LastDurationSeconds: took, IntervalSeconds: 5, Priority: 2.5,
			Selectors: []view.Selector{{Matchers: selectorOf(expr), RetentionSeconds: 40, Series: series}},
		}
		if format == "percent" {
			r.Max = 100
		}
		if preset == "" {
			r.Position = "/etc/promscope/promscope.yml:" + strconv.Itoa(14+9*len(f.rules)) + ":5"
		} else {
			r.Position = "presets/" + preset + ".yml:" + strconv.Itoa(6+8*len(f.rules)) + ":5"
		}
		if series == 0 {
			r.LastEvaluation, r.LastDurationSeconds = time.Time{}, 0
		}
		f.rules = append(f.rules, r)
		return r
	}
	rule("Container", "shop_orders", "Orders/s", "", `sum by (target_container_id) (rate(shop_orders_total{state="paid"}[25s]))`, "target_container_id", "", 8, 2, 0.00011, ms(960))
	rule("Process", "shop_queue", "Queue length", "integer", `max by (target_pid) (shop_queue_length)`, "target_pid", "", 2, 2, 0.00007, ms(960))
	rule("Host", "cart_ratio", "Cart to order", "percent", `100 * sum(rate(shop_orders_total[25s])) / on (job) group_left () sum by (job) (rate(shop_carts_total[25s]))`, "", "", 14, 0, 0.00009, ms(960))
	f.rules[2].Error = `found duplicate series for the match group {} on the left side: many-to-one matching must be explicit`
	f.rules[2].Elements, f.rules[2].Evaluations, f.rules[2].Failures = 0, 2304, 2304
	rule("Process", "payments_lag", "Payments lag (ms)", "", `1000 * max by (target_pid) (payments_lag_seconds)`, "target_pid", "", 0, 0, 0, 0)
	rule("Host", "promscope_cpu_iowait", "CPU iowait", "percent", `100 * sum(rate(promscope_cpu_seconds_total{cpu="all", mode="iowait"}[5s])) / sum(rate(promscope_cpu_seconds_total{cpu="all"}[5s]))`, "", "iowait", 9, 1, 0.00008, ms(310))
	rule("Host", "promscope_cpu_idle", "CPU idle", "percent", `100 * sum(rate(promscope_cpu_seconds_total{cpu="all", mode="idle"}[5s])) / sum(rate(promscope_cpu_seconds_total{cpu="all"}[5s]))`, "", "iowait", 9, 1, 0.00008, ms(310))
	rule("Process", "promscope_http_requests", "HTTP requests/s", "", `sum by (pid) (rate(promscope_http_requests_total[5s]))`, "pid", "http", 6, 6, 0.00012, ms(770))
	rule("Process", "promscope_http_errors", "HTTP 5xx/s", "", `sum by (pid) (rate(promscope_http_responses_total{code=~"5.."}[5s]))`, "pid", "http", 14, 6, 0.00013, ms(770))
	rule("Process", "promscope_http_p99", "HTTP p99 (ms)", "", `1000 * histogram_quantile(0.99, sum by (pid, le) (rate(promscope_http_request_duration_seconds_bucket[5s])))`, "pid", "http", 132, 5, 0.00041, ms(770))
	f.rules[8].Elements, f.rules[8].Dropped = 6, map[string]int{"value": 1}
	rule("Host", "node_memory_available", "Memory available", "percent", `100 * node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes`, "", "node_exporter", 2, 1, 0.00006, ms(1840))
	rule("Host", "node_disk_busy_${device}", "Disk ${device} busy", "percent", `100 * rate(node_disk_io_time_seconds_total{device!~"loop.*|ram.*"}[25s])`, "", "node_exporter", 2, 2, 0.00007, ms(1840))
	rule("Host", "node_network_receive_${device}", "Network ${device} in (/s)", "filesize", `rate(node_network_receive_bytes_total{device!~"lo|veth.*"}[25s])`, "", "node_exporter", 3, 3, 0.00007, ms(1840))
	rule("Process", "go_goroutines", "Goroutines", "integer", `go_goroutines`, "target_pid", "client_golang", 7, 5, 0.00005, ms(420))
	f.rules[12].Elements, f.rules[12].Dropped = 7, map[string]int{"dead": 1, "no_label": 1}
	f.rules[12].Warnings = []string{"go_goroutines of job cadvisor has no label target_pid"}
	rule("Process", "go_heap", "Go heap in use", "filesize", `go_memstats_heap_inuse_bytes`, "target_pid", "client_golang", 6, 6, 0.00005, ms(420))
	rule("Process", "open_fds", "File descriptors used", "percent", `100 * process_open_fds / process_max_fds`, "target_pid", "client_golang", 12, 6, 0.00006, ms(420))
	rule("Container", "container_cpu", "CPU throttled", "percent", `100 * sum by (id) (rate(container_cpu_cfs_throttled_periods_total[25s])) / sum by (id) (rate(container_cpu_cfs_periods_total[25s]))`, "id", "cadvisor", 48, 2, 0.00016, ms(4480))
	f.rules[15].Elements, f.rules[15].Dropped, f.rules[15].Regex = 48, map[string]int{"bad_id": 46}, `.*([0-9a-f]{64}).*`
	rule("Process", "jvm_heap", "JVM heap", "filesize", `sum by (target_pid) (jvm_memory_used_bytes{area="heap"})`, "target_pid", "jvm", 0, 0, 0, 0)
	rule("Process", "nodejs_eventloop_lag", "Event loop lag (ms)", "", `1000 * nodejs_eventloop_lag_p99_seconds`, "target_pid", "nodejs", 0, 0, 0, 0)

	metric := func(seed int, id, label, format string, limit float64, rule string, interval time.Duration, low, high float64) view.Metric {
		return view.Metric{ID: id, Label: label, Format: format, Max: limit, Rule: rule, Samples: samples(seed, ago(ms(float64(seed*137%900))), interval, low, high)}
	}
	f.nodes = []view.Node{{Key: "vm-03;<host>", Topology: "Host", ID: "vm-03", Metrics: []view.Metric{
		metric(1, "promscope_cpu_iowait", "CPU iowait", "percent", 100, "host/promscope_cpu_iowait", time.Second, 0, 9),
		metric(2, "promscope_cpu_idle", "CPU idle", "percent", 100, "host/promscope_cpu_idle", time.Second, 40, 95),
		metric(3, "node_memory_available", "Memory available", "percent", 100, "host/node_memory_available", 5*time.Second, 54, 57),
		metric(4, "node_disk_busy_nvme0n1", "Disk nvme0n1 busy", "percent", 100, "host/node_disk_busy_${device}", 5*time.Second, 0, 38),
		metric(5, "node_disk_busy_sda", "Disk sda busy", "percent", 100, "host/node_disk_busy_${device}", 5*time.Second, 0, 2),
		metric(6, "node_network_receive_eth0", "Network eth0 in (/s)", "filesize", 9e6, "host/node_network_receive_${device}", 5*time.Second, 2e5, 8e6),
		metric(7, "node_network_receive_eth1", "Network eth1 in (/s)", "filesize", 9e6, "host/node_network_receive_${device}", 5*time.Second, 4e4, 2e6),
	}}}
	for i, c := range []string{shop, cache} {
		f.nodes = append(f.nodes, view.Node{Key: c + ";<container>", Topology: "Container", ID: c, Name: []string{"shop-1", "shop-2"}[i], Metrics: []view.Metric{
			metric(8+i, "shop_orders", "Orders/s", "", 60, "container/shop_orders", 5*time.Second, 12, 48),
			metric(10+i, "container_cpu", "CPU throttled", "percent", 100, "container/container_cpu", 5*time.Second, 8, 44),
		}})
	}
	for i, process := range []struct {
		name string
		pid  int
	}{{"node_exporter", 812}, {"cadvisor", 1033}, {"prometheus", 1290}, {"nginx", 2201}, {"redis_exporter", 2210}, {"shop", 4127}, {"shop", 4188}} {
		n := view.Node{Key: "vm-03;" + strconv.Itoa(process.pid), Topology: "Process", ID: strconv.Itoa(process.pid), Name: process.name}
		if process.name == "shop" {
			n.Metrics = append(n.Metrics, metric(40+i, "shop_queue", "Queue length", "integer", 50, "process/shop_queue", 5*time.Second, 0, 40))
		}
		n.Metrics = append(n.Metrics,
			metric(20+i, "promscope_http_requests", "HTTP requests/s", "", 400, "process/promscope_http_requests", time.Second, 0.2, 30*float64(1+i*i)),
			metric(27+i, "promscope_http_errors", "HTTP 5xx/s", "", 2, "process/promscope_http_errors", time.Second, 0, float64(i%3)*0.8),
			metric(34+i, "promscope_http_p99", "HTTP p99 (ms)", "", 90, "process/promscope_http_p99", time.Second, 2, 6*float64(2+i)))
		if process.name != "nginx" {
			n.Metrics = append(n.Metrics,
				metric(51+i, "go_goroutines", "Goroutines", "integer", 300, "process/go_goroutines", 5*time.Second, 8, 30*float64(i+1)),
				metric(58+i, "go_heap", "Go heap in use", "filesize", 2e8, "process/go_heap", 5*time.Second, 8e6, 3e7*float64(i+1)),
				metric(65+i, "open_fds", "File descriptors used", "percent", 100, "process/open_fds", 5*time.Second, 0.4, 1.9))
		}
		f.nodes = append(f.nodes, n)
	}
	f.collectors = []view.Collector{
		{
			Name: "http", Help: "HTTP requests, responses and latency by process, counted in the kernel.", State: view.CollectorOn,
			Hook: "fentry", Hooks: []view.Hook{{Name: "fentry"}, {Name: "kprobe", Error: "not tried: fentry serves"}, {Name: "tracepoint", Error: "not tried: fentry serves"}},
			Requires: []string{"BTF", "CAP_BPF", "CAP_PERFMON"}, IntervalSeconds: 1, LastGather: ago(ms(770)), LastDurationSeconds: 0.00048,
			Series: 190, Kept: 152, Warnings: []string{"the kernel can preempt its programs: watch the runs that it missed"}, Facts: []view.Fact{{Name: "Processes tracked", Value: "6"}, {Name: "Connections", Value: "212"}, {Name: "Evicted", Value: "0"}},
			Programs: []view.Program{{Name: "on_receive", Runs: 1_204_331, RunSeconds: 0.3444, Missed: 2}, {Name: "on_close"}},
			Maps:     []view.Map{{Name: "processes", Entries: 6, Limit: 1024}, {Name: "sockets", Entries: 512, Limit: 512, Evicts: true}},
		},
		{
			Name: "iowait", Help: "CPU time of this host by mode, from /proc/stat.", State: view.CollectorOn, IntervalSeconds: 1,
			LastGather: ago(ms(310)), LastDurationSeconds: 0.00021, Series: 27, Kept: 27,
		},
		{
			Name: "tcp", Help: "Retransmits and round-trip times of TCP connections by process.", State: view.CollectorFailed, IntervalSeconds: 1,
			Error: "loading the program: operation not permitted (kernel lockdown: confidentiality)", Remedy: "Boot with lockdown=integrity, or switch the collector off: collectors: {tcp: {enabled: false}}.",
			Requires: []string{"BTF", "CAP_BPF", "CAP_PERFMON"}, Errors: 1,
		},
	}
	f.config = view.Configuration{
		File: "/etc/promscope/promscope.yml", Loaded: ago(41 * time.Minute),
		Warnings: []string{"/etc/promscope/promscope.yml:32:11: warning: the range of rate() is shorter than 4 scrape intervals\n   32 |     expr: 100 * sum(rate(shop_orders_total[25s])) / on (job) group_left ()\n      |                     ^"},
		Text: `global:
  scrape_interval: 5s
  scrape_timeout: 5s

scope:
  plugins_root: /var/run/scope/plugins
  plugin_id: promscope

scrape_configs:
  - job_name: node
    static_configs:
      - targets: ["localhost:9100"]
  - job_name: shop
    basic_auth:
      username: scope
      password: <secret>
    file_sd_configs:
      - files: [/etc/promscope/shop/*.yml]

rules:
  - metric: shop_orders
    label: Orders/s
    expr: sum by (target_container_id) (rate(shop_orders_total{state="paid"}[$__rate_interval]))
    node: {container: target_container_id}
`,
	}
	metrics := 0
	for _, n := range f.nodes {
		metrics += len(n.Metrics)
	}
	f.scope = view.Scope{
		Socket: "/var/run/scope/plugins/promscope/promscope.sock", PluginID: "promscope",
		Host: "vm-03", HostSource: "the probe's environment (SCOPE_HOSTNAME)",
		Candidates: []view.HostCandidate{
			{Source: "--scope.host and scope.host", Error: "not set"},
			{Source: "SCOPE_HOSTNAME", Error: "not set"},
			{Source: "SCOPE_HOSTNAME of the probe", Name: "vm-03"},
			{Source: "host name of the probe", Name: "vm-03.internal"},
			{Source: "host name of init", Name: "vm-03.internal"},
			{Source: "hostname", Name: "vm-03.internal"},
		},
		Pollers: []view.Poller{{
			ProbeID: "6befab12ed9aaa96", Process: "scope (pid 1701)", FirstPoll: ago(3 * time.Hour), LastPoll: ago(ms(380)),
			Polls: 11482, IntervalSeconds: 1, AnswerSeconds: 0.00031, AnswerBytes: 11_790,
		}},
		Report: view.Report{
			Published: ago(ms(300)), Nodes: len(f.nodes), Metrics: metrics, Samples: metrics * 15, Templates: 19,
			Bytes: 61_733, EncodeSeconds: 0.00024,
		},
	}
	f.query = exampleQuery
	f.explain = func(subject string) (view.Explanation, error) { return exampleExplanation(f, now, subject) }
	return f
}

// selectorOf is the first selector of an example's expression.
func selectorOf(expr string) string {
	for _, word := range strings.FieldsFunc(expr, func(r rune) bool { return strings.ContainsRune(" ()[]*/", r) }) {
		if strings.Contains(word, "_") && !strings.HasPrefix(word, "target_") && !strings.HasPrefix(word, "histogram_") && !strings.HasPrefix(word, "group_") {
			return word
		}
	}
	return expr
}

// exampleQuery answers any expression with curves; some with something special.
func exampleQuery(q view.Query) (view.Result, error) {
	switch {
	case q.Expr == allMetrics:
		r := view.Result{Type: view.TypeVector}
		for i, name := range []string{"container_cpu_usage_seconds_total", "go_goroutines", "go_memstats_heap_inuse_bytes", "node_disk_io_time_seconds_total", "node_memory_MemAvailable_bytes", "node_memory_MemTotal_bytes", "node_network_receive_bytes_total", "process_max_fds", "process_open_fds", "promscope_cpu_seconds_total", "promscope_http_request_duration_seconds_bucket", "promscope_http_requests_total", "promscope_http_responses_total", "shop_carts_total", "shop_orders_total", "shop_queue_length", "up"} {
			r.Series = append(r.Series, view.Series{Labels: view.Labels{"__name__": name}, Points: []view.Point{{Time: q.End, Value: float64(2 + i*i%23)}}})
		}
		return r, nil
	case strings.Contains(q.Expr, "("+"("):
		return view.Result{}, &view.QueryError{Kind: view.ErrorBadData, Err: errors.New("1:5: parse error: unexpected end of input in aggregation")}
	case strings.HasPrefix(q.Expr, "absent_metric"):
		return view.Result{Type: view.TypeVector}, nil
	case q.Expr == `"text"`:
		return view.Result{Type: view.TypeString, String: "text"}, nil
	case q.Expr == "1":
		return view.Result{Type: view.TypeScalar, Series: []view.Series{{Points: []view.Point{{Time: q.End, Value: 1}}}}}, nil
	case q.Expr == "boom":
		return view.Result{}, errors.New("the engine failed")
	}
	var series []view.Series
	for i, mode := range []string{"idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"} {
		s := view.Series{Labels: view.Labels{"instance": "localhost:9100", "mode": mode}}
		low, high := 0.0, []float64{70, 9, 1, 0.6, 2, 0.4, 14, 30}[i]
		switch {
		case strings.HasSuffix(q.Expr, "]"):
			for n := 11; n >= 0; n-- {
				at := q.End.Add(-time.Duration(n) * 5 * time.Second)
				s.Points = append(s.Points, view.Point{Time: at, Value: low + high*wave(i, float64(at.Unix()))})
			}
		case q.Step == 0:
			s.Points = []view.Point{{Time: q.End, Value: low + high*wave(i, float64(q.End.Unix()))}}
		default:
			for at := q.Start; !at.After(q.End); at = at.Add(q.Step) {
				s.Points = append(s.Points, view.Point{Time: at, Value: low + high*wave(i, float64(at.Unix()))})
			}
		}
		series = append(series, s)
	}
	if strings.HasSuffix(q.Expr, "]") || q.Step > 0 {
		return view.Result{Type: view.TypeMatrix, Series: series}, nil
	}
	return view.Result{Type: view.TypeVector, Series: series, Infos: []string{"PromQL info: metric might not be a counter"}}, nil
}

func exampleExplanation(f *fake, now time.Time, subject string) (view.Explanation, error) {
	e := view.Explanation{Subject: subject}
	if strings.HasPrefix(subject, "{{") {
		return e, errors.New("1:2: parse error: unexpected character inside braces: '{'")
	}
	refs := []view.TargetRef{}
	for _, t := range f.targets[:2] {
		refs = append(refs, view.TargetRef{Job: t.Job, Instance: t.Instance(), URL: t.URL, Health: t.Health})
	}
	for _, n := range f.nodes {
		if subject == n.Key || subject == n.ID {
			x := view.NodeExplanation{Node: n, Drops: []view.Drop{{Rule: "process/shop_lag", Reason: "value", Why: "NaN is no number that Scope could show", Elements: 2}}}
			for _, m := range n.Metrics {
				o := view.MetricOrigin{Metric: m.ID, Rule: m.Rule, Targets: refs[:1]}
				for _, r := range f.rules {
					if r.Name == m.Rule {
						o.Expr = r.Expr
					}
				}
				x.Origins = append(x.Origins, o)
			}
			e.Nodes = append(e.Nodes, x)
		}
	}
	for _, r := range f.rules {
		if subject != r.Name && subject != r.Metric {
			continue
		}
		x := view.RuleExplanation{Rule: r, Targets: refs}
		for i := range r.Points {
			x.Results = append(x.Results, view.Element{Labels: view.Labels{"target_pid": f.nodes[3+i%7].ID}, Value: view.Float(1.5 * float64(i+1)), Node: f.nodes[3+i%7].Key})
		}
		for _, reason := range slices.Sorted(maps.Keys(r.Dropped)) {
			for i := range min(r.Dropped[reason], 3) {
				x.Results = append(x.Results, view.Element{Labels: view.Labels{"target_pid": fmt.Sprint(31 + i)}, Value: view.Float(math.NaN()), Dropped: reason, Why: map[string]string{"dead": "process 31 does not exist, or began after the sample"}[reason]})
			}
		}
		e.Rules = append(e.Rules, x)
	}
	if strings.HasPrefix(subject, "node_cpu_seconds_total") {
		for _, mode := range []string{"iowait", "user"} {
			x := view.SeriesExplanation{
				Labels: view.Labels{"__name__": "node_cpu_seconds_total", "cpu": "0", "mode": mode, "instance": "localhost:9100", "job": "node"},
				Target: &refs[0], Selected: []view.Selection{},
			}
			if mode == "iowait" {
				x.Last = &view.Sample{Time: now.Add(-1840 * time.Millisecond), Value: 4127.61}
				x.Selected = append(x.Selected, view.Selection{Rule: "host/cpu_iowait", Selector: `node_cpu_seconds_total{mode="iowait"}`, Nodes: []string{"vm-03;<host>"}, Elements: []view.Element{{Node: "vm-03;<host>"}}})
			} else {
				x.Refused = append(x.Refused,
					view.Refusal{Rule: "host/cpu_iowait", Selector: `node_cpu_seconds_total{mode="iowait"}`, Matcher: `mode="iowait"`, Value: "user"},
					view.Refusal{Rule: "host/cpu_steal", Selector: `node_cpu_seconds_total{mode="steal", zone=~".+"}`, Matcher: `zone=~".+"`})
			}
			e.Series = append(e.Series, x)
		}
	}
	for i := range e.Rules {
		if e.Rules[i].Series == 0 {
			e.Rules[i].Hints = []string{"No target that is up serves payments_lag_seconds."}
		}
	}
	if !e.Found() {
		e.Hints = []string{"Similar names: go_goroutines, go_heap.", "Job payments is down: what its targets serve is not known."}
	}
	return e, nil
}

// crowd is a Source as large as the pages have to bear.
func crowd(now time.Time, targets, rules, nodes int) *fake {
	f := example(now)
	seed := *f
	f.targets, f.rules, f.nodes = nil, nil, nil
	for i := range targets {
		t := seed.targets[i%len(seed.targets)]
		t.Labels = view.Labels{"job": t.Job, "instance": fmt.Sprintf("10.0.%d.%d:9100", i/250, i%250), "target_pid": strconv.Itoa(1000 + i)}
		f.targets = append(f.targets, t)
	}
	for i := range rules {
		r := seed.rules[i%len(seed.rules)]
		r.Name += "_" + strconv.Itoa(i)
		f.rules = append(f.rules, r)
	}
	for i := range nodes {
		n := seed.nodes[3+i%(len(seed.nodes)-3)]
		n.ID = strconv.Itoa(1000 + i)
		n.Key = "vm-03;" + n.ID
		f.nodes = append(f.nodes, n)
	}
	f.scope.Report.Nodes = nodes
	return f
}
