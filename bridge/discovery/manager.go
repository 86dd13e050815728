package discovery

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
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
	jobs      []Job
	named     []*provider // of targets that jobs name
	listeners []*provider
	sets      chan map[string][]*targetgroup.Group

	mu     sync.Mutex
	claims map[groupKey][]Claim // of the groups of named
}

// provider is one entry of a job's configuration.
type provider struct {
	job   *Job
	entry *Entry // nil if it is no entry of listener_sd_configs
	*finder
}

// finder is a discoverer, and what it has found. That of an entry which stays as it is goes
// from one manager to the next while it works: a new one would have no targets as long as
// its server does not answer.
type finder struct {
	config     discovery.Config // nil if it looks for listeners
	discoverer discovery.Discoverer
	found      chan []*targetgroup.Group
	groups     map[string]*targetgroup.Group // by source
	stop       context.CancelFunc            // nil before it works
}

// groupKey names a group. A group replaces the last one of the same source.
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
// entry of listener_sd_configs. The manager goes on for an old one, which may run yet, or for
// none if that is nil: TakeOver follows. The first manager registers the metrics of
// Prometheus's mechanisms (prometheus_sd_*), which go from one to the next.
func New(
	jobs []Job, listeners func(*Entry, *slog.Logger) discovery.Discoverer, logger *slog.Logger, reg prometheus.Registerer, old *Manager,
) (*Manager, error) {
	m := &Manager{jobs: jobs, sets: make(chan map[string][]*targetgroup.Group), claims: map[groupKey][]Claim{}}
	if old != nil {
		m.metrics = old.metrics
	} else {
		var err error
		if m.metrics, err = discovery.CreateAndRegisterSDMetrics(reg); err != nil {
			return nil, fmt.Errorf("registering discovery metrics: %w", err)
		}
	}
	var open []*ListenerSDConfig
	for _, job := range jobs {
		for _, c := range job.Configs {
			f := old.finderOf(job.Name, c, m)
			if f == nil {
				f = newFinder(c, maker{c, discovery.DiscovererOptions{
					Logger:  loggerOf(logger, job.Name, c),
					Metrics: m.metrics.MechanismMetrics[c.Name()],
					SetName: job.Name,
				}})
			}
			m.named = append(m.named, &provider{&job, nil, f})
		}
		before := slices.Clone(open)
		for _, c := range job.Listeners {
			e := &Entry{Scrape: job.Scrape, Config: c, before: before, claimed: make(chan struct{}, 1)}
			if e.open() {
				open = append(open, c)
			}
			d := listeners(e, logger.With("discovery", "listener", "job", job.Name))
			m.listeners = append(m.listeners, &provider{&job, e, newFinder(nil, d)})
		}
	}
	return m, nil
}

func newFinder(c discovery.Config, d discovery.Discoverer) *finder {
	return &finder{config: c, discoverer: d, found: make(chan []*targetgroup.Group), groups: map[string]*targetgroup.Group{}}
}

// finderOf returns the finder that a manager has for an entry, and that the next one does
// not have yet; nil if there is none.
func (m *Manager) finderOf(job string, c discovery.Config, next *Manager) *finder {
	if m == nil {
		return nil
	}
	for _, p := range m.named {
		if p.job.Name == job && reflect.DeepEqual(p.config, c) && !next.has(p.finder) {
			return p.finder
		}
	}
	return nil
}

func (m *Manager) has(f *finder) bool {
	return slices.ContainsFunc(m.named, func(p *provider) bool { return p.finder == f })
}

// TakeOver makes the manager go on for the one that New was given, and that has ended. It is
// called before Run.
func (m *Manager) TakeOver(old *Manager) {
	for _, p := range m.named {
		for source, g := range p.groups {
			m.claim(groupKey{p, source}, g)
		}
	}
	for _, gone := range old.named {
		if m.has(gone.finder) {
			continue
		}
		gone.end()
		if !slices.ContainsFunc(m.named, func(p *provider) bool {
			return p.job.Name == gone.job.Name && p.config.Name() == gone.config.Name()
		}) {
			m.metrics.RefreshManager.DeleteLabelValues(gone.config.Name(), gone.job.Name)
		}
	}
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

// Run hands on what is discovered until ctx is done. Then the discovery of listeners has
// ended; that of named targets stays at work for the next manager, or until Close. A
// discoverer does not wait for the receiver.
func (m *Manager) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer close(m.sets)
	updates := make(chan update)
	start := func(p *provider) {
		if p.entry != nil {
			wg.Go(func() { p.discoverer.Run(ctx, p.found) })
		} else {
			p.start()
		}
		wg.Go(func() { forward(ctx, p, updates) })
	}
	unnamed := map[*provider]bool{} // those that have not named their targets yet
	for _, p := range m.named {
		if len(p.groups) == 0 {
			unnamed[p] = true
		}
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
			go func() {
				wg.Wait()
				close(updates)
			}()
			for u := range updates { // discoverers do not send it to the next manager again
				m.update(u)
			}
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

// start has the discoverer work, unless it does so already.
func (f *finder) start() {
	if f.stop != nil {
		return
	}
	var ctx context.Context
	ctx, f.stop = context.WithCancel(context.Background())
	go f.discoverer.Run(ctx, f.found)
}

// end ends the discoverer. It is not waited for: one that reads a file may hang in that.
func (f *finder) end() {
	if f.stop != nil {
		f.stop()
	}
}

// forward hands on what a provider finds, until it ends. Its targets stay.
func forward(ctx context.Context, p *provider, updates chan<- update) {
	for {
		select {
		case <-ctx.Done():
			return
		case groups, ok := <-p.found:
			if !ok {
				return
			}
			updates <- update{p, groups}
		}
	}
}

func (m *Manager) update(u update) {
	for _, g := range u.groups {
		if g == nil { // some discoverers send them
			continue
		}
		if len(g.Targets) == 0 {
			delete(u.provider.groups, g.Source)
		} else {
			u.provider.groups[g.Source] = g
		}
		if u.provider.entry == nil {
			m.claim(groupKey{u.provider, g.Source}, g)
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
	sets := make(map[string][]*targetgroup.Group, len(m.jobs))
	for _, job := range m.jobs {
		sets[job.Name] = nil
	}
	for _, p := range slices.Concat(m.named, m.listeners) {
		sets[p.job.Name] = slices.AppendSeq(sets[p.job.Name], maps.Values(p.groups))
	}
	return sets
}

// Close ends the discovery that Run leaves at work.
func (m *Manager) Close() {
	for _, p := range m.named {
		p.end()
	}
}
