package plugin

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/promscope/promscope/mapping"
)

func TestDrops(t *testing.T) {
	tests := []struct {
		name   string
		points []mapping.Point
		want   string
	}{
		{"NaN", []mapping.Point{onHost(load, math.NaN())}, dropValue},
		{"infinite", []mapping.Point{onHost(load, math.Inf(-1))}, dropValue},
		{"too large", []mapping.Point{onHost(load, 9.1e16)}, dropValue},
		{"too small", []mapping.Point{onHost(load, -9.1e16)}, dropValue},
		{"unknown topology", []mapping.Point{{Topology: "Service", Template: load}}, dropID},
		{"id no UTF-8", []mapping.Point{{Topology: mapping.Process, ID: "\xff", Template: heap}}, dropID},
		{"metric without id", []mapping.Point{{Topology: mapping.Process, ID: "1"}}, dropID},
		{"metric id no UTF-8", []mapping.Point{{Topology: mapping.Host, Template: mapping.Template{ID: "\xff"}}}, dropID},
		{"twice in a result", []mapping.Point{onHost(load, 1), onHost(load, 2)}, dropDuplicate},
		{"one node too many", []mapping.Point{onHost(load, 1), onProcess(1, heap, 1), onProcess(2, heap, 1)}, dropNodes},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			opts := options()
			opts.MaxNodes = 2
			h := newHarness(t, opts)
			h.apply(0, 0, tt.points...)
			r := h.publish(0)
			if got := h.drops(tt.want); got != 1 {
				t.Errorf("%d drops for %s", got, tt.want)
			}
			samples := 0
			for _, topology := range r.Topologies {
				for _, n := range topology.Nodes {
					for _, m := range n.Metrics {
						samples += len(m.Samples)
					}
				}
			}
			if samples != len(tt.points)-1 {
				t.Errorf("%d samples, want %d", samples, len(tt.points)-1)
			}
		})
	}
}

func TestTwoRulesOneMetric(t *testing.T) {
	h := newHarness(t, options())
	h.apply(0, 0, onHost(load, 1))
	h.apply(1, 0, onHost(load, 2))
	if diff := cmp.Diff([]float64{1}, values(h.publish(0).Metric("Host", "vm;<host>", "node_load"))); diff != "" || h.drops(dropDuplicate) != 1 {
		t.Errorf("%d drops (-want +got):\n%s", h.drops(dropDuplicate), diff)
	}
	// Once the first lets go of it, the second may have it.
	h.apply(0, 1)
	h.apply(1, 1, onHost(load, 3))
	if diff := cmp.Diff([]float64{3}, values(h.publish(1).Metric("Host", "vm;<host>", "node_load"))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNodeLimitIsLoggedOnce(t *testing.T) {
	opts := options()
	opts.MaxNodes = 2
	h := newHarness(t, opts)
	for i := range 3 {
		h.apply(0, i, onProcess(1, heap, 1), onProcess(2, heap, 1), onProcess(3, heap, 1))
		h.publish(i)
	}
	h.apply(0, 3, onProcess(1, heap, 1))
	h.publish(3)
	const want = "level=WARN msg=\"The report is full, nodes are left out\" nodes=2 node_limit=2 byte_limit=16777216 nodes_left_out=0\n" +
		"level=INFO msg=\"The report has room for all nodes again\"\n"
	if diff := cmp.Diff(want, h.log.String()); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestByteLimit(t *testing.T) {
	const limit = 20_000
	opts := options()
	opts.MaxBytes = limit
	h := newHarness(t, opts)
	points := []mapping.Point{}
	for pid := range 1000 {
		points = append(points, onProcess(pid+1, heap, 1))
	}
	h.apply(0, 0, points...)
	h.apply(1, 0, onHost(load, 1))
	r := h.publish(0)
	if len(r.Body) > limit || len(r.Body) < limit/2 {
		t.Errorf("%d bytes at a limit of %d", len(r.Body), limit)
	}
	if r.Metric("Host", "vm;<host>", "node_load") == nil {
		t.Error("the host is left out")
	}
	in := len(r.Topologies["Process"].Nodes)
	if got := testutil.ToFloat64(h.metrics.leftOut); got != float64(1000-in) {
		t.Errorf("%v nodes left out, %d are in", got, in)
	}
	nodes := h.Snapshot().Nodes
	if len(nodes) != 1001 {
		t.Errorf("the snapshot has %d nodes", len(nodes))
	}
	for _, n := range nodes {
		if _, told := r.Topologies[string(n.Topology)].Nodes[n.Key]; n.LeftOut == told {
			t.Fatalf("%s: left out is %v in the snapshot, in the report is %v", n.Key, n.LeftOut, told)
		}
	}
	if !strings.Contains(h.log.String(), "The report is full") {
		t.Error("not a word in the log")
	}
	h.apply(0, 1, points[:10]...)
	if n := len(h.publish(1).Topologies["Process"].Nodes); n != 10 {
		t.Errorf("%d nodes, want 10", n)
	}
	if got := testutil.ToFloat64(h.metrics.leftOut); got != 0 {
		t.Errorf("%v nodes left out", got)
	}
}
