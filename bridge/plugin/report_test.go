package plugin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/promscope/promscope/bridge/plugin/probetest"
	"github.com/promscope/promscope/mapping"
)

func TestReportIsValidFromTheBeginning(t *testing.T) {
	h := newHarness(t, options())
	const want = `{"Plugins":[{"id":"promscope","label":"promscope","description":"Prometheus metrics on Scope's nodes",` +
		`"interfaces":["reporter"],"api_version":"1"}],` +
		`"Host":{"metric_templates":{` +
		`"promscope_cpu_iowait":{"id":"promscope_cpu_iowait","label":"CPU iowait","format":"percent","priority":2.5},` +
		`"node_load":{"id":"node_load","label":"Load","priority":2.6}},"nodes":{}},` +
		`"Process":{"metric_templates":{` +
		`"go_heap":{"id":"go_heap","label":"Heap","format":"filesize","priority":2.5},` +
		`"process_fds":{"id":"process_fds","label":"Open files","format":"integer","priority":2.6}},"nodes":{}}}`
	if diff := cmp.Diff(want, string(h.JSON())); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
}

// TestReportGolden has something of everything in it.
func TestReportGolden(t *testing.T) {
	h := newHarness(t, options())
	perDevice := mapping.Template{ID: "disk_util_sda", Label: `Disk "sda" busy`, Format: mapping.FormatPercent, Priority: 2.7}
	memory := mapping.Template{ID: "memory", Label: "Memory (sum)", Format: mapping.FormatFilesize, Priority: 3}
	for i := range 3 {
		h.apply(0, i, onHost(iowait, 1.25*float64(i)))
		h.apply(1, i, onProcess(1, fds, float64(10+i)), onProcess(4242, fds, 7))
		h.apply(2, i, mapping.Point{Topology: mapping.Container, ID: containerID, Template: memory, Value: 1 << 30, Max: 1 << 31})
		h.apply(3, i, mapping.Point{Topology: mapping.Pod, ID: podUID, Template: memory, Value: 0})
	}
	h.Apply(mapping.Result{Rule: 4, At: start().Add(1500 * time.Millisecond), Points: []mapping.Point{
		onHost(perDevice, 12.5), onHost(load, -0.5),
	}})
	version := mapping.Template{ID: "redis_version", Label: "Redis", Priority: 2.8, Row: true}
	h.apply(5, 2, mapping.Point{Topology: mapping.Process, ID: "1", Template: version, Text: `7.0.15 · "master"`},
		mapping.Point{Topology: mapping.Process, ID: "7", Template: version, Text: "6.2"})
	h.publish(3)

	var indented bytes.Buffer
	if err := json.Indent(&indented, h.JSON(), "", "  "); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/report.json", append(indented.Bytes(), '\n'))
}

func TestApplyReplacesARulesNodes(t *testing.T) {
	h := newHarness(t, options())
	h.apply(0, 0, onProcess(1, heap, 1), onProcess(2, heap, 1), onProcess(3, heap, 1))
	h.apply(1, 0, onProcess(2, fds, 1))
	h.publish(0)
	h.apply(0, 1, onProcess(3, heap, 2))
	r := h.publish(1)

	if m := r.Metric("Process", "vm;1", "go_heap"); m != nil {
		t.Error("process 1 is still there")
	}
	if m := r.Metric("Process", "vm;2", "go_heap"); m != nil {
		t.Error("process 2 still has the metric")
	}
	if m := r.Metric("Process", "vm;2", "process_fds"); m == nil {
		t.Error("process 2 has lost another rule's metric")
	}
	if diff := cmp.Diff([]float64{1, 2}, values(r.Metric("Process", "vm;3", "go_heap"))); diff != "" {
		t.Errorf("process 3 (-want +got):\n%s", diff)
	}
	h.apply(0, 2)
	h.apply(1, 2)
	if n := len(h.publish(2).Topologies["Process"].Nodes); n != 0 {
		t.Errorf("%d nodes after empty results", n)
	}
	// A node that comes back starts anew.
	h.apply(0, 3, onProcess(1, heap, 3))
	if diff := cmp.Diff([]float64{3}, values(h.publish(3).Metric("Process", "vm;1", "go_heap"))); diff != "" {
		t.Errorf("process 1 (-want +got):\n%s", diff)
	}
}

