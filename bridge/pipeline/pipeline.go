// Package pipeline is one configuration at work, from the targets to the points
// that go into the report:
//
//	discovery → scrape → store → rules → report
//
// Scrape loops commit samples to the store, which keeps the series that rules
// select and says which rules a commit concerns. The schedule decides when these
// rules are evaluated. Their points go into the report.
//
// A Runtime is what outlives a configuration. A reload builds a new Pipeline and
// puts it in force, or keeps the old one.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/attribution"
	"github.com/promscope/promscope/bridge/collectors"
	"github.com/promscope/promscope/bridge/config"
	"github.com/promscope/promscope/bridge/discovery"
	"github.com/promscope/promscope/bridge/plugin"
	"github.com/promscope/promscope/bridge/scrape"
	"github.com/promscope/promscope/bridge/store"
	"github.com/promscope/promscope/mapping"
)

// Pipeline is all that belongs to one configuration.
type Pipeline struct {
	Config     *config.Config
	Registry   *prometheus.Registry // of the parts' own metrics
	Collectors []*collectors.Collector
	Scrape     *scrape.Manager
	Store      *store.Store
	Rules      *mapping.Evaluator

	selection *store.Selection
	discovery *discovery.Manager
	evaluator *evaluator
	ready     atomic.Bool // every target was tried once

	mu    sync.Mutex
	owned []*collectors.Collector // those that it closes
}

// NewPipeline builds the pipeline of a configuration. It must be closed. Collectors of
// the pipeline in force that stay as they are go over to it. What else stays goes over
// when it is put in force.
func (r *Runtime) NewPipeline(cfg *config.Config) (*Pipeline, error) {
	// The parts' metrics begin anew with the pipeline. Prometheus takes that for the
	// restart that it is.
	p := &Pipeline{Config: cfg, Registry: prometheus.NewRegistry()}
	schedule := newSchedule(standing(cfg.Rules))
	p.selection = store.NewSelection(Selectors(cfg.Rules))
	p.Store = r.Store
	nodes := attribution.Nodes{Machine: r.Machine}
	p.Rules = mapping.NewEvaluator(cfg.Rules, p.Store.Live(), nodes, r.Logger, p.Registry, cfg.Limits.Evaluator())
	p.evaluator = newEvaluator(schedule, p.Store, p.Rules, cfg.Rules, r.Report, r.Pods, nodes, r.Logger)

	var running *discovery.Manager
	if old := r.Pipeline(); old != nil {
		running = old.discovery
	}
	var err error
	p.discovery, err = discovery.New(cfg.DiscoveryJobs(), r.Prober.Discoverer, r.Logger, r.Registry, running)
	if err != nil {
		return nil, fmt.Errorf("setting up discovery: %w", err)
	}
	p.openCollectors(r)
	p.Scrape, err = scrape.NewManager(cfg.ScrapeJobs(), p.Store, p.selection, p.ScrapeOptions(r), r.Logger, p.Registry)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("setting up scraping: %w", err), p.Close())
	}
	p.adoptCollectors(r.Pipeline())
	return p, nil
}

// openCollectors opens the pipeline's collectors. Those that another one runs as they
// shall be stay that one's until adoptCollectors.
func (p *Pipeline) openCollectors(r *Runtime) {
	var running []*collectors.Collector
	if old := r.Pipeline(); old != nil {
		running = old.Collectors
	}
	p.Collectors = collectors.Open(p.Config.Collectors, running, r.GivenUp, r.Machine, r.Logger, p.Registry)
	p.owned = slices.DeleteFunc(slices.Clone(p.Collectors), func(c *collectors.Collector) bool {
		return slices.Contains(running, c)
	})
}

// adoptCollectors takes the collectors that both pipelines have. The old one may be nil.
func (p *Pipeline) adoptCollectors(old *Pipeline) {
	if old != nil {
		old.mu.Lock()
		defer old.mu.Unlock()
		old.owned = slices.DeleteFunc(old.owned, func(c *collectors.Collector) bool { return slices.Contains(p.Collectors, c) })
	}
	p.owned = slices.Clone(p.Collectors)
}

// begin gives the store to the pipeline. It goes on with what the pipeline before it
// had: that one has ended, or is nil.
func (p *Pipeline) begin(old *Pipeline) (same map[int]int) {
	p.Store.Reconfigure(p.selection, store.Options{MaxSeries: p.Config.Limits.MaxSeries, OnCommit: p.evaluator.schedule.commit})
	if old == nil {
		return nil
	}
	same = p.Config.Rules.Same(old.Config.Rules)
	p.discovery.TakeOver(old.discovery)
	p.Scrape.TakeOver(old.Scrape)
	p.Rules.TakeOver(old.Rules, same)
	p.evaluator.takeOver(old.evaluator, same)
	p.ready.Store(old.ready.Load())
	return same
}

// ErrHandedOver is the cause with which the context of Run is cancelled if another pipeline
// takes over.
var ErrHandedOver = scrape.ErrHandedOver

// Run scrapes and evaluates until ctx is done, and closes the pipeline.
func (p *Pipeline) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, p.Close()) }()
	return RunTasks(ctx,
		Task{"discovery", p.discovery.Run},
		Task{"scraping", func(ctx context.Context) error { return p.Scrape.Run(ctx, p.discovery.SyncCh()) }},
		Task{"rules", p.evaluator.Run},
	)
}

// Close stops the collectors of a pipeline that does not run.
func (p *Pipeline) Close() error {
	p.mu.Lock()
	owned := p.owned
	p.owned = nil
	p.mu.Unlock()
	var errs []error
	for _, c := range owned {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// Ready tells whether each target was tried. Targets that come later change nothing
// about it.
func (p *Pipeline) Ready() bool {
	if !p.ready.Load() && !p.Scrape.Ready() {
		return false
	}
	p.ready.Store(true)
	return true
}

// ScrapeOptions tie scraping to this machine and to the targets in process.
func (p *Pipeline) ScrapeOptions(r *Runtime) scrape.Options {
	opts := attribution.ScrapeOptions(r.Machine, r.Sockets, p.Config.Rules, r.HostName.Name)
	opts.InProcess = []scrape.InProcess{{
		Name:     "promscope",
		Gatherer: prometheus.Gatherers{r.Registry, p.Registry},
		Interval: time.Duration(p.Config.Global.ScrapeInterval),
		Labels:   labels.FromStrings(attribution.LabelPID, strconv.Itoa(r.Machine.PID())),
	}}
	for _, c := range p.Collectors {
		if c.Err == nil {
			opts.InProcess = append(opts.InProcess, scrape.InProcess{Name: c.Name, Gatherer: c, Interval: c.Interval})
		}
	}
	return opts
}

// Selectors are what the rules of a set ask of the store.
func Selectors(set *mapping.Set) []store.Selector {
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

// ReportOptions are the parts of the configuration that the report needs.
func ReportOptions(cfg *config.Config, hostName string) plugin.Options {
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
