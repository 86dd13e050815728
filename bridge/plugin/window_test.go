package plugin

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/promscope/promscope/bridge/plugin/probetest"
	"github.com/promscope/promscope/mapping"
)

func TestSamplesRoll(t *testing.T) {
	opts := options()
	opts.MaxSamples, opts.MaxAge = 3, 10*time.Second
	h := newHarness(t, opts)
	heapOf := func(r *probetest.Report) []float64 { return values(r.Metric("Process", "vm;1", "go_heap")) }

	for i := range 5 {
		h.apply(0, i, onProcess(1, heap, float64(i)))
	}
	if diff := cmp.Diff([]float64{2, 3, 4}, heapOf(h.publish(4))); diff != "" {
		t.Errorf("more than MaxSamples (-want +got):\n%s", diff)
	}
	h.apply(0, 4, onProcess(1, heap, 44))
	if diff := cmp.Diff([]float64{2, 3, 44}, heapOf(h.publish(4))); diff != "" {
		t.Errorf("twice the same time (-want +got):\n%s", diff)
	}
	h.apply(0, 3, onProcess(1, heap, 33))
	if diff := cmp.Diff([]float64{2, 3, 44}, heapOf(h.publish(4))); diff != "" || h.drops(dropOutOfOrder) != 1 {
		t.Errorf("back in time, %d drops (-want +got):\n%s", h.drops(dropOutOfOrder), diff)
	}
	// Nothing is applied any more; time passes.
	if diff := cmp.Diff([]float64{2, 3, 44}, heapOf(h.publish(12))); diff != "" {
		t.Errorf("just young enough (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]float64{44}, heapOf(h.publish(14))); diff != "" {
		t.Errorf("too old but one (-want +got):\n%s", diff)
	}
	r := h.publish(15)
	if n := len(r.Topologies["Process"].Nodes); n != 0 {
		t.Errorf("%d nodes without samples", n)
	}
	if len(h.nodes) != 0 {
		t.Errorf("%d nodes are kept", len(h.nodes))
	}
}

// TestSlowRule reports less often than the window is long: its last sample stays
// until the next is due.
func TestSlowRule(t *testing.T) {
	opts := options()
	opts.MaxAge = 10 * time.Second
	h := newHarness(t, opts)
	h.apply(0, 0, onHost(load, 1))
	h.apply(0, 30, onHost(load, 2))
	for _, at := range []int{30, 41, 60, 119} {
		if diff := cmp.Diff([]float64{2}, values(h.publish(at).Metric("Host", "vm;<host>", "node_load"))); diff != "" {
			t.Errorf("after %d s (-want +got):\n%s", at, diff)
		}
	}
	if m := h.publish(121).Metric("Host", "vm;<host>", "node_load"); m != nil {
		t.Errorf("after three intervals: %v", m)
	}
}

func TestClockSetBack(t *testing.T) {
	h := newHarness(t, options())
	h.apply(0, 3590, onHost(load, 1))
	h.apply(0, 3600, onHost(load, 2))
	h.publish(3600)
	h.Forget(second(3595))
	h.apply(0, 3595, onHost(load, 3))
	h.newChecker() // which holds that time does not go back
	if diff := cmp.Diff([]float64{1, 3}, values(h.publish(3595).Metric("Host", "vm;<host>", "node_load"))); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
}

func TestMax(t *testing.T) {
	tests := []struct {
		name   string
		points []mapping.Point
		want   float64
	}{
		{"the rule's", []mapping.Point{{Topology: mapping.Host, Template: load, Value: 3, Max: 8}}, 8},
		{"a percent's", []mapping.Point{onHost(iowait, 3)}, 100},
		{"the largest seen", []mapping.Point{onHost(load, 3), onHost(load, 5), onHost(load, 4)}, 5},
		{"of zero", []mapping.Point{onHost(load, 0)}, 1},
		{"of negative values", []mapping.Point{onHost(load, -2)}, 1},
		{"not a number", []mapping.Point{{Topology: mapping.Host, Template: load, Value: 3, Max: math.NaN()}}, 3},
		{"infinite", []mapping.Point{{Topology: mapping.Host, Template: load, Value: 3, Max: math.Inf(1)}}, 3},
		{"negative", []mapping.Point{{Topology: mapping.Host, Template: load, Value: 3, Max: -1}}, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			opts := options()
			opts.MaxSamples = 1 // the largest seen may have left the window
			h := newHarness(t, opts)
			for i, p := range tt.points {
				h.apply(0, i, p)
			}
			m := h.publish(9).Metric("Host", "vm;<host>", tt.points[0].Template.ID)
			if m == nil || m.Max != tt.want {
				t.Errorf("metric = %+v, want a maximum of %v", m, tt.want)
			}
		})
	}
}