func TestPrune(t *testing.T) {
	h := newHarness(t, options())
	h.apply(0, 0, onProcess(1, heap, 1), onProcess(2, heap, 1))
	h.apply(1, 0, onHost(load, 1))
	h.publish(0)
	h.Prune(func(topology mapping.Topology, id string, at time.Time) bool {
		if topology == mapping.Host {
			t.Error("asked about the host")
		}
		if !at.Equal(start()) {
			t.Errorf("asked about %s, want the time of its sample", at)
		}
		return id != "1"
	})
	r := h.publish(0)
	if diff := cmp.Diff([]string{"vm;2"}, keys(r.Topologies["Process"].Nodes)); diff != "" {
		t.Errorf("processes (-want +got):\n%s", diff)
	}
	// Should the pid be in use again, it is another process.
	h.apply(0, 1, onProcess(1, heap, 5), onProcess(2, heap, 2))
	r = h.publish(1)
	if diff := cmp.Diff([]float64{5}, values(r.Metric("Process", "vm;1", "go_heap"))); diff != "" {
		t.Errorf("process 1 (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]float64{1, 2}, values(r.Metric("Process", "vm;2", "go_heap"))); diff != "" {
		t.Errorf("process 2 (-want +got):\n%s", diff)
	}
}

// TestPruneThenApply has no publication between the two.
func TestPruneThenApply(t *testing.T) {
	h := newHarness(t, options())
	h.apply(0, 0, onProcess(1, heap, 1))
	h.publish(0)
	h.Prune(func(mapping.Topology, string, time.Time) bool { return false })
	h.apply(0, 1, onProcess(1, heap, 2))
	if diff := cmp.Diff([]float64{2}, values(h.publish(1).Metric("Process", "vm;1", "go_heap"))); diff != "" {
		t.Errorf("process 1 (-want +got):\n%s", diff)
	}
}

func TestTemplatesOfPointsStay(t *testing.T) {
	h := newHarness(t, options())
	sda := mapping.Template{ID: "disk_sda", Label: "Disk sda", Priority: 4}
	h.apply(0, 0, onHost(sda, 1))
	h.publish(0)
	h.apply(0, 1)
	r := h.publish(1)
	want := probetest.Template{ID: "disk_sda", Label: "Disk sda", Priority: 4}
	if got := r.Topologies["Host"].Templates["disk_sda"]; got != want {
		t.Errorf("template = %+v, want %+v", got, want)
	}
}

func TestSetHost(t *testing.T) {
	h := newHarness(t, options())
	h.SetHost("node-0")
	h.publish(0)
	if got := h.Snapshot().Host; got != "node-0" {
		t.Errorf("snapshot's host = %q, without nodes", got)
	}
	h.SetHost("vm")
	h.apply(0, 0, onProcess(1, heap, 1))
	h.apply(1, 0, onHost(load, 1))
	h.publish(0)
	h.SetHost("node-1")
	if got := h.Snapshot().Host; got != "vm" {
		t.Errorf("snapshot's host = %q before it is published", got)
	}
	r := h.publish(0)
	for topology, want := range map[string]string{"Host": "node-1;<host>", "Process": "node-1;1"} {
		if diff := cmp.Diff([]string{want}, keys(r.Topologies[topology].Nodes)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", topology, diff)
		}
	}
	if got := h.Snapshot().Host; got != "node-1" {
		t.Errorf("snapshot's host = %q", got)
	}
}

func TestReconfigure(t *testing.T) {
	h := newHarness(t, options())
	sda := mapping.Template{ID: "disk_sda", Label: "Disk sda", Priority: 4}
	h.apply(0, 0, onHost(load, 1))
	h.apply(1, 0, onHost(iowait, 1), onHost(sda, 1))
	h.apply(2, 0, onProcess(1, heap, 1))
	h.publish(0)

	opts := options()
	opts.Label, opts.Host = "other", "node-1"
	renamed := load
	renamed.Label = "Load average"
	h.Reconfigure(opts, map[mapping.Topology][]mapping.Template{mapping.Host: {renamed}}, nil, nil)
	h.newChecker()
	r := h.publish(0)
	if got := r.Plugins[0].Label; got != "other" {
		t.Errorf("label = %q", got)
	}
	if diff := cmp.Diff([]string{"node_load"}, keys(r.Topologies["Host"].Templates)); diff != "" {
		t.Errorf("templates (-want +got):\n%s", diff)
	}
	if got := r.Topologies["Host"].Templates["node_load"].Label; got != "Load average" {
		t.Errorf("label = %q", got)
	}
	if r.Topologies["Process"] != nil {
		t.Error("the processes' section is still there")
	}
	if got := h.Snapshot().Nodes[0].Metrics[0]; got.Rule != -1 || got.Template != renamed {
		t.Errorf("metric = %+v", got)
	}
	// Another rule takes over the samples.
	h.apply(7, 1, onHost(renamed, 2))
	if diff := cmp.Diff([]float64{1, 2}, values(h.publish(1).Metric("Host", "node-1;<host>", "node_load"))); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
	if got := h.Snapshot().Nodes[0].Metrics[0].Rule; got != 7 {
		t.Errorf("rule = %d", got)
	}
}

func TestSnapshot(t *testing.T) {
	h := newHarness(t, options())
	h.apply(3, 0, onProcess(1, heap, 1))
	h.apply(3, 1, onProcess(1, heap, 2))
	h.apply(4, 1, onHost(load, 5))
	h.publish(1)
	want := Snapshot{
		Host: "vm", Bytes: len(h.JSON()),
		Nodes: []NodeSnapshot{
			{Topology: mapping.Host, Key: "vm;<host>", Metrics: []MetricSnapshot{
				{Template: load, Rule: 4, Max: 5, Samples: []Sample{{At: second(1), Value: 5}}},
			}},
			{Topology: mapping.Process, ID: "1", Key: "vm;1", Metrics: []MetricSnapshot{
				{Template: heap, Rule: 3, Max: 2, Samples: []Sample{{At: second(0), Value: 1}, {At: second(1), Value: 2}}},
			}},
		},
	}
	if diff := cmp.Diff(want, h.Snapshot()); diff != "" {
		t.Errorf("snapshot (-want +got):\n%s", diff)
	}
}

// TestBudget: of the metrics of default presets a node shows the first ones. Others have
// no budget. A metric takes its place when one before it has been gone for long.
func TestBudget(t *testing.T) {
	h := newHarness(t, options())
	apply := func(at int, metrics ...int) {
		for i := range 9 {
			rule := mapping.Template{
				ID: fmt.Sprint("m", i), Label: fmt.Sprint("M", i),
				Priority: 5 - float64(i)/10, // the last ones come first
				Default:  i != 4,
			}
			if slices.Contains(metrics, i) {
				h.apply(i, at, onProcess(1, rule, 1))
			} else {
				h.apply(i, at)
			}
		}
		h.publish(at)
	}
	shown := func() (ids []string) {
		for _, m := range h.Snapshot().Nodes[0].Metrics {
			ids = append(ids, m.Template.ID)
		}
		return ids
	}
	apply(1, 0, 1, 2, 3, 4, 5, 6, 7, 8)
	if diff := cmp.Diff([]string{"m2", "m3", "m4", "m5", "m6", "m7", "m8"}, shown()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"m0", "m1"}, h.Snapshot().Nodes[0].Beyond); diff != "" {
		t.Errorf("beyond the budget (-want +got):\n%s", diff)
	}
	check := func(at int, apart string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, shown()); diff != "" {
			t.Errorf("second %d, %s (-want +got):\n%s", at, apart, diff)
		}
	}
	apply(2, 0, 1, 2, 3, 4, 5, 6)
	check(2, "two are gone, which may come back", "m2", "m3", "m4", "m5", "m6")
	apply(3, 0, 1, 2, 3, 4, 5, 6, 7)
	check(3, "one has come back", "m2", "m3", "m4", "m5", "m6", "m7")
	apply(15, 0, 1, 2, 3, 4, 5, 6, 7)
	check(15, "the other was last there 14 s ago", "m2", "m3", "m4", "m5", "m6", "m7")
	h.publish(16)
	check(16, "nothing new, but its place is free", "m1", "m2", "m3", "m4", "m5", "m6", "m7")
	apply(17, 0, 1, 2, 3, 4, 5, 6, 7, 8)
	check(17, "it is the first one", "m2", "m3", "m4", "m5", "m6", "m7", "m8")
	apply(18, 0, 1)
	check(18, "all that were shown are gone", "m0", "m1")
}

