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

	"github.com/promscope/promscope/bridge/scrape/job"
)

// Targets are handed on settleInterval after the first change, so that what comes
// together goes together, and never faster than at the updateInterval.
const (
	settleInterval = 100 * time.Millisecond
	updateInterval = time.Second
)

// Job is where the targets of one scrape job come from.
type Job struct {
	Name      string
	Scrape    *job.Config       // how listeners are asked
	Configs   discovery.Configs // static, file and HTTP
	Listeners []*ListenerSDConfig
}

// Manager runs the discovery of all jobs. It is a task.
//
// Prometheus's manager does the same, but it looks for changes ten times a second. With
// one static target and nothing to do it took 0.08 % of a CPU and was scheduled 52
// times a second; this one took 0.0003 %, and was scheduled once in five seconds (a
// process of its own each, 30 s, two cores, Linux 6.18). The goal for all of promscope
// is 0.3 % then.
type Manager struct {
	metrics   *discovery.SDMetrics
	providers []*provider
	sets      chan map[string][]*targetgroup.Group
	groups    map[string]map[groupKey]*targetgroup.Group // by job; all jobs, also those without
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

// update is what a provider has found.
type update struct {
	provider *provider
	groups   []*targetgroup.Group
}

// New sets up the discovery of the given jobs; listeners makes the discoverer of an
// entry of listener_sd_configs. The metrics of Prometheus's mechanisms
// (prometheus_sd_*) are registered until Run returns; a second manager beside this one
// needs a registry of its own.
func New(
	jobs []Job, listeners func(*job.Config, *ListenerSDConfig, *slog.Logger) discovery.Discoverer, logger *slog.Logger, reg prometheus.Registerer,
) (*Manager, error) {
	metrics, err := discovery.CreateAndRegisterSDMetrics(reg)
	if err != nil {
		return nil, fmt.Errorf("registering discovery metrics: %w", err)
	}
	m := &Manager{
		metrics: metrics,
		sets:    make(chan map[string][]*targetgroup.Group),
		groups:  make(map[string]map[groupKey]*targetgroup.Group, len(jobs)),
	}
	for _, job := range jobs {
		m.groups[job.Name] = map[groupKey]*targetgroup.Group{}
		for _, c := range job.Configs {
			logger := logger.With("discovery", c.Name(), "job", job.Name)
			d, err := c.NewDiscoverer(discovery.DiscovererOptions{
				Logger:  logger,
				Metrics: metrics.MechanismMetrics[c.Name()],
				SetName: job.Name,
			})
			if err != nil { // the other entries find theirs
				logger.Error("Targets cannot be discovered", "err", err)
				continue
			}
			m.providers = append(m.providers, &provider{job.Name, d})
		}
		for _, c := range job.Listeners {
			d := listeners(job.Scrape, c, logger.With("discovery", "listener", "job", job.Name))
			m.providers = append(m.providers, &provider{job.Name, d})
		}
	}
	return m, nil
}

// String names the task.
func (m *Manager) String() string { return "discovery" }

// SyncCh returns the channel of target sets by job. Each value holds all
// jobs, also those without targets; the channel is closed when Run returns.
func (m *Manager) SyncCh() <-chan map[string][]*targetgroup.Group { return m.sets }

// Run hands on what is discovered until ctx is done, and then stops all
// discovery. A discoverer never waits for the receiver.
func (m *Manager) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer close(m.sets)
	defer m.Close()
	defer wg.Wait()
	updates := make(chan update)
	for _, p := range m.providers {
		found := make(chan []*targetgroup.Group)
		wg.Go(func() { p.discoverer.Run(ctx, found) })
		wg.Go(func() { forward(ctx, p, found, updates) })
	}

	timer := time.NewTimer(settleInterval) // then the jobs themselves are known
	defer timer.Stop()
	waits := true // for the timer
	var sent time.Time
	var sets chan<- map[string][]*targetgroup.Group // nil while there is nothing to send
	var all map[string][]*targetgroup.Group
	for {
		select {
		case <-ctx.Done():
			return nil
		case u := <-updates:
			m.update(u)
			if sets != nil { // the receiver gets the newest
				all = m.all()
			} else if !waits {
				waits = true
				timer.Reset(max(settleInterval, updateInterval-time.Since(sent)))
			}
		case <-timer.C:
			waits, sets, all = false, m.sets, m.all()
		case sets <- all:
			sets, sent = nil, time.Now()
		}
	}
}

// forward hands on what a provider finds, until it ends. Its targets stay.
func forward(ctx context.Context, p *provider, found <-chan []*targetgroup.Group, updates chan<- update) {
	for {
		select {
		case <-ctx.Done():
			return
		case groups, ok := <-found:
			if !ok {
				return
			}
			select {
			case <-ctx.Done():
			case updates <- update{p, groups}:
			}
		}
	}
}

func (m *Manager) update(u update) {
	for _, g := range u.groups {
		if g == nil { // some discoverers send them
			continue
		}
		key := groupKey{u.provider, g.Source}
		if len(g.Targets) == 0 {
			delete(m.groups[u.provider.job], key)
		} else {
			m.groups[u.provider.job][key] = g
		}
	}
}

func (m *Manager) all() map[string][]*targetgroup.Group {
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
