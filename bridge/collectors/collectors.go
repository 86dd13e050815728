// Package collectors has the table of the built-in collectors, and opens and closes
// them.
package collectors

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf/btf"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/iowait"
	"github.com/promscope/promscope/bridge/pressure"
	"github.com/promscope/promscope/ebpf/collector"
	"github.com/promscope/promscope/ebpf/disk"
	"github.com/promscope/promscope/ebpf/exits"
	"github.com/promscope/promscope/ebpf/http"
	"github.com/promscope/promscope/ebpf/tcp"
	"github.com/promscope/promscope/ebpf/wait"
)

// Definitions is the table of the built-in collectors. Configuration, pages, doctor
// and documentation derive from it.
func Definitions() []collector.Definition {
	return []collector.Definition{
		iowait.Definition(), pressure.Definition(),
		http.Definition(), wait.Definition(), disk.Definition(), tcp.Definition(), exits.Definition(),
	}
}

// Settings are what the configuration says of a built-in collector.
type Settings struct {
	collector.Definition
	Enabled  bool
	Interval time.Duration // between two gatherings
	// Budget is the share of one CPU that it may take. One that takes more rests for a
	// while. 0 is without bound.
	Budget  float64
	Options collector.Options
}

// DefaultBudget is one percent of a CPU.
const DefaultBudget = 0.01

// Serves reports whether metrics whose names begin like that are the collector's.
func (s *Settings) Serves(beginning string) bool {
	return slices.ContainsFunc(s.Prefixes, func(prefix string) bool { return strings.HasPrefix(beginning, prefix) })
}

// Collector is a built-in collector that is enabled.
type Collector struct {
	Settings
	Registry *prometheus.Registry
	Err      error // why it does not run; nil if it does

	logger   *slog.Logger
	gatherer prometheus.Gatherer
	failures atomic.Uint64

	gathering sync.Mutex // of one at a time
	timed     *timed

	mu      sync.Mutex          // guards what follows, and is held for a moment only
	running collector.Collector // nil if it does not run, or rests
	budget  budget
	failed  error // why it could not be started after its rest; nil if it was not tried
	closed  bool
}

// Open starts the collectors that are enabled. One that this machine does not allow
// has an error, and the others run. Of those that run already, the ones with the same
// settings are taken as they are, and the others are stopped: there is never a second
// one of a kind. Capabilities that promscope gave up at its start are given by their names.
func Open(settings []Settings, running []*Collector, givenUp []string, machine *host.Machine, logger *slog.Logger, reg prometheus.Registerer) []*Collector {
	var all []*Collector
	types := btf.NewCache() // reading them takes 0.03 s of CPU
	defer func() { reg.MustRegister(&costs{all: all}) }()
	for _, s := range settings {
		if !s.Enabled {
			continue
		}
		i := slices.IndexFunc(running, func(c *Collector) bool { return c.Name == s.Name })
		if i >= 0 && running[i].Err == nil && running[i].does(&s) {
			all = append(all, running[i])
			continue
		}
		if i >= 0 {
			if err := running[i].Close(); err != nil {
				logger.Warn("A collector with other settings could not be closed", "collector", s.Name, "err", err)
			}
		}
		c := &Collector{Settings: s, Registry: prometheus.NewRegistry(), logger: logger.With("collector", s.Name)}
		all = append(all, c)
		c.gatherer = newContainerGatherer(c.Registry, machine)
		c.budget.share = s.Budget
		if c.Err = lacks(&s, givenUp); c.Err == nil {
			c.Err = c.open(types)
		}
		if c.Err != nil {
			c.logger.Warn("A collector is off", "err", c.Err)
		}
	}
	return all
}

// lacks returns an error if the collector needs a capability that was given up.
func lacks(s *Settings, givenUp []string) error {
	var gone []string
	for _, name := range s.Capabilities {
		if slices.Contains(givenUp, name) {
			gone = append(gone, name)
		}
	}
	were, them := "was", "it"
	switch len(gone) {
	case 0:
		return nil
	case 1:
	default:
		were, them = "were", "them"
	}
	return &collector.Error{
		Reason: fmt.Sprintf("%s %s given up at the start, since no collector needed %s", strings.Join(gone, " and "), were, them),
		Remedy: "restart promscope",
	}
}

