package mapping

import (
	"cmp"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// benchRules are twenty rules of the kinds that presets have: gauges, rates,
// ratios, joins, sums by process, quantiles, one metric for each device.
const benchRules = `
- {metric: g1, label: G1, expr: g1, node: {process: pid}}
- {metric: g2, label: G2, expr: 'g2 / 1024', node: {process: pid}}
- {metric: g3, label: G3, expr: 'max by (pid) (g3)', node: {process: pid}}
- {metric: g4, label: G4, expr: '100 * g1 / on (pid) g4', node: {process: pid}}
- {metric: r1, label: R1, expr: 'rate(c1_total[$__rate_interval])', node: {process: pid}}
- {metric: r2, label: R2, expr: 'irate(c2_total[$__rate_interval])', node: {process: pid}}
- {metric: r3, label: R3, expr: 'sum by (pid) (rate(c3_total[$__rate_interval]))', node: {process: pid}}
- {metric: r4, label: R4, expr: '100 * rate(c4_total[$__rate_interval]) / rate(c1_total[$__rate_interval])', node: {process: pid}}
- {metric: r5, label: R5, expr: 'increase(c5_total[1m])', node: {process: pid}}
- {metric: s1, label: S1, expr: 'sum by (container) (rate(c1_total[$__rate_interval]))', node: {container: container}}
- {metric: s2, label: S2, expr: 'sum by (path) (g1)', node: {container: path, regex: '.*/([0-9a-f]{64})\.scope'}}
- {metric: s3, label: S3, expr: sum(g2), node: host}
- {metric: s4, label: S4, format: percent, expr: '100 * avg(rate(c4_total[$__rate_interval]))', node: host}
- {metric: q1, label: Q1, expr: '1000 * histogram_quantile(0.5, sum by (pid, le) (rate(h1_bucket[$__rate_interval])))', node: {process: pid}}
- {metric: q2, label: Q2, expr: '1000 * histogram_quantile(0.99, sum by (pid, le) (rate(h1_bucket[$__rate_interval])))', node: {process: pid}}
- {metric: q3, label: Q3, expr: 'histogram_quantile(0.9, sum by (le) (rate(h1_bucket[$__rate_interval])))', node: host}
- {metric: 'd1_${device}', label: 'D1 ${device}', expr: 'rate(d1_total[$__rate_interval])', node: host}
- {metric: 'd2_${device}', label: 'D2 ${device}', expr: 'sum by (device) (d2)', node: host}
- {metric: l1, label: L1, expr: 'label_replace(g5, "pid", "$1", "instance", "(.*):.*")', node: {process: pid}}
- {metric: m1, label: M1, expr: 'max_over_time(g5[30s]) > 0', node: {process: pid}}
`

// benchSeries makes the series for n processes: ten of gauges and counters each,
// and one histogram of eleven buckets for every tenth, which makes 2,000 series for
// about 180. Each has the samples of 72 seconds.
func benchSeries(n int) (memory, int) {
	store := memory{}
	series := 0
	add := func(name string, kv ...string) {
		series++
		l := labels.FromStrings(append([]string{"__name__", name, "job", "bench", "instance", "localhost:9100"}, kv...)...)
		for i := range 24 {
			store.Append(l, start.Add(time.Duration(i)*3*time.Second), parser.SequenceValue{Value: float64(i * (series%7 + 1))})
		}
	}
	for p := range n {
		pid := fmt.Sprint(1000 + p)
		id := fmt.Sprintf("%064x", p)
		for _, name := range []string{"g1", "g2", "g3", "g4", "g5", "c1_total", "c2_total", "c3_total", "c4_total", "c5_total"} {
			add(name, "pid", pid, "container", id, "path", "/kubepods.slice/burstable/cri-containerd-/"+id+".scope")
		}
		if p%10 == 0 {
			for _, le := range strings.Fields("0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 +Inf") {
				add("h1_bucket", "pid", pid, "le", le)
			}
		}
	}
	for d := range 8 {
		add("d1_total", "device", fmt.Sprint("sd", d))
		add("d2", "device", fmt.Sprint("sd", d))
	}
	return store, series
}

// limits fills in those that a test is not about.
func limits(o EvaluatorOptions) EvaluatorOptions {
	return EvaluatorOptions{
		MaxNodes:          cmp.Or(o.MaxNodes, 5_000),
		MaxMetricsPerRule: cmp.Or(o.MaxMetricsPerRule, 20),
		MaxSamples:        cmp.Or(o.MaxSamples, 1_000_000),
		Timeout:           cmp.Or(o.Timeout, 5*time.Second),
	}
}

// BenchmarkEvaluate evaluates twenty rules over about 2,000 selected series.
func BenchmarkEvaluate(b *testing.B) {
	rules, list := parseText(b, benchRules, every(3*time.Second))
	set, more := NewSet(rules)
	if err := append(list, more...).Err(); err != nil {
		b.Fatal(err)
	}
	store, series := benchSeries(180)
	e := NewEvaluator(set, store, nil, nil, nil, limits(EvaluatorOptions{}))
	at := start.Add(69 * time.Second)
	points := 0
	b.ReportAllocs()
	for b.Loop() {
		points = 0
		for i := range set.Rules() {
			result, err := e.Evaluate(b.Context(), i, at)
			if err != nil {
				b.Fatal(err)
			}
			points += len(result.Points)
		}
	}
	if points < 2000 {
		b.Fatalf("%d points", points)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(series), "ns/series")
	b.ReportMetric(float64(series), "series")
	b.ReportMetric(float64(points), "points")
}

// BenchmarkEvaluateFixed is the cost of a rule with next to no data.
func BenchmarkEvaluateFixed(b *testing.B) {
	for _, tc := range []struct{ name, expr, node string }{
		{"gauge", "x", "host"},
		{"rate", "100 * avg(rate(x[$__rate_interval]))", "host"},
		{"quantile", "1000 * histogram_quantile(0.99, sum by (pid, le) (rate(x[$__rate_interval])))", "{process: pid}"},
	} {
		b.Run(tc.name, func(b *testing.B) {
			set := mustSet(b, fmt.Sprintf("[{metric: m, label: M, expr: %q, node: %s}]", tc.expr, tc.node))
			e := NewEvaluator(set, load(b, `x{pid="1",le="+Inf"} 1+1x20`), nil, nil, nil, limits(EvaluatorOptions{}))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := e.Evaluate(b.Context(), 0, start.Add(time.Minute)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkParse is a configuration with the presets of the default. It tells what their rules
// keep of the heap.
func BenchmarkParse(b *testing.B) {
	parse := func() (set *Set) {
		var rules []*Rule
		for _, name := range DefaultPresets() {
			r, list := Preset(name, everyFive)
			if err := list.Err(); err != nil {
				b.Fatal(err)
			}
			rules = append(rules, r...)
		}
		set, list := NewSet(rules)
		if list.Err() != nil {
			b.Fatal(list)
		}
		return set
	}
	inUse := func() float64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	parse() // what is made once
	before := inUse()
	set := parse()
	kept := inUse() - before
	runtime.KeepAlive(set)
	b.ReportAllocs()
	for b.Loop() {
		parse()
	}
	b.ReportMetric(kept, "kept-B")
}
