package bridge

import (
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/promscope/promscope/bridge/config"
	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/iowait"
	builtin "github.com/promscope/promscope/ebpf/collector"
	"github.com/promscope/promscope/ebpf/http"
)

// Collectors describes the built-in collectors.
func Collectors() []builtin.Definition {
	return []builtin.Definition{
		{Name: "iowait", Help: "CPU time of this host by mode, from /proc/stat.", Interval: time.Second},
		http.Definition(),
	}
}

// openCollector starts the built-in collector of that name. The next one goes
// here, above, and into config.Collectors.
func openCollector(name string, settings *config.Collectors, logger *slog.Logger) (prometheus.Collector, error) {
	switch name {
	case "iowait":
		return iowait.NewCollector("/proc", logger)
	case "http":
		o := http.Options{
			Ports:          http.Ports{Include: settings.HTTP.Ports.Include.List(), Exclude: settings.HTTP.Ports.Exclude.List()},
			MaxProcesses:   settings.HTTP.MaxProcesses,
			MaxConnections: settings.HTTP.MaxConnections,
			Clients:        settings.HTTP.Clients,
		}
		return o.Open(builtin.Environment{Interval: time.Duration(settings.HTTP.Interval), Logger: logger})
	}
	return nil, errors.New("there is no such collector")
}

// collector is a built-in collector that runs, or the reason why it does not.
type collector struct {
	name     string
	settings config.Collector
	registry *prometheus.Registry
	gatherer prometheus.Gatherer // of the registry, with containers
	meter    *meter
	closer   io.Closer // nil if there is nothing to close
	err      error
}

// openCollectors starts the collectors that are enabled. One that this machine
// does not allow is off, with the reason, and nothing else changes.
func openCollectors(settings *config.Collectors, machine *host.Machine, logger *slog.Logger, reg prometheus.Registerer) []*collector {
	running := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "promscope_collector_running",
		Help: "Whether a built-in collector that is enabled could be started.",
	}, []string{"collector"})
	reg.MustRegister(running)

	var collectors []*collector
	for _, b := range settings.All() {
		if !b.Enabled {
			continue
		}
		c := &collector{name: b.Name, settings: b.Collector}
		collectors = append(collectors, c)
		if c.err = c.open(settings, machine, logger.With("collector", b.Name)); c.err != nil {
			running.WithLabelValues(b.Name).Set(0)
			logger.Warn("A collector is off", "collector", b.Name, "err", c.err)
			continue
		}
		running.WithLabelValues(b.Name).Set(1)
	}
	return collectors
}

func (c *collector) open(settings *config.Collectors, machine *host.Machine, logger *slog.Logger) error {
	c.registry = prometheus.NewRegistry()
	c.meter = &meter{name: c.name, gatherer: newContainerGatherer(c.registry, machine)}
	c.gatherer = c.meter
	metrics, err := openCollector(c.name, settings, logger)
	if err != nil {
		return err
	}
	c.closer, _ = metrics.(io.Closer)
	return c.registry.Register(metrics)
}

func (c *collector) close() error {
	if c.closer == nil {
		return nil
	}
	return c.closer.Close()
}
