package wait

import (
	"fmt"
	"strconv"
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
		Interval:     5 * time.Second, // it looks at all threads
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
	return o.open(env)
}

func (o *Options) open(env collector.Environment) (*load.Collector, error) {
	object := load.Object{File: object, HookSets: hookSets(), Configure: configure}
	return load.Start("wait", object, env, func(p *load.Programs) (load.Reader, error) { return o.newReader(p) })
}

// reader makes series of the times.
type reader struct {
	waits [kinds]*prometheus.Desc

	latency, threads, leftOut, lost *prometheus.Desc

	bounds   [buckets - 1]float64
	began    time.Time
	programs *load.Programs
	table    table
	running  int // threads at the last reading
}

func (o *Options) newReader(p *load.Programs) (*reader, error) {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	r := &reader{
		programs: p,
		began:    time.Now(),
		bounds:   bounds(),
		table:    table{most: o.MaxProcesses},
		waits: [kinds]*prometheus.Desc{
			forCPU: desc(prefix+"cpu_seconds_total", "Time for which threads of the process were ready to run and waited for a CPU.", "pid", "comm"),
			forIO:  desc(prefix+"io_seconds_total", "Time for which threads of the process waited for I/O.", "pid", "comm"),
		},
		latency: desc("promscope_runqueue_latency_seconds", "Time from when a thread was ready to run until it had a CPU."),
		threads: desc(prefix+"threads", "Threads of the machine."),
		leftOut: desc(prefix+"processes_left_out", "Processes that wait and have no series because there are too many."),
		lost:    desc(prefix+"io_lost_total", "Waits that were not counted because too many processes have waited, or too many threads wait for I/O."),
	}
	totals, err := r.totals()
	if err != nil {
		return nil, err
	}
	r.table.update(totals, r.began, load.Monotonic())
	return r, nil
}

// Describe implements load.Reader.
func (r *reader) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{r.waits[forCPU], r.waits[forIO], r.latency, r.threads, r.leftOut, r.lost} {
		ch <- d
	}
}

// Read implements load.Reader.
func (r *reader) Read() ([]prometheus.Metric, error) {
	at, clock := time.Now(), load.Monotonic()
	totals, err := r.totals()
	if err != nil {
		return nil, err
	}
	r.table.update(totals, at, clock)
	var metrics []prometheus.Metric
	for o, p := range r.table.processes {
		for kind, w := range p.waits {
			if w.told.IsZero() {
				continue
			}
			metrics = append(metrics, prometheus.MustNewConstMetricWithCreatedTimestamp(r.waits[kind], prometheus.CounterValue,
				time.Duration(w.last-w.from).Seconds(), w.born.AsTime(), strconv.FormatUint(uint64(o.TGID), 10), load.Comm(p.comm)))
		}
	}
	histogram, err := r.histogram()
	if err != nil {
		return metrics, err
	}
	lost, err := r.programs.Counter(varLost)
	if err != nil {
		return metrics, err
	}
	return append(metrics, histogram,
		prometheus.MustNewConstMetric(r.threads, prometheus.GaugeValue, float64(r.running)),
		prometheus.MustNewConstMetric(r.leftOut, prometheus.GaugeValue, float64(r.table.leftOut)),
		prometheus.MustNewConstMetric(r.lost, prometheus.CounterValue, float64(lost))), nil
}

// totals returns how long the threads of each process have waited.
func (r *reader) totals() (map[owner]total, error) {
	// Before the threads: a wait that ends in between is missed until the next time, and never there twice.
	over, err := readEnded(r.programs.Collection.Maps[mapProcesses])
	if err != nil {
		return nil, err
	}
	r.running = 0
	totals := make(map[owner]total, len(r.table.processes))
	err = readThreads(r.programs, func(t thread) {
		r.running++
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

func (r *reader) histogram() (prometheus.Metric, error) {
	l, err := readLatencies(r.programs.Collection.Maps[mapLatencies])
	if err != nil {
		return nil, err
	}
	cumulative := make(map[float64]uint64, len(r.bounds))
	var n uint64
	for i, in := range l.Buckets {
		n += in
		if i < len(r.bounds) {
			cumulative[r.bounds[i]] = n
		}
	}
	histogram, err := prometheus.NewConstHistogramWithCreatedTimestamp(r.latency, n, time.Duration(l.Sum).Seconds(), cumulative, r.began)
	if err != nil {
		return nil, fmt.Errorf("making a histogram: %w", err)
	}
	return histogram, nil
}

// Report implements load.Reader.
func (r *reader) Report(status *collector.Status) error {
	lost, err := r.programs.Counter(varLost)
	status.Facts = append(status.Facts,
		collector.Fact{Name: "Threads", Value: strconv.Itoa(r.running)},
		collector.Fact{Name: "Processes left out", Value: strconv.Itoa(r.table.leftOut)},
		collector.Fact{Name: "Waits lost", Value: strconv.FormatUint(lost, 10)})
	if lost > 0 {
		status.Warnings = append(status.Warnings, collector.Warning{
			Reason: fmt.Sprintf("%d waits were not counted: more than 16384 processes have waited, or 8192 threads wait for I/O", lost),
			Remedy: "none; the times that processes wait are too short",
		})
	}
	return err
}
