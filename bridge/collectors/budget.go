package collectors

import (
	"fmt"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/ebpf/collector"
)

// A collector is judged by what it has taken in the last judgeEvery. One that has taken
// more than its budget rests: it is closed, so that its programs cost nothing, and opened
// anew later. Each time that it has to rest again it rests twice as long, and the first
// time after a while within its budget as short as at first.
const (
	judgeEvery  = time.Minute
	firstRest   = time.Minute
	longestRest = 16 * time.Minute
)

// budget measures what a collector costs, and decides whether it rests.
type budget struct {
	share float64 // of one CPU that it may take; 0 is without bound

	spent  time.Duration // of CPU time, in all
	rests  int           // in all
	since  time.Time     // when what is judged began, or the rest
	before time.Duration // spent by then
	took   float64       // the share that it was sent to rest for
	rest   time.Duration // the last one's length; 0 if it need not rest
	until  time.Time     // of the rest; zero if it does not rest
}

// begin begins to judge.
func (b *budget) begin(now time.Time) { b.since, b.before, b.until = now, b.spent, time.Time{} }

// spend adds what a gathering has cost, and reports whether the collector has to rest now.
func (b *budget) spend(cost time.Duration, now time.Time) bool {
	b.spent += cost
	elapsed := now.Sub(b.since)
	if b.share <= 0 || elapsed < judgeEvery {
		return false
	}
	b.took = (b.spent - b.before).Seconds() / elapsed.Seconds()
	if b.took <= b.share {
		b.begin(now)
		b.rest = 0
		return false
	}
	b.nap(now)
	b.rests++
	return true
}

// nap begins a rest, or lengthens it.
func (b *budget) nap(now time.Time) {
	b.rest = min(max(firstRest, 2*b.rest), longestRest)
	b.until = now.Add(b.rest)
}

func (b *budget) resting() bool { return !b.until.IsZero() }

// reason says why the collector rests.
func (b *budget) reason() string {
	return fmt.Sprintf("it took %.1f %% of a CPU, more than its budget of %.1f %%, and rests for %s", 100*b.took, 100*b.share, b.rest)
}

const budgetRemedy = "gather less often (interval), bound what it looks at, or raise cpu_budget_percent"

// timed is a collector whose Collect is timed. While none is in it, it collects nothing.
type timed struct {
	collector.Collector
	cost     time.Duration // of the last Collect, and of the programs until then
	inKernel time.Duration // of the programs, at the last Collect
}

// Collect implements prometheus.Collector. It times the thread, and not the clock: on a
// machine that is busy the collector waits, and that costs nothing.
func (t *timed) Collect(ch chan<- prometheus.Metric) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := threadTime()
	t.Collector.Collect(ch)
	t.cost = threadTime() - before
	if k, ok := t.Collector.(collector.InKernel); ok {
		now := k.KernelTime()
		t.cost += now - t.inKernel
		t.inKernel = now
	}
}

// threadTime returns the CPU time of this thread.
func threadTime() time.Duration {
	var at unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &at) != nil {
		return 0 // cannot happen: the clock always exists
	}
	return time.Duration(at.Nano())
}

// costs are the series of what collectors cost, for as long as a configuration is at work.
type costs struct{ all []*Collector }

func costDescs() (running, spent, rested *prometheus.Desc) {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("promscope_collector_"+name, help, []string{"collector"}, nil)
	}
	return desc("running", "Whether a built-in collector that is enabled runs: it could be started, and does not rest."),
		desc("cpu_seconds_total", "CPU time of a built-in collector: of collecting its series, and of its programs in the kernel while the sysctl kernel.bpf_stats_enabled is 1."),
		desc("rests_total", "How often a built-in collector was sent to rest because it took more than its budget.")
}

// Describe implements prometheus.Collector.
func (c *costs) Describe(ch chan<- *prometheus.Desc) {
	running, spent, rested := costDescs()
	ch <- running
	ch <- spent
	ch <- rested
}

// Collect implements prometheus.Collector.
func (c *costs) Collect(ch chan<- prometheus.Metric) {
	running, spent, rested := costDescs()
	for _, one := range c.all {
		one.mu.Lock()
		runs, took, rests := one.running != nil, one.budget.spent, one.budget.rests
		one.mu.Unlock()
		value := 0.0
		if runs {
			value = 1
		}
		ch <- prometheus.MustNewConstMetric(running, prometheus.GaugeValue, value, one.Name)
		ch <- prometheus.MustNewConstMetric(spent, prometheus.CounterValue, took.Seconds(), one.Name)
		ch <- prometheus.MustNewConstMetric(rested, prometheus.CounterValue, float64(rests), one.Name)
	}
}
