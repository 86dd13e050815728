package disk

import (
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/promscope/promscope/ebpf/collector"
	"github.com/promscope/promscope/ebpf/load"
)

// prefix begins the names of the series.
const prefix = "promscope_disk_"

// Collector serves what is counted as series. It must be closed.
type Collector struct {
	logger *slog.Logger

	read, written               *prometheus.Desc
	tracked, leftOut            *prometheus.Desc
	lostRequests, lostProcesses *prometheus.Desc
	hooks                       *load.Series

	mu        sync.Mutex // guards what follows, and the programs from being closed meanwhile
	programs  *load.Programs
	devices   *devices
	processes *processes
	last      time.Time // of the last gathering, or of the beginning
	closed    bool
}

func newCollector(p *load.Programs, most int, keep time.Duration, logger *slog.Logger) (*Collector, error) {
	devices, err := newDevices()
	if err != nil {
		return nil, err
	}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prefix+name, help, labels, nil)
	}
	c := &Collector{
		logger:        logger,
		read:          desc("read_bytes_total", "Bytes that the process has had read from storage, since promscope began to look.", "pid", "comm"),
		written:       desc("written_bytes_total", "Bytes that the process has had written to storage, or left in memory to be written, since promscope began to look.", "pid", "comm"),
		tracked:       desc("processes", "Processes that have read or written."),
		leftOut:       desc("processes_left_out", "Processes that have no series because too many read or write."),
		lostRequests:  desc("requests_lost_total", "Requests that were not counted because there are too many devices."),
		lostProcesses: desc("process_ends_lost_total", "Processes whose last bytes were not counted because too many ended at a time."),
		hooks:         load.NewSeries("disk"),
		programs:      p,
		devices:       devices,
		processes:     &processes{most: most, keep: keep, all: map[owner]*process{}},
		last:          time.Now(),
	}
	// What was done before must not look as if it happened now.
	return c, c.readProcesses(c.last)
}

// readProcesses takes in what the processes have read and written.
func (c *Collector) readProcesses(now time.Time) error {
	// The living ones come first: one that ends meanwhile is among those that have ended.
	living, err := readLiving(c.programs)
	if err != nil {
		return err
	}
	ended, err := takeEnded(c.programs.Collection.Maps[mapEnded])
	if err != nil {
		return err
	}
	c.processes.update(now, living, ended)
	return nil
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
	for _, d := range []*prometheus.Desc{c.read, c.written, c.tracked, c.leftOut, c.lostRequests, c.lostProcesses, c.devices.duration, c.devices.inFlight} {
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
		ch <- prometheus.NewInvalidMetric(c.read, err)
	}
}

func (c *Collector) gather() ([]prometheus.Metric, error) {
	if c.closed {
		return nil, nil
	}
	now := time.Now()
	metrics, err := c.devices.gather(c.programs.Collection.Maps[mapRequests], c.last)
	if err != nil {
		return nil, err
	}
	if err := c.readProcesses(now); err != nil {
		return metrics, err
	}
	c.last = now
	metrics = append(metrics, c.processes.metrics(c.read, c.written)...)
	metrics = append(metrics,
		prometheus.MustNewConstMetric(c.tracked, prometheus.GaugeValue, float64(len(c.processes.all))),
		prometheus.MustNewConstMetric(c.leftOut, prometheus.GaugeValue, float64(c.processes.leftOut)))
	for desc, variable := range map[*prometheus.Desc]string{c.lostRequests: varLostRequests, c.lostProcesses: varLostEnds} {
		n, err := c.programs.Counter(variable)
		if err != nil {
			return metrics, err
		}
		metrics = append(metrics, prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n)))
	}
	hooks, err := c.hooks.Of(c.programs)
	return append(metrics, hooks...), err
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
	status.Facts = append(status.Facts,
		collector.Fact{Name: "Processes that have read or written", Value: strconv.Itoa(len(c.processes.all))},
		collector.Fact{Name: "Processes left out: too many", Value: strconv.Itoa(c.processes.leftOut)})
	return status
}
