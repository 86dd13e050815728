package collectors

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/ebpf/collector"
)

// costly is a collector whose programs take so much CPU time for each gathering. It is
// its own options.
type costly struct {
	prometheus.Collector
	each   time.Duration
	spent  time.Duration // since it was opened
	opened int
	open   bool
	fails  bool
	broken error // of a gathering
}

func newCostly() *costly {
	return &costly{Collector: prometheus.NewGauge(prometheus.GaugeOpts{Name: "value", Help: "A value."})}
}

func (*costly) Check() []collector.Problem { return nil }

func (c *costly) Open(collector.Environment) (collector.Collector, error) {
	if c.fails {
		return nil, errors.New("no more")
	}
	c.opened, c.open, c.spent = c.opened+1, true, 0
	return c, nil
}

func (c *costly) Collect(ch chan<- prometheus.Metric) {
	c.spent += c.each
	c.Collector.Collect(ch)
	if c.broken != nil {
		ch <- prometheus.NewInvalidMetric(prometheus.NewDesc("broken", "What is not there.", nil, nil), c.broken)
	}
}

func (c *costly) KernelTime() time.Duration { return c.spent }
func (c *costly) Status() collector.Status {
	return collector.Status{Facts: []collector.Fact{{Name: "it", Value: "runs"}}}
}
func (c *costly) Close() error { c.open = false; return nil }

// gatherFor gathers each second for so long, and returns how often there was something.
func gatherFor(t *testing.T, c *Collector, d time.Duration) (some int) {
	t.Helper()
	for range int(d / time.Second) {
		time.Sleep(time.Second)
		families, err := c.Gather()
		if err != nil {
			t.Fatal(err)
		}
		some += len(families)
	}
	return some
}

func openCostly(t *testing.T, o *costly, budget float64) (*Collector, *prometheus.Registry) {
	t.Helper()
	machine, err := host.New(host.Options{})
	if err != nil {
		t.Skip(err)
	}
	registry := prometheus.NewRegistry()
	all := Open([]Settings{{
		Definition: collector.Definition{Name: "costly"}, Enabled: true, Interval: time.Second, Budget: budget, Options: o,
	}}, nil, nil, machine, slog.New(slog.DiscardHandler), registry)
	t.Cleanup(func() {
		if err := all[0].Close(); err != nil {
			t.Error(err)
		}
		machine.Close()
	})
	return all[0], registry
}

// The error of a gathering is the collector's own, in as many words, and what it has is there.
func TestFailedGathering(t *testing.T) {
	o := newCostly()
	c, _ := openCostly(t, o, 1)
	o.broken = errors.New("no such map")
	families, err := c.Gather()
	if err == nil || err.Error() != "no such map" || len(families) != 1 {
		t.Errorf("%d families and %v", len(families), err)
	}
	if n := c.Failures(); n != 1 {
		t.Errorf("%d failures, want 1", n)
	}
}

func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newCostly()
		c, registry := openCostly(t, o, 0.01)
		// The gatherings take CPU time of the test's own, too, but by far not so much.
		o.each = 20 * time.Millisecond
		if n := gatherFor(t, c, 60*time.Second); n != 60 || o.open {
			t.Errorf("%d gatherings of sixty; open: %v", n, o.open)
		}
		status := c.Status()
		if len(status.Warnings) != 1 || !strings.Contains(status.Warnings[0].Reason, "it took 2.") || !strings.Contains(status.Warnings[0].Remedy, "cpu_budget_percent") {
			t.Errorf("at rest it says %+v", status)
		}
		const want = `
# HELP promscope_collector_rests_total How often a built-in collector was sent to rest because it took more than its budget.
# TYPE promscope_collector_rests_total counter
promscope_collector_rests_total{collector="costly"} 1
# HELP promscope_collector_running Whether a built-in collector that is enabled runs: it could be started, and does not rest.
# TYPE promscope_collector_running gauge
promscope_collector_running{collector="costly"} 0
`
		if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "promscope_collector_rests_total", "promscope_collector_running"); err != nil {
			t.Error(err)
		}
		if n := gatherFor(t, c, 59*time.Second); n != 0 {
			t.Errorf("%d gatherings in its rest", n)
		}
		// It comes back, takes too much again, and rests for two minutes.
		if n := gatherFor(t, c, 61*time.Second); n != 61 || o.opened != 2 || o.open {
			t.Errorf("%d gatherings of 61, opened %d times; open: %v", n, o.opened, o.open)
		}
		if n := gatherFor(t, c, 119*time.Second); n != 0 {
			t.Errorf("%d gatherings in its second rest", n)
		}
		// Within its budget it stays, and the next rest is as short as the first.
		o.each = 2 * time.Millisecond
		if n := gatherFor(t, c, 121*time.Second); n != 121 || c.Status().Warnings != nil {
			t.Errorf("%d gatherings of 121; %+v", n, c.Status())
		}
		o.each = 50 * time.Millisecond
		gatherFor(t, c, 80*time.Second)
		if c.budget.rest != time.Minute || o.open {
			t.Errorf("rests for %v; open: %v", c.budget.rest, o.open)
		}
	})
}

