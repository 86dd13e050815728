package status

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/promscope/promscope/bridge/collectors"
	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/view"
	"github.com/promscope/promscope/ebpf/collector"
)

func TestCollectorThatFails(t *testing.T) {
	c := &collectors.Collector{Err: &collector.Error{Reason: "no BTF", Remedy: "another kernel"}}
	w := view.Collector{Hooks: []view.Hook{{Name: "a"}}}
	describe(&w, c)
	if w.State != view.CollectorFailed || w.Error != "no BTF" || w.Remedy != "another kernel" {
		t.Errorf("%+v", w)
	}
	c.Err = errors.New("plain")
	describe(&w, c)
	if w.Error != "plain" || w.Remedy != "" {
		t.Errorf("%+v", w)
	}
}

// known is a collector, and its options, that says of itself what it is told to.
type known struct{ says collector.Status }

func (k *known) Check() []collector.Problem                              { return nil }
func (k *known) Open(collector.Environment) (collector.Collector, error) { return k, nil }
func (k *known) Status() collector.Status                                { return k.says }
func (k *known) Close() error                                            { return nil }
func (k *known) Describe(ch chan<- *prometheus.Desc)                     { prometheus.DescribeByCollect(k, ch) }
func (k *known) Collect(chan<- prometheus.Metric)                        {}

func TestCollectorInKernel(t *testing.T) {
	k := &known{collector.Status{
		HookSet:    "tracepoints",
		Facts:      []collector.Fact{{Name: "Sockets", Value: "3"}},
		Programs:   []collector.Program{{Name: "on_exit", Missed: 1, Runs: 4, Took: 1200 * time.Nanosecond}},
		Maps:       []collector.Map{{Name: "ended", Entries: 6, Limit: 8, Evicts: true}},
		CountsRuns: true,
	}}
	machine, err := host.New(host.Options{})
	if err != nil {
		t.Fatal(err)
	}
	open := collectors.Open([]collectors.Settings{{Definition: collector.Definition{Name: "x"}, Enabled: true, Options: k}},
		nil, nil, machine, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	var got view.Collector
	describe(&got, open[0])
	want := view.Collector{
		State: view.CollectorOn, Hook: "tracepoints",
		Facts:      []view.Fact{{Name: "Sockets", Value: "3"}},
		Programs:   []view.Program{{Name: "on_exit", Runs: 4, RunSeconds: 1.2e-6, Missed: 1}},
		Maps:       []view.Map{{Name: "ended", Entries: 6, Limit: 8, Evicts: true}},
		CountsRuns: true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if n := got.Programs[0].MeanNanoseconds(); n != 300 {
		t.Errorf("a run takes %d ns", n)
	}
	if full := got.Maps[0].Percent(); full != 75 {
		t.Errorf("%v %% full", full)
	}
}
