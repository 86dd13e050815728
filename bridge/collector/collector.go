// Package collector opens and closes the built-in collectors: the ones in the
// kernel and iowait.
package collector

import (
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/promscope/promscope/bridge/config"
	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/iowait"
	"github.com/promscope/promscope/ebpf/hook"
	"github.com/promscope/promscope/ebpf/http"
)

// Descriptions describe the built-in collectors.
func Descriptions() []hook.Description {
	return []hook.Description{
		{Name: "iowait", Help: "CPU time of this host by mode, from /proc/stat.", Interval: time.Second},
		http.Describe(),
	}
}

// newCollector starts the built-in collector of that name.
func newCollector(name string, settings *config.Collectors, logger *slog.Logger) (prometheus.Collector, error) {
	switch name {
	case "iowait":
		return iowait.NewCollector("/proc", logger)
	case "http":
		return http.New(http.Options{
			Ports:          http.Ports{Include: settings.HTTP.Ports.Include.List(), Exclude: settings.HTTP.Ports.Exclude.List()},
			MaxProcesses:   settings.HTTP.MaxProcesses,
			MaxConnections: settings.HTTP.MaxConnections,
			Clients:        settings.HTTP.Clients,
			Interval:       time.Duration(settings.HTTP.Interval),
			Logger:         logger,
		})
	}
	return nil, errors.New("there is no such collector")
}

// Collector is a built-in collector that is enabled.
type Collector struct {
	Name     string
	Interval time.Duration // between two gatherings
	Registry *prometheus.Registry
	Err      error // why it does not run; nil if it does

	meter  *meter
	closer io.Closer // nil if there is nothing to close
}

// Open starts the collectors that are enabled. One that this machine does not allow
// has an error, and the others run.
func Open(settings *config.Collectors, machine *host.Machine, logger *slog.Logger, reg prometheus.Registerer) []*Collector {
	running := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "promscope_collector_running",
		Help: "Whether a built-in collector that is enabled could be started.",
	}, []string{"collector"})
	reg.MustRegister(running)

	var collectors []*Collector
	for _, b := range settings.All() {
		if !b.Enabled {
			continue
		}
		c := &Collector{Name: b.Name, Interval: time.Duration(b.Interval), Registry: prometheus.NewRegistry()}
		collectors = append(collectors, c)
		c.meter = &meter{name: c.Name, gatherer: newContainerGatherer(c.Registry, machine)}
		if c.Err = c.open(settings, logger.With("collector", b.Name)); c.Err != nil {
			running.WithLabelValues(b.Name).Set(0)
			logger.Warn("A collector is off", "collector", b.Name, "err", c.Err)
			continue
		}
		running.WithLabelValues(b.Name).Set(1)
	}
	return collectors
}

func (c *Collector) open(settings *config.Collectors, logger *slog.Logger) error {
	metrics, err := newCollector(c.Name, settings, logger)
	if err != nil {
		return err
	}
	c.closer, _ = metrics.(io.Closer)
	return c.Registry.Register(metrics)
}

// Gather implements prometheus.Gatherer. Series with a pid have the container and
// the pod of that process.
func (c *Collector) Gather() ([]*dto.MetricFamily, error) { return c.meter.Gather() }

// Close stops the collector.
func (c *Collector) Close() error {
	if c.closer == nil {
		return nil
	}
	return c.closer.Close()
}