// TestBudgetOfExporters: an exporter shows three metrics that any program may have, and all
// that it says of its server, as far as there is room.
func TestBudgetOfExporters(t *testing.T) {
	opts, asked := options(), 0
	opts.Exporter = func(pid string) bool {
		asked++
		return pid == "1"
	}
	h := newHarness(t, opts)
	publish := func(at, general, others int) (shown [2]int) {
		for i := range 20 {
			rule := mapping.Template{ID: fmt.Sprint("m", i), Label: fmt.Sprint("M", i), Priority: 3 + float64(i)/10, Default: true, General: i < 10}
			if i < general || i >= 10 && i < 10+others {
				h.apply(i, at, onProcess(1, rule, 1), onProcess(2, rule, 1))
			} else {
				h.apply(i, at)
			}
		}
		h.publish(at)
		for i, n := range h.Snapshot().Nodes {
			shown[i] = len(n.Metrics)
		}
		return shown
	}
	for _, step := range []struct {
		at, general, others int
		want                [2]int // of the exporter, and of another process
	}{
		{1, 3, 0, [2]int{3, 3}},
		{2, 4, 0, [2]int{3, 4}},
		{20, 6, 2, [2]int{5, 6}},
		{40, 3, 5, [2]int{6, 6}},
		{60, 7, 0, [2]int{3, 6}},
	} {
		if got := publish(step.at, step.general, step.others); got != step.want {
			t.Errorf("of %d general metrics and %d others %v are shown, want %v", step.general, step.others, got, step.want)
		}
	}
	if asked != 2 {
		t.Errorf("asked %d times within a minute", asked)
	}
	publish(62, 4, 0)
	if asked != 4 {
		t.Errorf("asked %d times in more than a minute", asked)
	}
}

