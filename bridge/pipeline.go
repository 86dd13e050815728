package bridge

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/config"
	"github.com/promscope/promscope/bridge/discovery"
	"github.com/promscope/promscope/bridge/plugin"
	"github.com/promscope/promscope/bridge/scrape"
	"github.com/promscope/promscope/bridge/store"
	"github.com/promscope/promscope/mapping"
)

// pipeline is all that belongs to one configuration: from the targets to the
// points that go into the report.
type pipeline struct {
	config     *config.Config
	registry   *prometheus.Registry
	collectors []*collector
	discovery  *discovery.Manager
	scrape     *scrape.Manager
	store      *store.Store
	rules      *mapping.Evaluator
	evaluator  *evaluator
	close      func() error
	ready      atomic.Bool // every target was tried once
}

// newPipeline builds the parts.
func newPipeline(cfg *config.Config, b *base) (*pipeline, error) {
	// Metrics of the parts are the pipeline's: their counters begin anew with it,
	// which Prometheus takes for the restart that it is.
	reg := prometheus.NewRegistry()
	p := &pipeline{config: cfg, registry: reg}
	p.close = sync.OnceValue(p.closeCollectors)

	set := cfg.Rules
	schedule := newSchedule(standing(set))
	selection := store.NewSelection(selectors(set))
	p.store = store.New(selection, store.Options{MaxSeries: cfg.Limits.MaxSeries, OnCommit: schedule.commit}, reg)
	p.rules = mapping.NewEvaluator(set, p.store.Live(), nodes{b.machine}, b.logger, reg, mapping.EvaluatorOptions{
		MaxNodes:          cfg.Limits.MaxNodes,
		MaxMetricsPerRule: cfg.Limits.MaxMetricsPerRule,
		MaxSamples:        cfg.Limits.MaxEvaluationSamples,
		Timeout:           cfg.Limits.EvaluationTimeout,
	})
	p.evaluator = newEvaluator(schedule, p.store, p.rules, set, b.report, b.machine, b.logger)

	p.collectors = openCollectors(&cfg.Collectors, b.machine, b.logger, reg)
	var err error
	p.scrape, err = scrape.NewManager(cfg.ScrapeJobs(), p.store, selection, p.scrapeOptions(b), b.logger, reg)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("setting up scraping: %w", err), p.close())
	}
	p.discovery, err = discovery.New(cfg.DiscoveryJobs(), b.prober.Discoverer, b.logger, reg)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("setting up discovery: %w", err), p.close())
	}
	return p, nil
}

// Run scrapes and evaluates until ctx is done.
func (p *pipeline) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, p.close()) }()
	return runTasks(ctx, []task{
		p.discovery,
		named{"scraping", func(ctx context.Context) error { return p.scrape.Run(ctx, p.discovery.SyncCh()) }},
		p.evaluator,
	})
}

// gatherers are those of what /metrics shows besides promscope's own registry.
func (p *pipeline) gatherers() prometheus.Gatherers {
	g := prometheus.Gatherers{p.registry}
	for _, c := range p.collectors {
		g = append(g, c.gatherer)
	}
	return g
}

// scrapeOptions tie scraping to this machine.
func (p *pipeline) scrapeOptions(b *base) scrape.Options {
	return scrape.Options{
		InProcess: p.inProcess(b),
		Origin:    originLabels(b.machine),
		Subject:   subjectLabels(b.machine),
		PIDLabels: pidLabels(p.config.Rules),
		PID:       translatePID(b.machine),
		Dial:      dial(b.machine),
	}
}

// inProcess are the targets that need no HTTP: the collectors, each on its own
// interval, and promscope itself.
func (p *pipeline) inProcess(b *base) []scrape.InProcess {
	targets := []scrape.InProcess{{
		Name:     "promscope",
		Gatherer: prometheus.Gatherers{b.registry, p.registry},
		Interval: time.Duration(p.config.Global.ScrapeInterval),
		Labels:   labels.FromStrings(labelTargetPID, strconv.Itoa(b.machine.PID())),
	}}
	for _, c := range p.collectors {
		if c.err == nil {
			targets = append(targets, scrape.InProcess{Name: c.name, Gatherer: c.gatherer, Interval: time.Duration(c.settings.Interval)})
		}
	}
	return targets
}

func (p *pipeline) closeCollectors() error {
	var errs []error
	for _, c := range p.collectors {
		errs = append(errs, c.close())
	}
	return errors.Join(errs...)
}

// selectors hands the rules' demands on the store over.
func selectors(set *mapping.Set) []store.Selector {
	var list []store.Selector
	for _, s := range set.Selectors() {
		list = append(list, store.Selector{Rule: s.Rule, Matchers: s.Matchers, Window: s.Window})
	}
	return list
}

// standing returns the intervals of the rules that need no samples, and 0 for others.
func standing(set *mapping.Set) []time.Duration {
	intervals := make([]time.Duration, len(set.Rules()))
	for i, r := range set.Rules() {
		if r.NeedsNoSamples() {
			intervals[i] = r.Interval
		}
	}
	return intervals
}

// reportOptions are the parts of the configuration that the report needs.
func reportOptions(cfg *config.Config, hostName string) plugin.Options {
	return plugin.Options{
		ID:          cfg.Scope.PluginID,
		Label:       cfg.Scope.Label,
		Description: cfg.Scope.Description,
		Host:        hostName,
		MaxSamples:  cfg.Scope.Samples,
		MaxAge:      cfg.Scope.MaxAge,
		MaxNodes:    cfg.Limits.MaxReportNodes,
		MaxBytes:    cfg.Limits.MaxReportBytes,
	}
}