// open starts the collector.
func (c *Collector) open(types *btf.Cache) error {
	running, err := c.Options.Open(collector.Environment{Interval: c.Interval, Logger: c.logger, Types: types})
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return running.Close()
	}
	c.running, c.failed = running, nil
	c.budget.begin(time.Now())
	if c.timed == nil {
		c.timed = &timed{Collector: running}
		return c.Registry.Register(c.timed)
	}
	*c.timed = timed{Collector: running}
	return nil
}

// does tells whether the collector does what these settings ask for.
func (c *Collector) does(s *Settings) bool {
	return c.Interval == s.Interval && c.Budget == s.Budget && reflect.DeepEqual(c.Options, s.Options)
}

// Gather implements prometheus.Gatherer. Series with a pid have the container and
// the pod of that process. A collector that rests gives none.
func (c *Collector) Gather() ([]*dto.MetricFamily, error) {
	c.gathering.Lock()
	defer c.gathering.Unlock()
	if !c.awake() {
		return nil, nil
	}
	families, err := c.gatherer.Gather()
	if err != nil {
		c.failures.Add(1)
	}
	c.judge()
	return families, causes(err)
}

// causes returns what a collector says went wrong. The registry puts the description of the
// metric before it, which is longer than what a log line has room for.
func causes(err error) error {
	if all := prometheus.MultiError(nil); errors.As(err, &all) {
		for i := range all {
			all[i] = causes(all[i])
		}
		return all
	}
	if cause := errors.Unwrap(err); cause != nil {
		return cause
	}
	return err
}

// awake reports whether the collector runs, and starts it when its rest is over.
func (c *Collector) awake() bool {
	c.mu.Lock()
	running, rested := c.running != nil, c.budget.resting() && !time.Now().Before(c.budget.until)
	closed := c.closed
	c.mu.Unlock()
	if running || closed || !rested {
		return running && !closed
	}
	if err := c.open(btf.NewCache()); err != nil {
		c.logger.Warn("A collector that has rested cannot be started", "err", err)
		c.mu.Lock()
		c.failed = err
		c.budget.nap(time.Now())
		c.mu.Unlock()
		return false
	}
	c.logger.Info("A collector has rested and runs again")
	return true
}

// judge sends the collector to rest if it has taken more than its budget.
func (c *Collector) judge() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running == nil || c.closed || !c.budget.spend(c.timed.cost, time.Now()) {
		return
	}
	c.logger.Warn("A collector rests", "reason", c.budget.reason(), "remedy", budgetRemedy)
	if err := c.running.Close(); err != nil {
		c.logger.Warn("A collector that rests could not be closed", "err", err)
	}
	c.running = nil
}

// Failures returns how many gatherings failed.
func (c *Collector) Failures() uint64 { return c.failures.Load() }

// Status returns what the collector says of itself. One that does not run says
// nothing, and of one that rests it says why.
func (c *Collector) Status() collector.Status {
	c.mu.Lock()
	running, resting := c.running, c.budget.resting()
	warning := collector.Warning{Reason: c.budget.reason(), Remedy: budgetRemedy}
	if c.failed != nil {
		reason, remedy := collector.ReasonAndRemedy(c.failed)
		warning.Reason = fmt.Sprintf("it has rested and cannot be started: %s; it rests for another %s", reason, c.budget.rest)
		warning.Remedy = cmp.Or(remedy, "none; it is tried again then")
	}
	c.mu.Unlock()
	switch {
	case running != nil:
		return running.Status()
	case resting:
		return collector.Status{Warnings: []collector.Warning{warning}}
	}
	return collector.Status{}
}

// Close stops the collector. It may be called more than once.
func (c *Collector) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.running == nil {
		c.closed = true
		return nil
	}
	c.closed = true
	return c.running.Close()
}
