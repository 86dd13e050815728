package iowait

import (
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/procfs"

	"github.com/promscope/promscope/ebpf/collector"
)

// modes are those of a CPU's time. They add up to it: guest time is part of user
// and nice (see the kernel's account_guest_time), and so no mode of its own here.
func modes() [8]string {
	return [...]string{"user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"}
}

// idle is the place of that mode among the modes.
const idle = 3

// seconds holds one value for each of the modes, in their order.
type seconds [8]float64

// Collector exports the CPU time by mode from /proc/stat. It is safe for
// concurrent use.
type Collector struct {
	fs     procfs.FS
	logger *slog.Logger

	cpu  *prometheus.Desc
	host *prometheus.Desc

	mu    sync.Mutex
	cpus  map[int64]seconds
	whole seconds
}

// Definition says what the collector is. It needs no rights and no hooks.
func Definition() collector.Definition {
	return collector.Definition{
		Name:     "iowait",
		Help:     "CPU time of this host by mode, from /proc/stat.",
		Interval: time.Second,
		Prefixes: []string{"promscope_cpu_", "promscope_host_cpu_"},
		Options:  func() collector.Options { return &options{} },
	}
}

// options are none.
type options struct{}

// Check implements collector.Options.
func (*options) Check() []collector.Problem { return nil }

// Open implements collector.Options.
func (*options) Open(env collector.Environment) (collector.Collector, error) {
	return newCollectorAt("/proc", env.Logger)
}

// Status implements collector.Collector.
func (*Collector) Status() collector.Status { return collector.Status{} }

// Close implements collector.Collector.
func (*Collector) Close() error { return nil }

// newCollectorAt returns a collector that reads <procRoot>/stat, or an error when
// procRoot is no directory.
func newCollectorAt(procRoot string, logger *slog.Logger) (*Collector, error) {
	fs, err := procfs.NewFS(procRoot)
	if err != nil {
		return nil, fmt.Errorf("opening procfs: %w", err)
	}
	return &Collector{
		fs:     fs,
		logger: logger,
		cpu: prometheus.NewDesc("promscope_cpu_seconds_total",
			"Time that each CPU spent in each mode.", []string{"cpu", "mode"}, nil),
		host: prometheus.NewDesc("promscope_host_cpu_seconds_total",
			"Time that all CPUs of the host together spent in each mode.", []string{"mode"}, nil),
		cpus: map[int64]seconds{},
	}, nil
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.cpu
	ch <- c.host
}

// Collect implements prometheus.Collector. A /proc/stat that cannot be read is
// reported as an error of the gathering.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	stat, err := c.fs.Stat()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(c.cpu, fmt.Errorf("reading CPU times: %w", err))
		return
	}

	c.mu.Lock()
	defer c.mu.Unlock()

	c.whole = c.advance("all", c.whole, stat.CPUTotal)
	for i, mode := range modes() {
		ch <- prometheus.MustNewConstMetric(c.host, prometheus.CounterValue, c.whole[i], mode)
	}
	for id, now := range stat.CPU {
		cpu := strconv.FormatInt(id, 10)
		c.cpus[id] = c.advance(cpu, c.cpus[id], now)
		for i, mode := range modes() {
			ch <- prometheus.MustNewConstMetric(c.cpu, prometheus.CounterValue, c.cpus[id][i], cpu, mode)
		}
	}
	for id := range c.cpus {
		if _, online := stat.CPU[id]; !online {
			delete(c.cpus, id)
		}
	}
}

// resetSeconds is how far idle time has to fall before it is a reset: a CPU
// that went offline and came back begins at zero.
const resetSeconds = 3

// advance returns the counters after a reading. The kernel warns that iowait and
// idle "may decrease in certain conditions" (Documentation/filesystems/proc.rst),
// by a tick or two. PromQL would take that for a reset and count all time since
// boot again, so a counter that falls stands still until it has caught up.
func (c *Collector) advance(cpu string, last seconds, stat procfs.CPUStat) seconds {
	now := seconds{
		stat.User, stat.Nice, stat.System, stat.Idle,
		stat.Iowait, stat.IRQ, stat.SoftIRQ, stat.Steal,
	}
	if last[idle]-now[idle] >= resetSeconds {
		c.logger.Info("CPU times were reset", "cpu", cpu)
		return now
	}
	for i := range now {
		now[i] = max(now[i], last[i])
	}
	return now
}
