// Package collectors has the table of the built-in collectors, and opens and closes
// them.
package collectors

import (
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/iowait"
	"github.com/promscope/promscope/bridge/pressure"
	"github.com/promscope/promscope/ebpf/collector"
	"github.com/promscope/promscope/ebpf/http"
)

// Definitions is the table of the built-in collectors. Configuration, pages, doctor
// and documentation derive from it.
func Definitions() []collector.Definition {
	return []collector.Definition{iowait.Definition(), pressure.Definition(), http.Definition()}
}

// Settings are what the configuration says of a built-in collector.
type Settings struct {
	collector.Definition
	Enabled  bool
	Interval time.Duration // between two gatherings
	Options  collector.Options
}

// Serves reports whether metrics whose names begin like that are the collector's.
func (s *Settings) Serves(beginning string) bool {
	return slices.ContainsFunc(s.Prefixes, func(prefix string) bool { return strings.HasPrefix(beginning, prefix) })
}

// Collector is a built-in collector that is enabled.
type Collector struct {
	Settings
	Registry *prometheus.Registry
	Err      error // why it does not run; nil if it does

	running  collector.Collector // nil if it does not run
	gatherer prometheus.Gatherer
	failures atomic.Uint64
	closed   sync.Once
}

// Open starts the collectors that are enabled. One that this machine does not allow
// has an error, and the others run. Of those that run already, the ones with the same
// settings are taken as they are, and the others are stopped: there is never a second
// one of a kind.
func Open(settings []Settings, running []*Collector, machine *host.Machine, logger *slog.Logger, reg prometheus.Registerer) []*Collector {
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "promscope_collector_running",
		Help: "Whether a built-in collector that is enabled could be started.",
	}, []string{"collector"})
	reg.MustRegister(info)

	var all []*Collector
	for _, s := range settings {
		if !s.Enabled {
			continue
		}
		i := slices.IndexFunc(running, func(c *Collector) bool { return c.Name == s.Name })
		if i >= 0 && running[i].Err == nil && running[i].does(&s) {
			info.WithLabelValues(s.Name).Set(1)
			all = append(all, running[i])
			continue
		}
		if i >= 0 {
			if err := running[i].Close(); err != nil {
				logger.Warn("A collector with other settings could not be closed", "collector", s.Name, "err", err)
			}
		}
		c := &Collector{Settings: s, Registry: prometheus.NewRegistry()}
		all = append(all, c)
		c.gatherer = newContainerGatherer(c.Registry, machine)
		if c.Err = c.open(logger.With("collector", s.Name)); c.Err != nil {
			info.WithLabelValues(s.Name).Set(0)
			logger.Warn("A collector is off", "collector", s.Name, "err", c.Err)
			continue
		}
		info.WithLabelValues(s.Name).Set(1)
	}
	return all
}

func (c *Collector) open(logger *slog.Logger) error {
	running, err := c.Options.Open(collector.Environment{Interval: c.Interval, Logger: logger})
	if err != nil {
		return err
	}
	c.running = running
	return c.Registry.Register(running)
}

// does tells whether the collector does what these settings ask for.
func (c *Collector) does(s *Settings) bool {
	return c.Interval == s.Interval && reflect.DeepEqual(c.Options, s.Options)
}

// Gather implements prometheus.Gatherer. Series with a pid have the container and
// the pod of that process.
func (c *Collector) Gather() ([]*dto.MetricFamily, error) {
	families, err := c.gatherer.Gather()
	if err != nil {
		c.failures.Add(1)
	}
	return families, err
}

// Failures returns how many gatherings failed.
func (c *Collector) Failures() uint64 { return c.failures.Load() }

// Status returns what the collector says of itself. One that does not run says
// nothing.
func (c *Collector) Status() collector.Status {
	if c.running == nil {
		return collector.Status{}
	}
	return c.running.Status()
}

// Close stops the collector. It may be called more than once.
func (c *Collector) Close() error {
	if c.running == nil {
		return nil
	}
	var err error
	c.closed.Do(func() { err = c.running.Close() })
	return err
}