// One that cannot be started after its rest says why, and is tried again after a longer one, which
// its budget is not to blame for.
func TestBudgetCannotStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newCostly()
		c, _ := openCostly(t, o, 0.01)
		o.each, o.fails = 20*time.Millisecond, true
		if n := gatherFor(t, c, 160*time.Second); n != 60 || c.budget.rest != 2*time.Minute || c.budget.rests != 1 {
			t.Errorf("%d gatherings, and rests for %v, %d times", n, c.budget.rest, c.budget.rests)
		}
		want := []collector.Warning{{
			Reason: "it has rested and cannot be started: no more; it rests for another 2m0s", Remedy: "none; it is tried again then",
		}}
		if got := c.Status().Warnings; !slices.Equal(got, want) {
			t.Errorf("at rest it says %+v", got)
		}
		o.fails = false
		if n := gatherFor(t, c, 130*time.Second); n == 0 || c.Status().Warnings != nil || c.failed != nil {
			t.Errorf("%d gatherings, and it says %+v", n, c.Status())
		}
	})
}

func TestNoBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newCostly()
		c, _ := openCostly(t, o, 0)
		o.each = 500 * time.Millisecond
		if n := gatherFor(t, c, 180*time.Second); n != 180 {
			t.Errorf("%d gatherings of 180", n)
		}
	})
}

// A collector that is closed in its rest stays so.
func TestClosedAtRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newCostly()
		c, _ := openCostly(t, o, 0.01)
		o.each = 20 * time.Millisecond
		gatherFor(t, c, 60*time.Second)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if n := gatherFor(t, c, 100*time.Second); n != 0 || o.opened != 1 {
			t.Errorf("%d gatherings, opened %d times", n, o.opened)
		}
	})
}

// The time of the thread is counted, and not that of the clock.
func TestThreadTime(t *testing.T) {
	c := &timed{Collector: newCostly()}
	began := time.Now()
	ch := make(chan prometheus.Metric, 10)
	busy := &busyFor{newCostly(), 30 * time.Millisecond}
	c.Collector = busy
	c.Collect(ch)
	if took := time.Since(began); c.cost < 30*time.Millisecond || c.cost > took {
		t.Errorf("30 ms of CPU time in %v cost %v", took, c.cost)
	}
	sleepy := &sleepsFor{newCostly(), 100 * time.Millisecond}
	c.Collector = sleepy
	c.Collect(ch)
	if c.cost > 50*time.Millisecond {
		t.Errorf("100 ms of sleep cost %v", c.cost)
	}
}

type busyFor struct {
	*costly
	least time.Duration
}

func (b *busyFor) Collect(chan<- prometheus.Metric) {
	for began := threadTime(); threadTime()-began < b.least; {
	}
}

type sleepsFor struct {
	*costly
	time.Duration
}

func (s *sleepsFor) Collect(chan<- prometheus.Metric) { time.Sleep(s.Duration) }
