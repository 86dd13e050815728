package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/targetgroup"
)

// updateInterval is how long updates are gathered, at most, before they are
// handed on. Prometheus waits five seconds; here somebody is looking.
const updateInterval = time.Second

// Job is where the targets of one scrape job come from.
type Job struct {
	Name      string
	Configs   discovery.Configs // static, file and HTTP
	Listeners []*ListenerSDConfig
}

// NewListeners makes the discoverer of one listener_sd_configs entry. What it
// needs to know of the machine it brings along.
type NewListeners func(*ListenerSDConfig, discovery.DiscovererOptions) (discovery.Discoverer, error)

// Manager runs the discovery of all jobs. It is a task.
type Manager struct {
	manager *discovery.Manager
	configs map[string]discovery.Configs
	metrics *discovery.SDMetrics
	cancel  context.CancelFunc
}

// New sets up the discovery of the given jobs. Without listeners, entries of
// listener_sd_configs find nothing. The metrics of Prometheus's discovery
// (prometheus_sd_*) are registered until Run returns; a second manager beside
// this one needs a registry of its own.
func New(jobs []Job, listeners NewListeners, logger *slog.Logger, reg prometheus.Registerer) (*Manager, error) {
	configs := make(map[string]discovery.Configs, len(jobs))
	for _, job := range jobs {
		all := slices.Clone(job.Configs)
		for _, l := range job.Listeners {
			if listeners != nil {
				all = append(all, &listenerConfig{ListenerSDConfig: l, start: listeners})
			}
		}
		configs[job.Name] = all
	}

	metrics, err := discovery.CreateAndRegisterSDMetrics(reg)
	if err != nil {
		return nil, fmt.Errorf("registering discovery metrics: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &Manager{configs: configs, metrics: metrics, cancel: cancel}
	m.manager = discovery.NewManager(ctx, logger, reg, metrics,
		discovery.Name("scrape"), discovery.Updatert(updateInterval))
	if m.manager == nil { // its only reason
		m.Close()
		return nil, errors.New("registering discovery metrics: already registered")
	}
	return m, nil
}

// String names the task.
func (m *Manager) String() string { return "discovery" }

// SyncCh returns the channel of target sets by job. Each value holds all
// jobs, also those without targets; the channel is closed when Run returns.
func (m *Manager) SyncCh() <-chan map[string][]*targetgroup.Group { return m.manager.SyncCh() }

// Run hands on what is discovered until ctx is done, and then stops all
// discovery.
func (m *Manager) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, m.cancel)
	defer stop()
	defer m.Close()
	if err := m.manager.ApplyConfig(m.configs); err != nil {
		return fmt.Errorf("starting discovery: %w", err)
	}
	if err := m.manager.Run(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// Close unregisters the metrics. It is needed only if Run is never called.
func (m *Manager) Close() {
	m.cancel()
	if m.manager != nil {
		m.manager.UnregisterMetrics()
	}
	for _, mechanism := range m.metrics.MechanismMetrics {
		mechanism.Unregister()
	}
	m.metrics.RefreshManager.Unregister()
}

// listenerConfig is a ListenerSDConfig as Prometheus's manager wants it.
type listenerConfig struct {
	*ListenerSDConfig

	start NewListeners
}

// Name implements discovery.Config.
func (c *listenerConfig) Name() string { return "listener" }

// NewDiscoverer implements discovery.Config.
func (c *listenerConfig) NewDiscoverer(opts discovery.DiscovererOptions) (discovery.Discoverer, error) {
	return c.start(c.ListenerSDConfig, opts)
}

// NewDiscovererMetrics implements discovery.Config. What listener discovery
// counts is registered by whoever makes it.
func (c *listenerConfig) NewDiscovererMetrics(prometheus.Registerer, discovery.RefreshMetricsInstantiator) discovery.DiscovererMetrics {
	return nil
}
