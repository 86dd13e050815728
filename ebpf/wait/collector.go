package wait

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/promscope/promscope/ebpf/collector"
	"github.com/promscope/promscope/ebpf/load"
)

const (
	prefix        = "promscope_wait_"
	mostProcesses = 1 << 16
)

// Definition says what the collector is and what it needs.
func Definition() collector.Definition {
	return collector.Definition{
		Name:         "wait",
		Help:         "Time for which processes wait for a CPU and for I/O, and the host's run queue latency, from the kernel.",
		Interval:     time.Second,
		Prefixes:     []string{prefix, "promscope_runqueue_"},
		Capabilities: load.Capabilities(),
		Kernel:       "5.10",
		HookSets:     hookSets(),
		Options:      func() collector.Options { return defaultOptions() },
	}
}

// Options of the collector.
type Options struct {
	// MaxProcesses that have series of a kind at a time. Of more, those that wait the longest get one.
	MaxProcesses int `yaml:"max_processes"`
}

func defaultOptions() *Options { return &Options{MaxProcesses: 1024} }

// Check implements collector.Options.
func (o *Options) Check() []collector.Problem {
	if o.MaxProcesses < 1 || o.MaxProcesses > mostProcesses {
		return []collector.Problem{{Option: "max_processes", Message: fmt.Sprintf("must be between 1 and %d", mostProcesses)}}
	}
	return nil
}

// Open loads the programs, attaches them, and begins to count.
func (o *Options) Open(env collector.Environment) (collector.Collector, error) {
	c, err := o.open(env)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (o *Options) open(env collector.Environment) (*Collector, error) {
	p, err := loadPrograms()
	if err != nil {
		return nil, err
	}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	c := &Collector{
		logger:   env.Logger,
		programs: p,
		began:    time.Now(),
		table:    table{most: o.MaxProcesses},
		waits: [kinds]*prometheus.Desc{
			forCPU: desc(prefix+"cpu_seconds_total", "Time for which threads of the process were ready to run and waited for a CPU.", "pid", "comm"),
			forIO:  desc(prefix+"io_seconds_total", "Time for which threads of the process waited for I/O.", "pid", "comm"),
		},
		latency: desc("promscope_runqueue_latency_seconds", "Time from when a thread was ready to run until it had a CPU."),
		threads: desc(prefix+"threads", "Threads of the machine."),
		leftOut: desc(prefix+"processes_left_out", "Processes that wait and have no series because there are too many."),
		lost:    desc(prefix+"io_lost_total", "Waits for I/O that were not counted because too many threads wait for it."),
		hooks:   load.NewSeries("wait"),
	}
	for i, bound := range bounds() {
		c.bounds[i] = bound
	}
	totals, err := c.totals()
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	c.table.update(totals, c.began)
	env.Logger.Info("Timing waits in the kernel", "hooks", p.HookSet.Name)
	return c, nil
}

// Collector serves the times as series. It must be closed.
type Collector struct {
	logger *slog.Logger
	waits  [kinds]*prometheus.Desc

	latency, threads, leftOut, lost *prometheus.Desc

	hooks  *load.Series
	bounds [buckets - 1]float64
	began  time.Time

	mu       sync.Mutex // guards what follows, and the programs from being closed meanwhile
	programs *load.Programs
	table    table
	running  int // threads at the last gathering
	closed   bool
}

// Close detaches the programs. A gather gives nothing from then on.
func (c *Collector) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	return c.programs.Close()
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.waits[forCPU], c.waits[forIO], c.latency, c.threads, c.leftOut, c.lost} {
		ch <- d
	}
	c.hooks.Describe(ch)
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	metrics, err := c.gather()
	c.mu.Unlock() // before the channel, whose reader may be slow
	for _, m := range metrics {
		ch <- m
	}
	if err != nil {
		ch <- prometheus.NewInvalidMetric(c.latency, err)
	}
}