// TestRows: a row has its last text, and goes with its element.
func TestRows(t *testing.T) {
	h := newHarness(t, options())
	version := mapping.Template{ID: "redis_version", Label: "Redis", Priority: 2.8, Row: true}
	row := func(text string) mapping.Point {
		return mapping.Point{Topology: mapping.Process, ID: "1", Template: version, Value: math.NaN(), Text: text}
	}
	latest := func(at int) string { return h.publish(at).Topologies["Process"].Nodes["vm;1"].Latest["redis_version"] }
	h.apply(1, 0, row("7.0 · replica"))
	if got := latest(0); got != "7.0 · replica" {
		t.Errorf("row = %q", got)
	}
	h.apply(1, 1, row("7.0 · master"))
	if got := latest(1); got != "7.0 · master" {
		t.Errorf("row = %q", got)
	}
	want := []RowSnapshot{{Template: version, Rule: 1, Text: "7.0 · master"}}
	if diff := cmp.Diff(want, h.Snapshot().Nodes[0].Rows); diff != "" {
		t.Errorf("snapshot (-want +got):\n%s", diff)
	}
	h.apply(1, 2)
	if n := len(h.publish(2).Topologies["Process"].Nodes); n != 0 {
		t.Errorf("%d nodes are left", n)
	}
}

