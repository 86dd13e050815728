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

// namedInterval bounds how long it takes until it is known what jobs name. Listeners are
// looked for then: those that are known from the pipeline before are in the first set.
const namedInterval = settleInterval / 2

// Job is where the targets of one scrape job come from.
type Job struct {
	Name      string
	Scrape    *job.Config
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
	named     []*provider // of targets that jobs name
	listeners []*provider
	sets      chan map[string][]*targetgroup.Group
	groups    map[string]map[groupKey]*targetgroup.Group // by job; all jobs, also those without

	mu     sync.Mutex
	claims map[groupKey][]Claim // of the groups of named
}

// provider is one entry of a job's configuration.
type provider struct {
	job        *Job
	discoverer discovery.Discoverer
	entry      *Entry // nil if it is no entry of listener_sd_configs
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
	jobs []Job, listeners func(*Entry, *slog.Logger) discovery.Discoverer, logger *slog.Logger, reg prometheus.Registerer,
) (*Manager, error) {
	metrics, err := discovery.CreateAndRegisterSDMetrics(reg)
	if err != nil {
		return nil, fmt.Errorf("registering discovery metrics: %w", err)
	}
	m := &Manager{
		metrics: metrics,
		sets:    make(chan map[string][]*targetgroup.Group),
		groups:  make(map[string]map[groupKey]*targetgroup.Group, len(jobs)),
		claims:  map[groupKey][]Claim{},
	}
	var open []*ListenerSDConfig
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
			m.named = append(m.named, &provider{&job, d, nil})
		}
		before := slices.Clone(open)
		for _, c := range job.Listeners {
			e := &Entry{Scrape: job.Scrape, Config: c, before: before, claimed: make(chan struct{}, 1)}
			if e.open() {
				open = append(open, c)
			}
			d := listeners(e, logger.With("discovery", "listener", "job", job.Name))
			m.listeners = append(m.listeners, &provider{&job, d, e})
		}
	}
	return m, nil
}

// String names the task.
func (m *Manager) String() string { return "discovery" }

// SyncCh returns the channel of target sets by job. Each value holds all
// jobs, also those without targets; the channel is closed when Run returns.
func (m *Manager) SyncCh() <-chan map[string][]*targetgroup.Group { return m.sets }

// Claims returns the endpoints that jobs name: in static lists, in files and over HTTP.
func (m *Manager) Claims() []Claim {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Concat(slices.Collect(maps.Values(m.claims))...)
}

// Run hands on what is discovered until ctx is done, and then stops all
// discovery. A discoverer never waits for the receiver.
func (m *Manager) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer close(m.sets)
	defer m.Close()
	defer wg.Wait()
	updates := make(chan update)
	start := func(p *provider) {
		found := make(chan []*targetgroup.Group)
		wg.Go(func() { p.discoverer.Run(ctx, found) })
		wg.Go(func() { forward(ctx, p, found, updates) })
	}
	unnamed := map[*provider]bool{} // those that have not named their targets yet
	for _, p := range m.named {
		unnamed[p] = true
		start(p)
	}
	known := time.NewTimer(namedInterval)
	defer known.Stop()
	if len(unnamed) == 0 {
		known.Reset(0)
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
		case <-known.C:
			for _, p := range m.listeners {
				start(p)
			}
		case u := <-updates:
			m.update(u)
			if delete(unnamed, u.provider); len(unnamed) == 0 && known.Stop() {
				known.Reset(0)
			}
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
	groups := m.groups[u.provider.job.Name]
	for _, g := range u.groups {
		if g == nil { // some discoverers send them
			continue
		}
		key := groupKey{u.provider, g.Source}
		if len(g.Targets) == 0 {
			delete(groups, key)
		} else {
			groups[key] = g
		}
		if u.provider.entry == nil {
			m.claim(key, g)
		}
	}
	if u.provider.entry == nil {
		m.tellListeners()
	}
}

// claim notes what a group names.
func (m *Manager) claim(key groupKey, g *targetgroup.Group) {
	claims := claimsOf(key.provider.job.Scrape, g)
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(claims) == 0 {
		delete(m.claims, key)
	} else {
		m.claims[key] = claims
	}
}

// tellListeners says that the claims have changed. What the listeners make of it is there
// before the targets go on, and goes with them.
func (m *Manager) tellListeners() {
	for _, p := range m.listeners {
		select {
		case p.entry.claimed <- struct{}{}:
		default: // it has a signal waiting
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
