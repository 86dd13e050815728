package http

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Collector serves the counters as series. It must be closed.
type Collector struct {
	logger *slog.Logger
	series *series
	stop   context.CancelFunc
	done   chan struct{}

	mu       sync.Mutex // guards what follows, and the kernel's memory from being unmapped
	kernel   *kernel    // nil when closed
	table    *table
	lost     uint64 // requests, at the last sweep
	sweepErr error
}

// New loads the programs, attaches them, and begins to count. Its error tells the reason why the
// machine does not allow it and the remedy, and is a *hook.Error then.
func New(o Options) (*Collector, error) {
	o, err := o.validate()
	if err != nil {
		return nil, fmt.Errorf("http collector: %w", err)
	}
	k, refused, err := loadKernel(o)
	if err != nil {
		return nil, fmt.Errorf("http collector: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	c := &Collector{
		logger: o.Logger,
		series: newSeries(o.MaxProcesses),
		stop:   stop,
		done:   make(chan struct{}),
		kernel: k,
		table:  newTable(k, o.keep(), k.processes, k.counters),
	}
	o.Logger.Info("counting HTTP in the kernel", "receive", k.hooks.Receive, "send", k.hooks.Send, "refused", refused)
	go c.sweep(ctx)
	return c, nil
}

// sweepEvery is how long a slot waits, at most, for each of the two steps that free it.
const sweepEvery = time.Second

// sweep gives slots of processes that are gone to others, whether anyone gathers or not.
func (c *Collector) sweep(ctx context.Context) {
	defer close(c.done)
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			c.sweepOnce()
		}
	}
}

func (c *Collector) sweepOnce() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kernel == nil {
		return
	}
	lost, err := c.kernel.counter(bpfVarLostRequests)
	if err == nil {
		err = c.table.sweep(now(), lost > c.lost)
		c.lost = lost
	}
	if (err == nil) != (c.sweepErr == nil) {
		if err != nil {
			c.logger.Error("freeing slots of the http collector", "err", err)
		} else {
			c.logger.Info("freeing slots of the http collector works again")
		}
	}
	c.sweepErr = err
}

// Close detaches the programs. A gather gives nothing from then on.
func (c *Collector) Close() error {
	c.stop()
	<-c.done
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kernel == nil {
		return nil
	}
	err := c.kernel.Close()
	c.kernel, c.table = nil, nil
	return err
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) { c.series.describe(ch) }

// Collect implements prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	metrics, err := c.gather()
	c.mu.Unlock() // before the channel, whose reader may be slow
	for _, m := range metrics {
		ch <- m
	}
	if err != nil {
		ch <- prometheus.NewInvalidMetric(c.series.requests, err)
	}
}

func (c *Collector) gather() ([]prometheus.Metric, error) {
	if c.kernel == nil {
		return nil, nil
	}
	lost, err := c.kernel.counter(bpfVarLostCodes)
	if err != nil {
		return nil, err
	}
	metrics, err := c.series.processes(c.table, now(), lost > 0)
	if err != nil {
		return metrics, err
	}
	own, err := c.series.own(c.kernel, c.table)
	return append(metrics, own...), err
}