func TestReportMetrics(t *testing.T) {
	h := newHarness(t, options())
	h.apply(0, 0, onHost(load, 1))
	h.apply(1, 0, onProcess(1, heap, 1), onProcess(2, heap, math.NaN()))
	h.apply(1, 1, onProcess(1, heap, 1))
	h.publish(1)
	const want = `
# HELP promscope_report_nodes Nodes in the report, by topology.
# TYPE promscope_report_nodes gauge
promscope_report_nodes{topology="Container"} 0
promscope_report_nodes{topology="Host"} 1
promscope_report_nodes{topology="Pod"} 0
promscope_report_nodes{topology="Process"} 1
# HELP promscope_report_nodes_left_out Nodes that the report has no room for within its size limit.
# TYPE promscope_report_nodes_left_out gauge
promscope_report_nodes_left_out 0
# HELP promscope_report_points_dropped_total Results of rules that did not get into the report, by reason.
# TYPE promscope_report_points_dropped_total counter
promscope_report_points_dropped_total{reason="bad_id"} 0
promscope_report_points_dropped_total{reason="duplicate"} 0
promscope_report_points_dropped_total{reason="node_limit"} 0
promscope_report_points_dropped_total{reason="out_of_order"} 0
promscope_report_points_dropped_total{reason="value"} 1
# HELP promscope_report_samples Samples in the report.
# TYPE promscope_report_samples gauge
promscope_report_samples 3
`
	if err := testutil.GatherAndCompare(h.reg, strings.NewReader(want), "promscope_report_nodes", "promscope_report_nodes_left_out",
		"promscope_report_points_dropped_total", "promscope_report_samples"); err != nil {
		t.Error(err)
	}
	if got := testutil.ToFloat64(h.metrics.bytes.WithLabelValues("all")); got != float64(len(h.JSON())) {
		t.Errorf("bytes = %v, want %d", got, len(h.JSON()))
	}
	NewServer(h.Report, ServerOptions{}, discard(), h.reg)
	problems, err := testutil.GatherAndLint(h.reg)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

// Templates that came with points go when no metric has them any more; those that
// were known beforehand stay.
func TestTemplatesAreForgotten(t *testing.T) {
	h := newHarness(t, options())
	disk := func(name string) mapping.Point {
		priority := 3 + float64(name[0])/1000
		return mapping.Point{Topology: mapping.Host, Template: mapping.Template{ID: "disk_" + name, Label: name, Priority: priority}, Value: 1}
	}
	h.apply(0, 0, disk("a"), disk("b"))
	if n := len(h.publish(0).Topologies["Host"].Templates); n != 4 {
		t.Errorf("%d templates at first", n)
	}
	for _, step := range []struct{ second, templates int }{{60, 4}, {659, 4}, {720, 3}} {
		h.apply(0, step.second, disk("b"))
		h.newChecker() // which holds that templates stay
		if n := len(h.publish(step.second).Topologies["Host"].Templates); n != step.templates {
			t.Errorf("%d templates after %d s, want %d", n, step.second, step.templates)
		}
	}
	h.apply(0, 721, disk("a"), disk("b"))
	if n := len(h.publish(721).Topologies["Host"].Templates); n != 4 {
		t.Errorf("%d templates when it is back", n)
	}
	// When the clock is set back, the ten minutes begin anew.
	h.apply(0, 780)
	h.newChecker()
	h.publish(780)
	h.Forget(second(0))
	for _, step := range []struct{ second, templates int }{{0, 4}, {599, 4}, {659, 2}} {
		h.newChecker()
		if n := len(h.publish(step.second).Topologies["Host"].Templates); n != step.templates {
			t.Errorf("%d templates %d s after the clock was set back, want %d", n, step.second, step.templates)
		}
	}
}

// A name that is back may have another priority. As long as a node has the metric, the
// first one stays.
func TestTemplateIsChanged(t *testing.T) {
	h := newHarness(t, options())
	queue := func(pid int, priority float64) mapping.Point {
		return onProcess(pid, mapping.Template{ID: "queue", Label: "Queue", Priority: priority}, 1)
	}
	for _, step := range []struct {
		second int
		points []mapping.Point
		want   float64
	}{
		{0, []mapping.Point{queue(1, 3), queue(2, 3)}, 3},
		{1, []mapping.Point{queue(2, 3), queue(3, 4)}, 3},
		{2, nil, 3},
		{3, []mapping.Point{queue(1, 4), queue(2, 4)}, 4},
		{60, nil, 4}, // noted as one that no metric has
		{120, []mapping.Point{queue(1, 5)}, 5},
	} {
		h.apply(0, step.second, step.points...)
		h.newChecker() // which holds that templates stay
		if got := h.publish(step.second).Topologies["Process"].Templates["queue"].Priority; got != step.want {
			t.Errorf("after %d s: priority %v, want %v", step.second, got, step.want)
		}
	}
	// One that was known beforehand stays as it is.
	other := heap
	other.Priority = 4.5
	h.apply(0, 121, onProcess(1, other, 1))
	if got := h.publish(121).Topologies["Process"].Templates[heap.ID].Priority; got != heap.Priority {
		t.Errorf("priority %v, want %v", got, heap.Priority)
	}
}
