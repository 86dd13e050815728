package discovery

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/targetgroup"
)

// The targets are handed on this long after the first news of them, so that what
// comes together goes together, and never faster than at the second interval.
const (
	settleInterval = 100 * time.Millisecond
	updateInterval = time.Second
)

// Job is where the targets of one scrape job come from.
type Job struct {
	Name      string
	Configs   discovery.Configs // static, file and HTTP
	Listeners []*ListenerSDConfig
}

// NewListeners makes the discoverer of one listener_sd_configs entry. What it
// needs to know of the machine it brings along.
type NewListeners func(*ListenerSDConfig, discovery.DiscovererOptions) (discovery.Discoverer, error)

// Manager runs the discovery of all jobs. It is a task. It does for discoverers
// what Prometheus's manager does, but that one looks ten times a second whether
// there is news, which costs an idle machine as much as all scraping.
type Manager struct {
	metrics   *discovery.SDMetrics
	providers []*provider
	sets      chan map[string][]*targetgroup.Group
	news      chan struct{} // room for one: a discoverer does not wait for the receiver

	mu     sync.Mutex
	groups map[string]map[groupKey]*targetgroup.Group // by job; all jobs, also those without
}

// provider is one entry of a job's configuration.
type provider struct {
	job        string
	discoverer discovery.Discoverer
}

// groupKey names a group within its job. A group replaces the last one of the
// same source.
type groupKey struct {
	provider *provider
	source   string
}

// New sets up the discovery of the given jobs. Without listeners, entries of
// listener_sd_configs find nothing. The metrics of Prometheus's mechanisms
// (prometheus_sd_*) are registered until Run returns; a second manager beside
// this one needs a registry of its own.
func New(jobs []Job, listeners NewListeners, logger *slog.Logger, reg prometheus.Registerer) (*Manager, error) {
	metrics, err := discovery.CreateAndRegisterSDMetrics(reg)
	if err != nil {
		return nil, fmt.Errorf("registering discovery metrics: %w", err)
	}
	m := &Manager{
		metrics: metrics,
		sets:    make(chan map[string][]*targetgroup.Group),
		news:    make(chan struct{}, 1),
		groups:  make(map[string]map[groupKey]*targetgroup.Group, len(jobs)),
	}
	for _, job := range jobs {
		m.groups[job.Name] = map[groupKey]*targetgroup.Group{}
		configs := slices.Clone(job.Configs)
		for _, l := range job.Listeners {
			if listeners != nil {
				configs = append(configs, &listenerConfig{ListenerSDConfig: l, start: listeners})
			}
		}
		for _, c := range configs {
			d, err := c.NewDiscoverer(discovery.DiscovererOptions{
				Logger:  logger.With("discovery", c.Name(), "job", job.Name),
				Metrics: metrics.MechanismMetrics[c.Name()],
				SetName: job.Name,
			})
			if err != nil { // the other entries find theirs
				logger.Error("Targets cannot be discovered", "discovery", c.Name(), "job", job.Name, "err", err)
				continue
			}
			m.providers = append(m.providers, &provider{job.Name, d})
		}
	}
	m.notify() // of the jobs themselves
	return m, nil
}

// String names the task.
func (m *Manager) String() string { return "discovery" }

// SyncCh returns the channel of target sets by job. Each value holds all
// jobs, also those without targets; the channel is closed when Run returns.
func (m *Manager) SyncCh() <-chan map[string][]*targetgroup.Group { return m.sets }

// Run hands on what is discovered until ctx is done, and then stops all
// discovery.
func (m *Manager) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer close(m.sets)
	defer m.Close()
	defer wg.Wait()
	for _, p := range m.providers {
		updates := make(chan []*targetgroup.Group)
		wg.Go(func() { p.discoverer.Run(ctx, updates) })
		wg.Go(func() { m.receive(ctx, p, updates) })
	}

	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	var sent time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.news:
		}
		timer.Reset(max(settleInterval, updateInterval-time.Since(sent)))
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		select {
		case <-ctx.Done():
			return nil
		case m.sets <- m.all():
			sent = time.Now()
		}
	}
}

// receive takes note of what a discoverer finds, until it ends. Its targets stay.
func (m *Manager) receive(ctx context.Context, p *provider, updates <-chan []*targetgroup.Group) {
	for {
		select {
		case <-ctx.Done():
			return
		case groups, ok := <-updates:
			if !ok {
				return
			}
			m.update(p, groups)
			m.notify()
		}
	}
}

func (m *Manager) update(p *provider, groups []*targetgroup.Group) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, g := range groups {
		if g == nil { // some discoverers send them
			continue
		}
		key := groupKey{p, g.Source}
		if len(g.Targets) == 0 {
			delete(m.groups[p.job], key)
		} else {
			m.groups[p.job][key] = g
		}
	}
}

func (m *Manager) notify() {
	select {
	case m.news <- struct{}{}:
	default: // it is on its way
	}
}

func (m *Manager) all() map[string][]*targetgroup.Group {
	m.mu.Lock()
	defer m.mu.Unlock()
	sets := make(map[string][]*targetgroup.Group, len(m.groups))
	for job, groups := range m.groups {
		sets[job] = slices.Collect(maps.Values(groups))
	}
	return sets
}

// Close unregisters the metrics. It is needed only if Run is never called.
func (m *Manager) Close() {
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
