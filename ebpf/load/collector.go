package load

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/promscope/promscope/ebpf/collector"
)

// Reader makes series of what programs have counted. No two of its methods run at a time, and
// none after the programs are closed; Describe may be called at any time.
type Reader interface {
	// Describe sends the descriptions of the series.
	Describe(ch chan<- *prometheus.Desc)
	// Read returns the series. With an error, those that could be made come with it.
	Read() ([]prometheus.Metric, error)
	// Report adds facts and warnings. With an error, those that are known are added.
	Report(status *collector.Status) error
}

// Collector is a collector whose programs run in the kernel. It implements collector.Collector and
// collector.InKernel. It must be closed; it has no series from then on.
type Collector struct {
	Programs *Programs
	Reader   Reader

	logger *slog.Logger
	series *series

	mu     sync.Mutex // guards the reader, and the programs from being closed meanwhile
	closed bool
	fills  fills
}

// Start loads and attaches the programs of the collector with that name, and makes their
// reader. It says in the log which hook set serves, and why a better one does not. The error is
// a *collector.Error where the machine does not allow it.
func Start(name string, o Object, env collector.Environment, read func(*Programs) (Reader, error)) (*Collector, error) {
	p, err := Open(o, env.Types)
	if err != nil {
		return nil, fmt.Errorf("collector %s: %w", name, err)
	}
	r, err := read(p)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("collector %s: %w", name, err), p.Close())
	}
	for _, r := range p.Refused {
		env.Logger.Info("A better hook set does not serve", "hooks", r.HookSet, "reason", r.Reason, "remedy", r.Remedy)
	}
	for _, w := range p.Warnings {
		env.Logger.Warn("Events can be lost", "reason", w.Reason, "remedy", w.Remedy)
	}
	env.Logger.Info("Counting in the kernel", "hooks", p.HookSet.Name)
	return &Collector{
		Programs: p,
		Reader:   r,
		logger:   env.Logger,
		series:   newSeries(name),
	}, nil
}

// Close detaches the programs and frees everything. To close twice is no error.
func (c *Collector) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	return c.Programs.Close()
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	c.Reader.Describe(ch)
	c.series.describe(ch)
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	metrics, err := c.read() // before the channel, whose reader may be slow
	for _, m := range metrics {
		ch <- m
	}
	if err != nil {
		ch <- prometheus.NewInvalidMetric(c.series.info, err)
	}
}

func (c *Collector) read() ([]prometheus.Metric, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, nil
	}
	metrics, err := c.Reader.Read()
	if err != nil {
		return metrics, err
	}
	programs, err := c.Programs.counts()
	if err != nil {
		return metrics, err
	}
	maps, err := c.fills.of(c.Programs, time.Now())
	return append(metrics, c.series.of(c.Programs.HookSet.Name, programs, maps)...), err
}

// KernelTime implements collector.InKernel.
func (c *Collector) KernelTime() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0
	}
	return c.Programs.kernelTime()
}

// Status implements collector.Collector.
func (c *Collector) Status() collector.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return collector.Status{}
	}
	programs, err := c.Programs.counts()
	maps, errMaps := c.fills.of(c.Programs, time.Now())
	status := c.Programs.status(programs, maps)
	if err := errors.Join(err, errMaps, c.Reader.Report(&status)); err != nil {
		c.logger.Warn("The collector cannot tell all of itself", "err", err)
	}
	return status
}
