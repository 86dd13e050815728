package http

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/promscope/promscope/ebpf/collector"
	"github.com/promscope/promscope/ebpf/load"
)

// Collector serves the counters as series. It must be closed.
type Collector struct {
	logger    *slog.Logger
	series    *series
	retention retention

	mu        sync.Mutex // guards what follows, and the programs from being closed meanwhile
	programs  *load.Programs
	closed    bool
	evictions uint64
	lost      uint64 // requests, at the last gather
}

// Open loads the programs, attaches them, and begins to count.
func (o *Options) Open(env collector.Environment) (collector.Collector, error) {
	return o.open(env)
}

func (o *Options) open(env collector.Environment) (*Collector, error) {
	if problems := o.Check(); len(problems) > 0 {
		return nil, fmt.Errorf("http collector: %s %s", problems[0].Option, problems[0].Message)
	}
	p, err := loadPrograms(o)
	if err != nil {
		return nil, fmt.Errorf("http collector: %w", err)
	}
	for _, r := range p.Refused {
		env.Logger.Info("A better hook set does not serve", "hooks", r.HookSet, "reason", r.Reason, "remedy", r.Remedy)
	}
	for _, w := range p.Warnings {
		env.Logger.Warn("Events can be lost", "reason", w.Reason, "remedy", w.Remedy)
	}
	env.Logger.Info("Counting HTTP in the kernel", "hooks", p.HookSet.Name)
	return &Collector{
		logger:    env.Logger,
		series:    newSeries(),
		retention: retention{keep: max(2*env.Interval, keepAtLeast), most: o.MaxProcesses},
		programs:  p,
	}, nil
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
		ch <- prometheus.NewInvalidMetric(c.series.sides[0].requests, err)
	}
}

func (c *Collector) gather() ([]prometheus.Metric, error) {
	if c.closed {
		return nil, nil
	}
	began := time.Now()
	maps := c.programs.Collection.Maps
	all, err := readProcesses(maps[mapProcesses])
	if err != nil {
		return nil, err
	}
	own, err := c.readOwn(len(all))
	if err != nil {
		return nil, err
	}
	at := now()
	c.series.births.begin()
	metrics, err := c.series.processes(c.retention.reported(all, at), func(each func(rareCode, uint64)) error {
		return rareCodes(maps[mapRareCodes], each)
	}, own[varLostCodes] > 0)
	if err != nil {
		return metrics, err
	}
	c.series.births.end(began)
	gone, evicted := c.retention.gone(all, at, own[varLostRequests] > c.lost)
	c.lost = own[varLostRequests]
	c.evictions += uint64(evicted)
	if err := dropProcesses(maps[mapProcesses], maps[mapRareCodes], gone); err != nil {
		return metrics, err
	}
	metrics = append(metrics, c.series.own(own)...)
	hooks, err := c.series.hooks.Of(c.programs)
	return append(metrics, hooks...), err
}

// readOwn returns what the collector counts of itself, by the names of ownFigures.
func (c *Collector) readOwn(processes int) (map[string]uint64, error) {
	own := map[string]uint64{"processes": uint64(processes), "evictions": c.evictions}
	for _, f := range ownFigures() {
		if _, ok := own[f.source]; ok {
			continue
		}
		n, err := c.programs.Counter(f.source)
		if err != nil {
			return nil, err
		}
		own[f.source] = n
	}
	return own, nil
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
	all, err := readProcesses(c.programs.Collection.Maps[mapProcesses])
	if err != nil {
		c.logger.Warn("The collector cannot read its processes", "err", err)
	}
	own, err := c.readOwn(len(all))
	if err != nil {
		c.logger.Warn("The collector cannot read its counters", "err", err)
		return status
	}
	for _, f := range ownFigures() {
		name := strings.ToUpper(f.fact[:1]) + f.fact[1:]
		status.Facts = append(status.Facts, collector.Fact{Name: name, Value: strconv.FormatUint(own[f.source], 10)})
	}
	return status
}