func (c *Collector) gather() ([]prometheus.Metric, error) {
	if c.closed {
		return nil, nil
	}
	at := time.Now()
	totals, err := c.totals()
	if err != nil {
		return nil, err
	}
	c.table.update(totals, at)
	var metrics []prometheus.Metric
	for o, p := range c.table.processes {
		for kind, w := range p.waits {
			if w.told.IsZero() {
				continue
			}
			metrics = append(metrics, prometheus.MustNewConstMetricWithCreatedTimestamp(c.waits[kind], prometheus.CounterValue,
				time.Duration(w.last-w.from).Seconds(), w.born.AsTime(), strconv.FormatUint(uint64(o.TGID), 10), comm(p.comm)))
		}
	}
	histogram, err := c.histogram()
	if err != nil {
		return metrics, err
	}
	lost, err := c.programs.Counter(varLostIO)
	if err != nil {
		return metrics, err
	}
	hooks, err := c.hooks.Of(c.programs)
	metrics = append(metrics, histogram,
		prometheus.MustNewConstMetric(c.threads, prometheus.GaugeValue, float64(c.running)),
		prometheus.MustNewConstMetric(c.leftOut, prometheus.GaugeValue, float64(c.table.leftOut)),
		prometheus.MustNewConstMetric(c.lost, prometheus.CounterValue, float64(lost)))
	return append(metrics, hooks...), err
}

// totals returns how long the threads of each process have waited.
func (c *Collector) totals() (map[owner]total, error) {
	// Before the threads: a wait that ends in between is missed until the next time, and never there twice.
	over, err := readEnded(c.programs.Collection.Maps[mapProcesses])
	if err != nil {
		return nil, err
	}
	c.running = 0
	totals := make(map[owner]total, len(c.table.processes))
	err = readThreads(c.programs, func(t thread) {
		c.running++
		sum, ok := totals[t.Owner]
		if !ok {
			e := over[t.Owner]
			sum = total{waits: [kinds]uint64{forCPU: e.CPU, forIO: e.IO}, comm: t.Comm}
		}
		sum.waits[forCPU] += t.CPU
		sum.waits[forIO] += t.IO
		totals[t.Owner] = sum
	})
	return totals, err
}

func (c *Collector) histogram() (prometheus.Metric, error) {
	l, err := readLatencies(c.programs.Collection.Maps[mapLatencies])
	if err != nil {
		return nil, err
	}
	cumulative := make(map[float64]uint64, len(c.bounds))
	var n uint64
	for i, in := range l.Buckets {
		n += in
		if i < len(c.bounds) {
			cumulative[c.bounds[i]] = n
		}
	}
	histogram, err := prometheus.NewConstHistogramWithCreatedTimestamp(c.latency, n, time.Duration(l.Sum).Seconds(), cumulative, c.began)
	if err != nil {
		return nil, fmt.Errorf("making a histogram: %w", err)
	}
	return histogram, nil
}

// KernelTime implements collector.InKernel.
func (c *Collector) KernelTime() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0
	}
	return c.programs.KernelTime()
}

// Status implements collector.Collector.
func (c *Collector) Status() collector.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return collector.Status{}
	}
	status, err := c.programs.Status()
	if err != nil {
		c.logger.Warn("The kernel does not say what it missed", "err", err)
	}
	lost, err := c.programs.Counter(varLostIO)
	if err != nil {
		c.logger.Warn("The collector cannot read its counters", "err", err)
	}
	status.Facts = append(status.Facts,
		collector.Fact{Name: "Threads", Value: strconv.Itoa(c.running)},
		collector.Fact{Name: "Processes left out", Value: strconv.Itoa(c.table.leftOut)},
		collector.Fact{Name: "Waits for I/O lost", Value: strconv.FormatUint(lost, 10)})
	if lost > 0 {
		status.Warnings = append(status.Warnings, collector.Warning{
			Reason: fmt.Sprintf("%d waits for I/O were not counted: more than 16384 processes have waited, or 8192 threads do", lost),
			Remedy: "none; the time that processes wait for I/O is too short",
		})
	}
	return status
}
