package exits

import (
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/promscope/promscope/ebpf/collector"
	"github.com/promscope/promscope/ebpf/load"
)

const (
	mostCgroups = 1 << 14
	// sayEvery is how often the log names a process that was killed because there was no memory.
	sayEvery = 10 * time.Second
)

// Options of the collector.
type Options struct {
	// MaxCgroups that have series at a time: those where a signal ended a process last.
	MaxCgroups int `yaml:"max_cgroups"`
}

// Definition says what the collector is and what it needs.
func Definition() collector.Definition {
	return collector.Definition{
		Name:         "exits",
		Help:         "Processes that a signal ended, and those killed out of memory, of the host and by cgroup, from the kernel.",
		Interval:     time.Second,
		Prefixes:     []string{"promscope_exits_", "promscope_oom_kills_", "promscope_cgroup_"},
		Capabilities: load.Capabilities(),
		Kernel:       "5.10",
		HookSets:     hookSets(),
		Options:      func() collector.Options { return defaultOptions() },
	}
}

func hookSets() []collector.HookSet {
	return []collector.HookSet{{
		Name:          "tracepoints",
		Programs:      []string{"on_exit"},
		Kernel:        "5.10",
		Architectures: []string{"amd64", "arm64", "loong64", "ppc64le", "riscv64"}, // little-endian
	}}
}

func defaultOptions() *Options { return &Options{MaxCgroups: 256} }

// Check implements collector.Options.
func (o *Options) Check() []collector.Problem {
	if o.MaxCgroups < 1 || o.MaxCgroups > mostCgroups {
		return []collector.Problem{{Option: "max_cgroups", Message: fmt.Sprintf("must be between 1 and %d", mostCgroups)}}
	}
	return nil
}

// Open loads the program, attaches it, and begins to count.
func (o *Options) Open(env collector.Environment) (collector.Collector, error) {
	return o.open(env)
}

func (o *Options) open(env collector.Environment) (*load.Collector, error) {
	return load.Start("exits", load.Object{File: object, HookSets: hookSets()}, env, func(p *load.Programs) (load.Reader, error) {
		return newReader(p, o.MaxCgroups, env.Logger), nil
	})
}

// reader makes series of what is counted.
type reader struct {
	ends, oomKills        *prometheus.Desc
	tracked, left, lost   *prometheus.Desc
	logger                *slog.Logger
	programs              *load.Programs
	cgroups               *cgroups
	began                 time.Time
	last, lastOutOfMemory *victim // nil before the first
	news                  news
}

func newReader(p *load.Programs, most int, logger *slog.Logger) *reader {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("promscope_"+name, help, labels, nil)
	}
	now := time.Now()
	return &reader{
		ends:     desc("exits_total", "Processes of the host that a signal ended.", "signal"),
		oomKills: desc("oom_kills_total", "Processes of the host that the kernel killed because there was no memory."),
		tracked:  desc("exits_cgroups", "Cgroups that have series because a signal ended a process there."),
		left:     desc("exits_cgroups_evicted_total", "Cgroups that have no series any more because others were in want of room."),
		lost:     desc("exits_victims_lost_total", "Processes that a signal ended and that count for no cgroup: too many ended at a time, or theirs is too deep."),
		logger:   logger,
		programs: p,
		cgroups:  newCgroups(most, now),
		began:    now,
	}
}

// Describe implements load.Reader.
func (r *reader) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{r.ends, r.oomKills, r.tracked, r.left, r.lost, r.cgroups.ends, r.cgroups.oomKills, r.cgroups.oomLast} {
		ch <- d
	}
}

// Read implements load.Reader.
func (r *reader) Read() ([]prometheus.Metric, error) {
	now := time.Now()
	victims, err := takeVictims(r.programs.Collection.Maps[mapVictims])
	r.take(now, victims)
	if err != nil {
		return nil, err
	}
	metrics := r.cgroups.metrics()
	counter := func(desc *prometheus.Desc, n uint64, labels ...string) {
		metrics = append(metrics, prometheus.MustNewConstMetricWithCreatedTimestamp(desc, prometheus.CounterValue, float64(n), r.began, labels...))
	}
	var ends [128]uint64
	if err := r.programs.Collection.Variables[varEnds].Get(&ends); err != nil {
		return metrics, fmt.Errorf("reading %s: %w", varEnds, err)
	}
	for name, n := range bySignal(ends[:]) {
		counter(r.ends, n, name)
	}
	for desc, variable := range map[*prometheus.Desc]string{r.oomKills: varOOMKills, r.lost: varLost} {
		n, err := r.programs.Counter(variable)
		if err != nil {
			return metrics, err
		}
		counter(desc, n)
	}
	counter(r.left, r.cgroups.evicted)
	return append(metrics, prometheus.MustNewConstMetric(r.tracked, prometheus.GaugeValue, float64(len(r.cgroups.all)))), nil
}

// take takes in the processes that were ended by signals since the last time.
func (r *reader) take(now time.Time, victims []victim) {
	r.cgroups.update(now, victims)
	for i := range victims {
		r.last = &victims[i]
		if victims[i].OutOfMemory() {
			r.lastOutOfMemory = &victims[i]
			r.news.add(&victims[i])
		}
	}
	if v, others := r.news.due(now); v != nil {
		r.logger.Warn("Out of memory: the kernel has killed a process", "comm", v.comm(), "pid", v.TGID, "cgroup", v.cgroup(), "others", others)
	}
}

// news are the processes that the log has not named yet.
type news struct {
	last   *victim
	n      int
	saidAt time.Time
}

func (n *news) add(v *victim) { n.last, n.n = v, n.n+1 }

// due returns the last one, and how many more there are, if the log is to say so now.
func (n *news) due(now time.Time) (v *victim, others int) {
	if n.n == 0 || now.Sub(n.saidAt) < sayEvery {
		return nil, 0
	}
	v, others = n.last, n.n-1
	*n = news{saidAt: now}
	return v, others
}

// Report implements load.Reader.
func (r *reader) Report(status *collector.Status) error {
	for _, last := range []struct {
		name string
		*victim
	}{{"Last ended by a signal", r.last}, {"Last killed out of memory", r.lastOutOfMemory}} {
		if last.victim != nil {
			status.Facts = append(status.Facts, collector.Fact{Name: last.name, Value: last.String()})
		}
	}
	lost, err := r.programs.Counter(varLost)
	status.Facts = append(status.Facts,
		collector.Fact{Name: "Cgroups where a signal ended a process", Value: strconv.Itoa(len(r.cgroups.all))},
		collector.Fact{Name: "Cgroups that made room", Value: strconv.FormatUint(r.cgroups.evicted, 10)},
		collector.Fact{Name: "Ends that count for no cgroup", Value: strconv.FormatUint(lost, 10)})
	return err
}
