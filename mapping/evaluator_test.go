package mapping

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
)

var start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// load makes a store of series in Prometheus's notation, one a line, with a
// sample each five seconds.
func load(t testing.TB, series string) memory {
	t.Helper()
	store := memory{}
	for line := range strings.Lines(series) {
		if line = strings.TrimSpace(line); line != "" {
			if err := store.Load(line, start, 5*time.Second); err != nil {
				t.Fatal(err)
			}
		}
	}
	return store
}

// evaluate returns a rule's points, printed and sorted, and what was dropped.
func evaluate(t testing.TB, e *Evaluator, rule int, after time.Duration) ([]string, map[string]int) {
	t.Helper()
	result, err := e.Evaluate(t.Context(), rule, start.Add(after))
	if err != nil {
		t.Fatal(err)
	}
	return printPoints(result.Points), result.Dropped
}

func printPoints(points []Point) []string {
	var lines []string
	for _, p := range points {
		line := fmt.Sprintf("%s %s = %.6g", p.Topology.NodeKey("vm", p.ID), p.Template.ID, p.Value)
		if p.Max > 0 {
			line += fmt.Sprintf(" of %g", p.Max)
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}

const (
	idA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	uid = "0b21f5f0-6d1b-4d5e-9f3c-0a2b5e0e9d11"
)

func TestEvaluate(t *testing.T) {
	for _, tc := range []struct {
		name, rule, series string
		nodes              Nodes // nil: all live
		points             []string
		dropped            map[string]int
	}{
		{
			name:   "gauge on the host",
			rule:   `{metric: load, label: Load, expr: node_load1, node: host}`,
			series: `node_load1 0.25x10`,
			points: []string{"vm;<host> load = 0.25"},
		},
		{
			name:   "rate on a process, through a reset",
			rule:   `{metric: r, label: R, expr: 'sum by (pid) (rate(x_total[$__rate_interval]))', node: {process: pid}}`,
			series: `x_total{pid="17"} 1000 1050 1100 0 50 100 150 200 250 300 350`,
			points: []string{"vm;17 r = 10"},
		},
		{
			name: "classic histogram",
			rule: `{metric: p50, label: p50 (ms), expr: '1000 * histogram_quantile(0.5, sum by (pid, le) (rate(x_bucket[$__rate_interval])))', node: {process: pid}}`,
			series: `x_bucket{pid="17",le="0.1"} 0+10x10
			         x_bucket{pid="17",le="0.2"} 0+30x10
			         x_bucket{pid="17",le="+Inf"} 0+40x10`,
			points: []string{"vm;17 p50 = 150"},
		},
		{
			name:   "native histogram",
			rule:   `{metric: n, label: N, expr: 'histogram_count(rate(x[$__rate_interval]))', node: {process: pid}}`,
			series: `x{pid="17"} {{schema:0 sum:5 count:4 buckets:[1 2 1]}}+{{schema:0 sum:5 count:4 buckets:[1 2 1]}}x10`,
			points: []string{"vm;17 n = 0.8"},
		},
		{
			name:    "native histogram that is not made a number",
			rule:    `{metric: n, label: N, expr: x, node: {process: pid}}`,
			series:  `x{pid="17"} {{schema:0 sum:5 count:4 buckets:[1 2 1]}}x10`,
			dropped: map[string]int{DropHistogram: 1},
		},
		{
			name: "container by regex",
			rule: `{metric: m, label: M, format: percent, expr: x, node: {container: id, regex: '.*/([0-9a-f]{64})(\.scope)?'}}`,
			series: `x{id="/docker/` + idA + `"} 7x10
			         x{id="/"} 8x10
			         x 9x10`,
			points:  []string{idA + ";<container> m = 7 of 100"},
			dropped: map[string]int{DropNoMatch: 1, DropNoLabel: 1},
		},
		{
			name: "processes by regex",
			rule: `{metric: m, label: M, expr: x, node: {process: group, regex: '.*pid=([0-9]+).*'}}`,
			series: `x{group="comm=a,pid=7,n=1"} 7x10
			         x{group="comm=a,pid=8,n=1@unknown"} 8x10`,
			points:  []string{"vm;7 m = 7"},
			dropped: map[string]int{DropNoMatch: 1},
		},
		{
			name:   "a container beside a pid that is not known",
			rule:   `{metric: m, label: M, expr: x, node: {container: group, regex: '([0-9a-f]{64}).*'}}`,
			series: `x{group="` + idA + `;8@unknown"} 8x10`,
			points: []string{idA + ";<container> m = 8"},
		},
		{
			name: "pods",
			rule: `{metric: m, label: M, expr: x, node: {pod: uid}}`,
			series: `x{uid="` + uid + `"} 7x10
			         x{uid="0b21f5f06d1b4d5e9f3c0a2b5e0e9d11"} 8x10
			         x{uid="my-pod"} 9x10`,
			points:  []string{uid + ";<pod> m = 7", "0b21f5f06d1b4d5e9f3c0a2b5e0e9d11;<pod> m = 8"},
			dropped: map[string]int{DropBadID: 1},
		},
		{
			name: "ids that are no pids",
			rule: `{metric: m, label: M, expr: x, node: {process: pid}}`,
			series: `x{pid="0"} 1x10
			         x{pid="-1"} 1x10
			         x{pid="+1"} 1x10
			         x{pid="017"} 1x10
			         x{pid="4194305"} 1x10
			         x{pid="nginx"} 1x10
			         x{pid="4194304"} 1x10`,
			points:  []string{"vm;4194304 m = 1"},
			dropped: map[string]int{DropBadID: 6},
		},
		{
			name: "values that Scope cannot show",
			rule: `{metric: m, label: M, expr: x, node: {process: pid}}`,
			series: `x{pid="1"} _ _ _ _ _ _ _ _ _ NaN
			         x{pid="2"} _ _ _ _ _ _ _ _ _ Inf
			         x{pid="3"} _ _ _ _ _ _ _ _ _ -Inf
			         x{pid="4"} 9.1e16x10
			         x{pid="5"} -9e16x10`,
			points:  []string{"vm;5 m = -9e+16"},
			dropped: map[string]int{DropValue: 4},
		},
		{
			name: "several elements for one node: nothing says which counts",
			rule: `{metric: m, label: M, expr: x, node: {process: pid}}`,
			series: `x{pid="7",a="3"} 3x10
			         x{pid="7",a="1"} 1x10
			         x{pid="7",a="2"} 2x10
			         x{pid="8",a="1"} 4x10`,
			points:  []string{"vm;8 m = 4"},
			dropped: map[string]int{DropAmbiguous: 3},
		},
		{
			name: "two processes of the host",
			rule: `{metric: m, label: M, expr: x, node: host}`,
			series: `x{instance="a",target_pid="1"} 3x10
			         x{instance="b",target_pid="2"} 3x10`,
			dropped: map[string]int{DropAmbiguous: 2},
		},
		{
			name: "the host's own before that of containers, whatever their labels",
			rule: `{metric: m, label: M, expr: x, node: host}`,
			series: `x{instance="a",target_container_id="c1",target_pid="1"} 1x10
			         x{instance="b",target_pid="9"} 2x10
			         x{instance="c",target_container_id="c2",target_pid="3"} 3x10`,
			points:  []string{"vm;<host> m = 2"},
			dropped: map[string]int{DropDuplicate: 2},
		},
		{
			name: "two of the host's own beside that of a container",
			rule: `{metric: m, label: M, expr: x, node: host}`,
			series: `x{target_container_id="c1",target_pid="1"} 1x10
			         x{target_pid="8"} 2x10
			         x{target_pid="9"} 2x10`,
			dropped: map[string]int{DropAmbiguous: 3},
		},
		{
			name: "a container of this machine, and another machine",
			rule: `{metric: load, label: Load, expr: node_load1, node: host}`,
			series: `node_load1{instance="localhost:9100",job="node",target_container_id="c",target_pid="7"} 1x10
			         node_load1{instance="web1:9100",job="node"} 2x10`,
			dropped: map[string]int{DropAmbiguous: 2},
		},
		{
			name: "the host's own, a container of this machine, and another machine",
			rule: `{metric: load, label: Load, expr: node_load1, node: host}`,
			series: `node_load1{instance="localhost:9100",job="node",target_pid="7"} 1x10
			         node_load1{instance="localhost:9101",job="node",target_container_id="c",target_pid="8"} 2x10
			         node_load1{instance="web1:9100",job="node"} 3x10`,
			dropped: map[string]int{DropAmbiguous: 3},
		},
		{
			name: "what one process says in several jobs counts once",
			rule: `{metric: m, label: M, expr: x, node: host}`,
			series: `x{instance="a",job="a",target_container_id="c",target_pid="7"} 1x10
			         x{instance="b",job="a",target_container_id="c",target_pid="7"} 5x10
			         x{instance="a",job="b",target_container_id="c",target_pid="7"} 3x10`,
			points:  []string{"vm;<host> m = 5"},
			dropped: map[string]int{DropDuplicate: 2},
		},
		{
			name: "one process says two things",
			rule: `{metric: m, label: M, expr: x, node: host}`,
			series: `x{a="1",job="a",target_pid="7"} 1x10
			         x{a="2",job="b",target_pid="7"} 5x10`,
			dropped: map[string]int{DropAmbiguous: 2},
		},
		{
			name: "targets of which no process is known",
			rule: `{metric: m, label: M, expr: x, node: host}`,
			series: `x{instance="a"} 1x10
			         x{instance="b"} 1x10`,
			dropped: map[string]int{DropAmbiguous: 2},
		},
		{
			name: "one metric for each value",
			rule: `{metric: 'disk_${device}', label: 'Disk ${device} busy', max: 5, expr: x, node: host}`,
			series: `x{device="sdb"} 2x10
			         x{device="sda"} 1x10
			         x{device="/dev/sda"} 3x10
			         x 4x10`,
			points: []string{
				"vm;<host> disk__dev_sda = 3 of 5",
				"vm;<host> disk_sda = 1 of 5",
				"vm;<host> disk_sdb = 2 of 5",
			},
			dropped: map[string]int{DropNoLabel: 1},
		},
		{
			name: "values that make one id",
			rule: `{metric: 'disk_${device}', label: 'Disk ${device}', expr: x, node: host}`,
			series: `x{device="a b"} 1x10
			         x{device="a/b"} 2x10`,
			points:  []string{"vm;<host> disk_a_b = 2"},
			dropped: map[string]int{DropIDCollision: 1},
		},
		{
			name: "values that make one label",
			rule: `{metric: 'disk_${a}_${b}', label: '${a} ${b}', expr: x, node: host}`,
			series: `x{a="1 2", b="3"} 1x10
			         x{a="1", b="2 3"} 2x10
			         x{a="Load", b="(1m)"} 3x10`,
			points:  []string{"vm;<host> disk_1_2_3 = 2"},
			dropped: map[string]int{DropLabelCollision: 1, DropIDCollision: 1},
		},
		{
			name:   "a scalar",
			rule:   `{metric: m, label: M, expr: 'scalar(x) + 1', node: host}`,
			series: `x 1x10`,
			points: []string{"vm;<host> m = 2"},
		},
		{
			name:   "nothing",
			rule:   `{metric: m, label: M, expr: y, node: host}`,
			series: `x 1x10`,
		},
		{
			name:   "a series that ended",
			rule:   `{metric: m, label: M, expr: x, node: host}`,
			series: `x 1x9 stale`,
		},
		{
			name: "a subquery with the scrape interval for its step",
			rule: `{metric: m, label: M, expr: 'count_over_time(x[20s:])', node: host}`,
			// At 0, 5, 10 … and not at Prometheus's one minute.
			series: `x 1x10`,
			points: []string{"vm;<host> m = 4"},
		},
		{
			name: "a sample stands for three intervals",
			rule: `{metric: m, label: M, expr: 'x or y', node: {process: pid}}`,
			series: `x{pid="1"} 1x7
			         y{pid="2"} 1x8`, // 50 s: the last samples are 15 and 10 s old
			points: []string{"vm;2 m = 1"},
		},
		{
			name: "what is no number takes no place",
			rule: `{metric: 'ratio_${cache}', label: '${cache}', top: 1, expr: hits / misses, node: host}`,
			series: `hits{cache="a"} 4x10
			         misses{cache="a"} 0x10
			         hits{cache="b"} 4x10
			         misses{cache="b"} 2x10
			         hits{cache="c"} 9.1e16x10
			         misses{cache="c"} 1x10
			         hits{cache="d"} 4x10
			         misses{cache="d"} 4x10`,
			points:  []string{"vm;<host> ratio_b = 2"},
			dropped: map[string]int{DropValue: 2, DropMetricLimit: 1},
		},
		{
			name: "what is on no process takes no place",
			rule: `{metric: 'queue_${queue}', label: '${queue}', top: 1, expr: queue, node: {process: pid}}`,
			series: `queue{queue="a",pid="7@unknown"} 4x10
			         queue{queue="b",pid="8"} 3x10
			         queue{queue="c"} 2x10
			         queue{queue="d",pid="9"} 1x10`,
			points:  []string{"vm;9 queue_d = 1"},
			nodes:   living{"Process 9": true},
			dropped: map[string]int{DropBadID: 1, DropDead: 1, DropNoLabel: 1},
		},
		{
			name: "a value without a pid takes no place",
			rule: `{metric: 'queue_${queue}', label: '${queue}', top: 1, expr: queue, node: {process: group, regex: '.*;([0-9]+)'}}`,
			series: `queue{queue="a",group="worker"} 4x10
			         queue{queue="d",group="worker;9"} 1x10`,
			points:  []string{"vm;9 queue_d = 1"},
			nodes:   living{"Process 9": true},
			dropped: map[string]int{DropNoMatch: 1},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			set := mustSet(t, "- "+tc.rule)
			e := NewEvaluator(set, load(t, tc.series), tc.nodes, nil, nil, limits(EvaluatorOptions{}))
			for range 2 { // the second time with what the first left behind
				points, dropped := evaluate(t, e, 0, 50*time.Second)
				slices.Sort(tc.points)
				if diff := cmp.Diff(tc.points, points); diff != "" {
					t.Errorf("points (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(tc.dropped, dropped); diff != "" {
					t.Errorf("dropped (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// TestStaticMetricsHaveTheirLabels: a ${label} must not take the id or label of
// a rule that always has it.
func TestStaticMetricsHaveTheirLabels(t *testing.T) {
	set := mustSet(t, `
- {metric: 'disk_${device}', label: 'Disk ${device}', expr: x, node: host}
- {metric: disk_a, label: A, expr: y, node: host}
- {metric: b, label: Disk b, expr: y, node: host}
- {metric: disk_c, label: Disk c, expr: y, node: {process: pid}}
`)
	e := NewEvaluator(set, load(t, `
		x{device="a"} 1x10
		x{device="b"} 1x10
		x{device="c"} 1x10`), nil, nil, nil, limits(EvaluatorOptions{}))
	points, dropped := evaluate(t, e, 0, 50*time.Second)
	if diff := cmp.Diff([]string{"vm;<host> disk_c = 1"}, points); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]int{DropIDCollision: 1, DropLabelCollision: 1}, dropped); diff != "" {
		t.Error(diff)
	}
}

// TestMetricLimit: the first values stay, also when they have just gone and others
// come.
func TestMetricLimit(t *testing.T) {
	set := mustSet(t, `
- {metric: 'd_${d}', label: '${d} (B/s)', format: filesize, expr: x, node: host}
- {metric: l, label: L, expr: x, node: host}
`)
	store := load(t, `
		x{d="c"} _ _ 1 1 stale
		x{d="b"} 1 1 1 1 1
		x{d="a"} _ _ _ 1 1
		x{d="e"} _ _ 1 1 1`)
	e := NewEvaluator(set, store, nil, nil, nil, limits(EvaluatorOptions{MaxMetricsPerRule: 2}))
	for _, step := range []struct {
		after  time.Duration
		points []string
	}{
		{0, []string{"vm;<host> d_b = 1"}},
		{10 * time.Second, []string{"vm;<host> d_b = 1", "vm;<host> d_c = 1"}},
		{15 * time.Second, []string{"vm;<host> d_b = 1", "vm;<host> d_c = 1"}},
		{20 * time.Second, []string{"vm;<host> d_b = 1"}},
	} {
		points, dropped := evaluate(t, e, 0, step.after)
		if diff := cmp.Diff(step.points, points); diff != "" {
			t.Errorf("after %s (-want +got):\n%s", step.after, diff)
		}
		if step.after > 15*time.Second && dropped[DropMetricLimit] != 2 {
			t.Errorf("after %s: dropped %v", step.after, dropped)
		}
	}
	result, err := e.Evaluate(t.Context(), 0, start.Add(10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	want := []Template{
		{ID: "d_b", Label: "b (B/s)", Format: FormatFilesize, Priority: 2.5},
		{ID: "d_c", Label: "c (B/s)", Format: FormatFilesize, Priority: 2.50005},
	}
	var got []Template
	for _, p := range result.Points {
		got = append(got, p.Template)
	}
	slices.SortFunc(got, func(a, b Template) int { return strings.Compare(a.ID, b.ID) })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("templates (-want +got):\n%s", diff)
	}
	if next := set.Rules()[1].Priority; next <= got[1].Priority {
		t.Errorf("the next rule's priority %v is not behind %v", next, got[1].Priority)
	}
}

// TestMetricOfAValueThatIsGone: a new value gets it after a minute, and the old one,
// should it come back, whatever is free then.
func TestMetricOfAValueThatIsGone(t *testing.T) {
	set := mustSet(t, `[{metric: 'd_${d}', label: '${d}', expr: x, node: host}]`)
	store := load(t, `
		x{d="a"} 1 stale _x30 1x30
		x{d="b"} 1x5 stale
		x{d="c"} _x5 1x60
		x{d="d"} _x5 1x28 stale`)
	e := NewEvaluator(set, store, nil, nil, nil, limits(EvaluatorOptions{MaxMetricsPerRule: 2}))
	const a, b, c, d = "vm;<host> d_a = 1", "vm;<host> d_b = 1", "vm;<host> d_c = 1", "vm;<host> d_d = 1"
	for _, step := range []struct {
		after  time.Duration
		points []string
	}{
		{0, []string{a, b}},
		{25 * time.Second, []string{b}},
		{60 * time.Second, nil},
		{65 * time.Second, []string{c}},     // a has been gone for more than a minute,
		{85 * time.Second, []string{c}},     // and b for just one,
		{90 * time.Second, []string{c, d}},  // and for more
		{165 * time.Second, []string{c, d}}, // a is back
		{170 * time.Second, []string{c}},
		{225 * time.Second, []string{c}},
		{230 * time.Second, []string{a, c}}, // d has been gone
	} {
		points, dropped := evaluate(t, e, 0, step.after)
		if diff := cmp.Diff(step.points, points); diff != "" {
			t.Errorf("after %s (-want +got):\n%s", step.after, diff)
		}
		for reason := range dropped {
			if reason != DropMetricLimit {
				t.Errorf("after %s: dropped %v", step.after, dropped)
			}
		}
	}
	result, err := e.Evaluate(t.Context(), 0, start.Add(235*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	priorities := map[float64]bool{}
	for _, p := range result.Points {
		priorities[p.Template.Priority] = true
	}
	if len(priorities) != 2 {
		t.Errorf("priorities %v of %d points", priorities, len(result.Points))
	}
	names, none := e.rules[0].mapper.names, newNamespace(nil)
	if len(names.ids) != len(none.ids)+2 || len(names.labels) != len(none.labels)+2 {
		t.Errorf("ids %v, labels %v", names.ids, names.labels)
	}
}

// TestMetricOfASlowRule: a value that a single evaluation misses keeps its metric,
// however long ago the one before was.
func TestMetricOfASlowRule(t *testing.T) {
	rules, list := parseText(t, `[{metric: 'd_${d}', label: '${d}', expr: x, node: host}]`,
		every(2*time.Minute))
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	set, _ := NewSet(rules)
	store := load(t, `
		x{d="a"} 1 stale _x46 1
		x{d="b"} _x24 1x24`)
	e := NewEvaluator(set, store, nil, nil, nil, limits(EvaluatorOptions{MaxMetricsPerRule: 1}))
	for _, step := range []struct {
		after  time.Duration
		points []string
	}{
		{0, []string{"vm;<host> d_a = 1"}},
		{2 * time.Minute, nil},
		{4 * time.Minute, []string{"vm;<host> d_a = 1"}},
	} {
		points, _ := evaluate(t, e, 0, step.after)
		if diff := cmp.Diff(step.points, points); diff != "" {
			t.Errorf("after %s (-want +got):\n%s", step.after, diff)
		}
	}
}

// TestRefusalEnds: an id that was given back is free for the value that was refused
// because of it, also if that is another rule's.
func TestRefusalEnds(t *testing.T) {
	set := mustSet(t, `
- {metric: 'd_${d}', label: 'X ${d}', expr: x, node: host}
- {metric: 'd_${e}', label: 'Y ${e}', expr: y, node: host}
`)
	store := load(t, `
		x{d="a"} 1 stale
		x{d="b"} _ 1x30
		y{e="a"} 1x30`)
	e := NewEvaluator(set, store, nil, nil, nil, limits(EvaluatorOptions{MaxMetricsPerRule: 1}))
	for _, step := range []struct {
		after  time.Duration
		points []string
	}{
		{0, []string{"vm;<host> d_a = 1"}},
		{5 * time.Second, nil},
		{65 * time.Second, []string{"vm;<host> d_a = 1", "vm;<host> d_b = 1"}},
	} {
		points, _ := evaluate(t, e, 0, step.after)
		more, _ := evaluate(t, e, 1, step.after)
		points = append(more, points...)
		if diff := cmp.Diff(step.points, points, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("after %s (-want +got):\n%s", step.after, diff)
		}
	}
}

// TestGreatestValues: the greatest are shown, or the least with bottom. One that grows
// takes the place of the least after 30 s without a break.
func TestGreatestValues(t *testing.T) {
	const series = `
		x{d="a"} 1x60
		x{d="b"} 5x60
		x{d="c"} 3x60
		x{d="e"} 2 2 9 2 2 9x60` // a peak of one scrape, and from 25 s on
	type step struct {
		after  time.Duration
		points []string
	}
	for _, test := range []struct {
		key   string
		steps []step
	}{
		{"top: 2", []step{
			{0, []string{"vm;<host> d_b = 5", "vm;<host> d_c = 3"}},
			{10 * time.Second, []string{"vm;<host> d_b = 5", "vm;<host> d_c = 3"}},
			{50 * time.Second, []string{"vm;<host> d_b = 5", "vm;<host> d_c = 3"}},
			{55 * time.Second, []string{"vm;<host> d_b = 5", "vm;<host> d_e = 9"}},
			{120 * time.Second, []string{"vm;<host> d_b = 5", "vm;<host> d_e = 9"}},
		}},
		{"bottom: 1", []step{
			{0, []string{"vm;<host> d_a = 1"}},
			{120 * time.Second, []string{"vm;<host> d_a = 1"}},
		}},
		{"top: 9", []step{
			{0, []string{"vm;<host> d_a = 1", "vm;<host> d_b = 5", "vm;<host> d_c = 3", "vm;<host> d_e = 2"}},
		}},
	} {
		t.Run(test.key, func(t *testing.T) {
			set := mustSet(t, "[{metric: 'd_${d}', label: '${d}', expr: x, node: host, "+test.key+"}]")
			e := NewEvaluator(set, load(t, series), nil, nil, nil, limits(EvaluatorOptions{}))
			at := time.Duration(0)
			for _, step := range test.steps {
				for ; at < step.after; at += 5 * time.Second {
					evaluate(t, e, 0, at)
				}
				points, dropped := evaluate(t, e, 0, at)
				if diff := cmp.Diff(step.points, points); diff != "" {
					t.Errorf("after %s (-want +got):\n%s", at, diff)
				}
				if dropped[DropMetricLimit] != 4-len(points) {
					t.Errorf("after %s: dropped %v", at, dropped)
				}
				at += 5 * time.Second
			}
			if n := len(e.rules[0].mapper.challengers); n > 2 {
				t.Errorf("%d challengers kept", n)
			}
		})
	}
}

// TestMetricOfAValueThatIsNoNumber: it makes room after a minute, like one that is gone.
func TestMetricOfAValueThatIsNoNumber(t *testing.T) {
	set := mustSet(t, `[{metric: 'ratio_${cache}', label: '${cache}', top: 1, expr: hits / misses, node: host}]`)
	e := NewEvaluator(set, load(t, `
		hits{cache="a"} 4x30
		misses{cache="a"} 1 0x30
		hits{cache="b"} 4x30
		misses{cache="b"} 2x30`), nil, nil, nil, limits(EvaluatorOptions{}))
	for at := time.Duration(0); at <= 65*time.Second; at += 5 * time.Second {
		var want []string
		switch {
		case at == 0:
			want = []string{"vm;<host> ratio_a = 4"}
		case at > time.Minute:
			want = []string{"vm;<host> ratio_b = 2"}
		}
		points, _ := evaluate(t, e, 0, at)
		if diff := cmp.Diff(want, points); diff != "" {
			t.Errorf("after %s (-want +got):\n%s", at, diff)
		}
	}
}

// TestClockSetBack: the times for which a value has to be gone, or greater than another,
// begin anew.
func TestClockSetBack(t *testing.T) {
	for _, test := range []struct {
		name, series string
		takesAfter   time.Duration
	}{
		{"gone", `x{d="a"} _x720 1x10
		          x{d="b"} 1x30`, 65 * time.Second},
		{"less", `x{d="a"} 1x740
		          x{d="b"} 2x30 _x690 2x10`, 30 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			set := mustSet(t, `[{metric: 'd_${d}', label: '${d}', top: 1, expr: x, node: host}]`)
			e := NewEvaluator(set, load(t, test.series), nil, nil, nil, limits(EvaluatorOptions{}))
			for _, at := range []time.Duration{time.Hour, time.Hour + 5*time.Second} {
				if points, _ := evaluate(t, e, 0, at); !slices.Equal(points, []string{"vm;<host> d_a = 1"}) {
					t.Fatalf("after %s: %v", at, points)
				}
			}
			for at := time.Duration(0); at <= test.takesAfter; at += 5 * time.Second {
				points, _ := evaluate(t, e, 0, at)
				if taken := slices.ContainsFunc(points, func(p string) bool { return strings.Contains(p, "d_b") }); taken != (at == test.takesAfter) {
					t.Errorf("%s after the clock was set back: %v", at, points)
				}
			}
		})
	}
}

// TestMetricThatIsGivenAway: a value that takes the metric of one that is gone challenges
// none, and takes no room from those that do.
func TestMetricThatIsGivenAway(t *testing.T) {
	set := mustSet(t, `[{metric: 'd_${d}', label: '${d}', top: 2, expr: x, node: host}]`)
	e := NewEvaluator(set, load(t, `
		x{d="gone"} 9 stale
		x{d="least"} 1x30
		x{d="a"} _x13 4x30
		x{d="b"} _x13 3x30
		x{d="c"} _x13 2x30`), nil, nil, nil, limits(EvaluatorOptions{}))
	evaluate(t, e, 0, 0)
	points, _ := evaluate(t, e, 0, 65*time.Second)
	if diff := cmp.Diff([]string{"vm;<host> d_a = 4", "vm;<host> d_least = 1"}, points); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := len(e.rules[0].mapper.challengers); n != 2 {
		t.Errorf("%d values challenge the least one, want 2", n)
	}
}

// TestMetricLimitOrder: equal values get in by their names, whatever the order of the
// series.
func TestMetricLimitOrder(t *testing.T) {
	set := mustSet(t, `[{metric: 'd_${d}', label: '${d}', expr: x, node: host}]`)
	store := load(t, `
		x{d="c"} 1
		x{d="b"} 1
		x{d="a"} 1`)
	e := NewEvaluator(set, store, nil, nil, nil, limits(EvaluatorOptions{MaxMetricsPerRule: 2}))
	points, _ := evaluate(t, e, 0, 0)
	if diff := cmp.Diff([]string{"vm;<host> d_a = 1", "vm;<host> d_b = 1"}, points); diff != "" {
		t.Error(diff)
	}
}

// TestMetricLimitOrderOfNames: a name comes before those that begin with it, whatever it is
// that separates the names of several labels.
func TestMetricLimitOrderOfNames(t *testing.T) {
	set := mustSet(t, `[{metric: 'm_${d}_${e}', label: '${d} ${e}', top: 1, expr: x, node: host}]`)
	for series, want := range map[string]string{
		"x{d=\"/home\",e=\"z\"} 1\nx{d=\"/\",e=\"z\"} 1":   "vm;<host> m___z = 1",
		"x{d=\"z\",e=\"/home\"} 1\nx{d=\"z\",e=\"/\"} 1":   "vm;<host> m_z__ = 1",
		"x{d=\"/home\",e=\"a\"} 1\nx{d=\"/\",e=\"b\"} 1":   "vm;<host> m___b = 1",
		"x{d=\"/\",e=\"b\"} 2\nx{d=\"/home\",e=\"a\"} 2.5": "vm;<host> m__home_a = 2.5",
	} {
		e := NewEvaluator(set, load(t, series), nil, nil, nil, limits(EvaluatorOptions{}))
		points, _ := evaluate(t, e, 0, 0)
		if diff := cmp.Diff([]string{want}, points); diff != "" {
			t.Errorf("%s: %s", series, diff)
		}
	}
}

// TestRefusalsAreBounded: values that collide for ever must not pile up.
func TestRefusalsAreBounded(t *testing.T) {
	set := mustSet(t, `[{metric: 'd_${d}', label: '${d}', expr: x, node: host}]`)
	store := memory{}
	for i := range 100 {
		store.Append(labels.FromStrings("__name__", "x", "d", string(rune(0x4e00+i))), start.Add(time.Duration(i)*time.Minute), parser.SequenceValue{Value: 1})
	}
	e := NewEvaluator(set, store, nil, nil, nil, limits(EvaluatorOptions{MaxMetricsPerRule: 3}))
	for i := range 100 {
		points, dropped := evaluate(t, e, 0, time.Duration(i)*time.Minute)
		if (i == 0) != (len(points) == 1) || i > 0 && dropped[DropIDCollision] != 1 {
			t.Fatalf("%d: points %v, dropped %v", i, points, dropped)
		}
	}
	if n := len(e.rules[0].mapper.refused); n > 3 {
		t.Errorf("%d refusals kept", n)
	}
}

func TestNodeLimit(t *testing.T) {
	set := mustSet(t, `[{metric: 'm_${m}', label: '${m}', expr: x, node: {process: pid}}]`)
	store := load(t, `
		x{pid="3",m="a"} 1x10
		x{pid="1",m="a"} 1x10
		x{pid="2",m="a"} 1x10
		x{pid="2",m="b"} 1x10
		x{pid="3",m="b"} 1x10`)
	e := NewEvaluator(set, store, nil, nil, nil, limits(EvaluatorOptions{MaxNodes: 2}))
	points, dropped := evaluate(t, e, 0, 50*time.Second)
	if diff := cmp.Diff([]string{"vm;1 m_a = 1", "vm;2 m_a = 1", "vm;2 m_b = 1"}, points); diff != "" {
		t.Error(diff)
	}
	if dropped[DropNodeLimit] != 2 {
		t.Errorf("dropped %v", dropped)
	}
	elements, err := e.Explain(t.Context(), 0, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	for _, element := range elements {
		if (element.Labels.Get("pid") == "3") != (element.Dropped == DropNodeLimit) {
			t.Errorf("%s: dropped %q", element.Labels, element.Dropped)
		}
		if element.Dropped == "" && element.Point.ID != element.Labels.Get("pid") {
			t.Errorf("%s became %v", element.Labels, element.Point)
		}
	}
}

type living map[string]bool

func (l living) Alive(t Topology, id string, _ time.Time) bool { return l[string(t)+" "+id] }

func TestDeadNodes(t *testing.T) {
	set := mustSet(t, `
- {metric: p, label: P, expr: x, node: {process: pid}}
- {metric: h, label: H, expr: sum(x), node: host}
`)
	store := load(t, `
		x{pid="1"} 1x10
		x{pid="2"} 1x10`)
	e := NewEvaluator(set, store, living{"Process 2": true}, nil, nil, limits(EvaluatorOptions{}))
	points, dropped := evaluate(t, e, 0, 50*time.Second)
	if diff := cmp.Diff([]string{"vm;2 p = 1"}, points); diff != "" {
		t.Error(diff)
	}
	if dropped[DropDead] != 1 {
		t.Errorf("dropped %v", dropped)
	}
	if points, _ := evaluate(t, e, 1, 50*time.Second); len(points) != 1 {
		t.Errorf("nobody need say that the host lives, but got %v", points)
	}
}

// TestRegexCacheIsBounded: values that come and go must not pile up.
func TestRegexCacheIsBounded(t *testing.T) {
	set := mustSet(t, `[{metric: m, label: M, expr: x, node: {process: pid, regex: 'pid-(\d+)'}}]`)
	store := memory{}
	for i := range 100 {
		store.Append(labels.FromStrings("__name__", "x", "pid", fmt.Sprintf("pid-%d", i+1)), start.Add(time.Duration(i)*time.Minute), parser.SequenceValue{Value: 1})
	}
	e := NewEvaluator(set, store, nil, nil, nil, limits(EvaluatorOptions{MaxNodes: 4}))
	for i := range 100 {
		points, _ := evaluate(t, e, 0, time.Duration(i)*time.Minute)
		if want := []string{fmt.Sprintf("vm;%d m = 1", i+1)}; !slices.Equal(points, want) {
			t.Fatalf("got %v, want %v", points, want)
		}
	}
	if n := len(e.rules[0].mapper.ids); n > 8 {
		t.Errorf("%d values kept", n)
	}
}

// failing is a storage whose queriers do what a test says.
type failing struct {
	storage.LabelQuerier
	do func(context.Context) storage.SeriesSet
}

func (f failing) Querier(int64, int64) (storage.Querier, error) { return f, nil }
func (f failing) Close() error                                  { return nil }
func (f failing) Select(ctx context.Context, _ bool, _ *storage.SelectHints, _ ...*labels.Matcher) storage.SeriesSet {
	return f.do(ctx)
}

func TestFailures(t *testing.T) {
	set := mustSet(t, `
- {metric: join, label: Join, expr: 'x * on (job) y', node: {process: job}}
- {metric: good, label: Good, expr: sum(x), node: host}
`)
	store := load(t, `
		x{job="1"} 1x10
		y{job="1",a="1"} 1x10
		y{job="1",a="2"} 1x10`)
	reg := prometheus.NewRegistry()
	e := NewEvaluator(set, store, nil, promslog.NewNopLogger(), reg, limits(EvaluatorOptions{}))
	_, err := e.Evaluate(t.Context(), 0, start.Add(50*time.Second))
	if err == nil || !strings.HasPrefix(err.Error(), "evaluating process/join: found duplicate series") {
		t.Errorf("got error %v", err)
	}
	if points, _ := evaluate(t, e, 1, 50*time.Second); len(points) != 1 {
		t.Error("a failing rule took another with it")
	}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP promscope_rule_evaluation_failures_total Evaluations of a rule that failed, by reason.
# TYPE promscope_rule_evaluation_failures_total counter
promscope_rule_evaluation_failures_total{reason="execution",rule="join",topology="process"} 1
# HELP promscope_rule_evaluations_total Evaluations of rules, successful or not.
# TYPE promscope_rule_evaluations_total counter
promscope_rule_evaluations_total 2
`), "promscope_rule_evaluation_failures_total", "promscope_rule_evaluations_total"); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
	status := e.Status()
	if status[0].Err == nil || status[0].Failures != 1 || status[1].Err != nil || status[1].Points != 1 || status[1].Series != 1 {
		t.Errorf("status %+v", status)
	}

	if _, err := e.Evaluate(t.Context(), 2, start); err == nil {
		t.Error("there is no rule 2")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Evaluate(ctx, 1, start); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if e.Status()[1].Failures != 0 {
		t.Error("the rule was blamed for a shutdown")
	}
}

func TestFailureReasons(t *testing.T) {
	set := mustSet(t, `[{metric: m, label: M, expr: x, node: host}]`)
	for _, tc := range []struct {
		reason string
		do     func(context.Context) storage.SeriesSet
	}{
		{"panic", func(context.Context) storage.SeriesSet { panic("broken") }},
		{"execution", func(context.Context) storage.SeriesSet { return storage.ErrSeriesSet(errors.New("disk on fire")) }},
		{"timeout", func(ctx context.Context) storage.SeriesSet { <-ctx.Done(); return storage.EmptySeriesSet() }},
	} {
		e := NewEvaluator(set, failing{do: tc.do}, nil, nil, nil, limits(EvaluatorOptions{Timeout: 20 * time.Millisecond}))
		_, err := e.Evaluate(t.Context(), 0, start)
		if err == nil {
			t.Errorf("%s: no error", tc.reason)
			continue
		}
		if got := failureReason(err); got != tc.reason {
			t.Errorf("reason %q of %v, want %q", got, err, tc.reason)
		}
	}
	e := NewEvaluator(set, load(t, "x 1x10\nx{a=\"1\"} 1x10"), nil, nil, nil, limits(EvaluatorOptions{MaxSamples: 1}))
	if _, err := e.Evaluate(t.Context(), 0, start); err == nil || failureReason(err) != "too_many_samples" {
		t.Errorf("got %v", err)
	}
}

func TestDroppedElementsAreCounted(t *testing.T) {
	set := mustSet(t, `[{metric: m, label: M, expr: x, node: host}]`)
	reg := prometheus.NewRegistry()
	e := NewEvaluator(set, load(t, "x NaN"), nil, nil, reg, limits(EvaluatorOptions{}))
	for range 2 {
		evaluate(t, e, 0, 0)
	}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP promscope_rule_elements_dropped_total Elements of a rule's results that became no metric of a node, by reason.
# TYPE promscope_rule_elements_dropped_total counter
promscope_rule_elements_dropped_total{reason="value",rule="m",topology="host"} 2
`), "promscope_rule_elements_dropped_total"); err != nil {
		t.Error(err)
	}
}

func TestExplain(t *testing.T) {
	set := mustSet(t, `[{metric: m, label: M, expr: 'sum by (pid) (rate(x[$__rate_interval])) / on (pid) sum by (pid) (rate(x[1m] offset 5s))', node: {process: pid}}]`)
	store := load(t, `
		x{pid="1"} 0+5x20
		x{pid="1",a="2"} 0+5x20
		x{pid="nginx"} 0+5x20
		x{pid="2"} 0 stale`) // more than 80s ago, when the rule is evaluated at 90s
	e := NewEvaluator(set, store, nil, nil, nil, limits(EvaluatorOptions{}))
	evaluate(t, e, 0, 90*time.Second)
	elements, err := e.Explain(t.Context(), 0, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, element := range elements {
		got = append(got, fmt.Sprintf("%s %.3g %s%s", element.Labels, element.Value, element.Dropped, element.Point.ID))
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{`{pid="1"} 1 1`, `{pid="nginx"} 1 bad_id`}, got); diff != "" {
		t.Error(diff)
	}
	status := e.Status()[0]
	if !status.At.Equal(start.Add(90*time.Second)) || status.Series != 6 || status.Elements != 2 || status.Points != 1 || status.Evaluations != 1 {
		t.Errorf("status %+v", status)
	}
	// The engine takes a counter for none by its name.
	if len(status.Warnings) != 0 {
		t.Errorf("warnings %q", status.Warnings)
	}
}

func TestWarningsOfTheEngine(t *testing.T) {
	set := mustSet(t, `[{metric: m, label: M, expr: 'quantile by (pid) (2, rate(x[1m]))', node: {process: pid}}]`)
	e := NewEvaluator(set, load(t, `x{pid="1"} 0+5x20`), nil, nil, nil, limits(EvaluatorOptions{}))
	evaluate(t, e, 0, 90*time.Second)
	if got := e.Status()[0].Warnings; len(got) != 1 || !strings.Contains(got[0], "quantile value should be between 0 and 1") {
		t.Errorf("warnings %q", got)
	}
}

func TestNodeKey(t *testing.T) {
	for topology, want := range map[Topology]string{
		Host: "vm;<host>", Process: "vm;17", Container: "17;<container>", Pod: "17;<pod>", "Service": "",
	} {
		if got := topology.NodeKey("vm", "17"); got != want {
			t.Errorf("%s: got %q, want %q", topology, got, want)
		}
	}
}

func TestParseNode(t *testing.T) {
	for text, want := range map[string]string{
		"host": "Host ", "vm": "Host ", "vm;<host>": "Host ",
		"17": "Process 17", "vm;17": "Process 17", "4194304": "Process 4194304",
		idA: "Container " + idA, idA + ";<container>": "Container " + idA,
		uid: "Pod " + uid, uid + ";<pod>": "Pod " + uid,
		"0b21f5f06d1b4d5e9f3c0a2b5e0e9d11": "Pod 0b21f5f06d1b4d5e9f3c0a2b5e0e9d11",
		"":                                 " ", "nginx": " ", "0": " ", "017": " ", "4194305": " ", "other;17": " ", "other;<host>": " ", "other": " ",
		idA[:12]: " ", strings.ToUpper(idA): " ", idA + ";<pod>": " ", uid[:35] + "x": " ", ";<container>": " ",
	} {
		topology, id := ParseNode(text, "vm")
		if got := string(topology) + " " + id; got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	if topology, _ := ParseNode("host", ""); topology != "" {
		t.Errorf("without a host name there is a %s", topology)
	}
}

func TestMaxValue(t *testing.T) {
	// What the limit is for: Scope's own truncation must survive it.
	if v := int64(math.Trunc(MaxValue * 100)); v <= 0 {
		t.Errorf("MaxValue overflows: %d", v)
	}
}
