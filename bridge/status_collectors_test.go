package bridge

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/promscope/promscope/bridge/web"
	builtin "github.com/promscope/promscope/ebpf/collector"
)

// What a collector says of itself is on its page, what it collects is not.
func TestMeter(t *testing.T) {
	reg := prometheus.NewRegistry()
	gauge := func(name string, labels prometheus.Labels, value float64) {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, ConstLabels: labels})
		g.Set(value)
		reg.MustRegister(g)
	}
	gauge("promscope_x_hook_info", prometheus.Labels{"receive": "a", "send": "b"}, 1)
	gauge("promscope_x_connections", nil, 4)
	gauge("promscope_x_connections_lost_total", prometheus.Labels{"reason": "limit"}, 1)
	gauge("promscope_x_connections_lost_total", prometheus.Labels{"reason": "memory"}, 2)
	gauge("promscope_x_hook_runs_total", prometheus.Labels{"program": "a"}, 0) // not counted
	gauge("promscope_x_hook_run_seconds_total", prometheus.Labels{"program": "a"}, 0)
	gauge("promscope_x_hook_runs_missed_total", prometheus.Labels{"program": "a"}, 0)
	gauge("promscope_x_requests_total", prometheus.Labels{"pid": "1"}, 9)
	gauge("promscope_other", nil, 9)
	var failure error
	m := &meter{name: "x", gatherer: prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		families, _ := reg.Gather()
		return families, failure
	})}
	for range 2 {
		if _, err := m.Gather(); !errors.Is(err, failure) {
			t.Error(err)
		}
		failure = errors.New("broken")
	}
	var got web.Collector
	m.describe(&got)
	want := web.Collector{Hook: "a+b", Errors: 1, Facts: []web.Fact{{Name: "Connections", Value: "4"}, {Name: "Connections lost", Value: "3"}, {Name: "Hook runs missed", Value: "0"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestCollectorThatFails(t *testing.T) {
	c := &collector{err: &builtin.Error{Reason: "no BTF", Remedy: "another kernel"}}
	w := web.Collector{Hooks: []web.Hook{{Name: "a"}}}
	c.describe(&w)
	if w.State != web.CollectorFailed || w.Error != "no BTF" || w.Remedy != "another kernel" {
		t.Errorf("%+v", w)
	}
	c.err = errors.New("plain")
	c.describe(&w)
	if w.Error != "plain" || w.Remedy != "" {
		t.Errorf("%+v", w)
	}
}
