package explain

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/config"
	"github.com/promscope/promscope/bridge/exposition"
	"github.com/promscope/promscope/bridge/pipeline"
	"github.com/promscope/promscope/bridge/plugin"
	"github.com/promscope/promscope/bridge/scrape"
	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/bridge/status"
	"github.com/promscope/promscope/bridge/store"
	"github.com/promscope/promscope/bridge/view"
	"github.com/promscope/promscope/mapping"
)

// Offline is what a target served, in files, for an explanation without a running
// promscope.
type Offline struct {
	// Expositions are files in Prometheus's text format, or OpenMetrics: successive
	// scrapes of one target, a scrape interval apart. A rate needs two.
	Expositions []string
	// Labels are the target's: those of discovery and of its process, target_pid.
	// The label job names a job of the configuration, which says how to relabel.
	// Without it, the job is the only one. All nodes are taken for alive.
	Labels map[string]string
}

// ReplayFiles answers from a configuration and files.
func ReplayFiles(ctx context.Context, flags config.Flags, offline Offline, subject string) (view.Explanation, error) {
	cfg, list := flags.Load() // warnings are for check to say
	if err := list.Err(); err != nil {
		return view.Explanation{}, fmt.Errorf("loading the configuration:\n%w", err)
	}
	hostName := cfg.Scope.Host
	if hostName == "" {
		var err error
		if hostName, err = os.Hostname(); err != nil {
			return view.Explanation{}, fmt.Errorf("host name: %w", err)
		}
	}
	r := newReplay(cfg, offline, hostName)
	for i, file := range offline.Expositions {
		content, err := os.ReadFile(file)
		if err != nil {
			return view.Explanation{}, fmt.Errorf("exposition: %w", err)
		}
		at := r.now.Add(-time.Duration(len(offline.Expositions)-1-i) * r.target.Interval)
		if err := r.scrape(ctx, at, content); err != nil {
			return view.Explanation{}, fmt.Errorf("exposition %s: %w", file, err)
		}
	}
	return r.facts(ctx).Explain(ctx, subject)
}

// replay is a pipeline without its ends: its expositions are given to it, and nobody
// polls.
type replay struct {
	cfg      *config.Config
	hostName string
	now      time.Time

	scraper *scrape.Replay
	target  scrape.TargetStatus
	store   *store.Store
	rules   *mapping.Evaluator
	report  *plugin.Report
	due     []int // rules that the last commit concerns
	series  []scrape.ReplayedSeries
}

func newReplay(cfg *config.Config, offline Offline, hostName string) *replay {
	job, public := replayedTarget(cfg, offline)
	r := &replay{cfg: cfg, hostName: hostName, now: time.Now().Truncate(time.Millisecond)}
	r.target = scrape.TargetStatus{
		Job: public.Get(model.JobLabel), Labels: public, Interval: time.Duration(job.ScrapeInterval), Health: scrape.HealthUnknown,
	}
	logger, registry := slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	r.store = store.New(store.NewSelection(pipeline.Selectors(cfg.Rules)), store.Options{
		MaxSeries: cfg.Limits.MaxSeries,
		OnCommit:  func(c store.Commit) { r.due = c.Rules },
	}, registry)
	r.scraper = scrape.NewReplay(job, public, mapping.TargetLabels(), r.store)
	r.rules = mapping.NewEvaluator(cfg.Rules, r.store.Live(), nil, logger, registry, cfg.Limits.Evaluator())
	r.report = plugin.NewReport(pipeline.ReportOptions(cfg, hostName), cfg.Rules.Templates(), logger, registry)
	return r
}

// replayedTarget returns the job and the labels of the target that the files are of.
// The job is the one that the label job names, or the only one, or one with the
// defaults.
func replayedTarget(cfg *config.Config, offline Offline) (*job.Config, labels.Labels) {
	given := maps.Clone(offline.Labels)
	if given == nil {
		given = map[string]string{}
	}
	name, named := given[model.JobLabel]
	jobs := slices.DeleteFunc(cfg.ScrapeJobs(), func(j *job.Config) bool { return named && j.JobName != name })
	defaults := job.DefaultConfig(cfg.Global)
	job := &defaults
	if len(jobs) == 1 {
		job = jobs[0]
		given[model.JobLabel] = job.JobName
	}
	if len(offline.Expositions) > 0 {
		given[model.InstanceLabel] = cmp.Or(given[model.InstanceLabel], filepath.Base(offline.Expositions[0]))
	}
	mapping.AssumeHost(given)
	return job, labels.FromMap(given)
}

// scrape takes in one exposition and evaluates the rules that it feeds.
func (r *replay) scrape(ctx context.Context, at time.Time, content []byte) error {
	r.due = nil
	got, err := r.scraper.Scrape(ctx, at, bytes.NewReader(content), exposition.MediaTypeOf(content))
	if err != nil {
		return fmt.Errorf("after %d series: %w", got.Samples, err)
	}
	for _, rule := range r.due {
		// An error is part of the rule's status, and explained with it.
		if result, err := r.rules.Evaluate(ctx, rule, at); err == nil {
			r.report.Apply(result)
		}
	}
	r.report.Publish(at)
	r.series = got.Series
	r.target.Health, r.target.LastScrape, r.target.Samples, r.target.Kept = scrape.HealthUp, at, got.Samples, got.Kept
	return nil
}

// facts are what is known after the last exposition.
func (r *replay) facts(ctx context.Context) *facts {
	f := &facts{
		Set:      r.cfg.Rules,
		Rules:    r.rules,
		Kept:     r.store,
		HostName: r.hostName,
		Targets:  []scrape.TargetStatus{r.target},
		Now:      r.now,
		Oldest:   status.LongestLookback(r.cfg.Rules),
		Limits:   r.cfg.Limits,
		Exposed:  r.exposed,
	}
	snapshot := r.report.Snapshot()
	for i := range snapshot.Nodes {
		f.Nodes = append(f.Nodes, status.Node(r.cfg.Rules, r.hostName, &snapshot.Nodes[i]))
	}
	f.Models = status.Rules(r.cfg.Rules, r.rules.Status(), status.CountSeries(ctx, r.cfg.Rules, r.store, r.now))
	return f
}

// exposed are the series of the last exposition that the matchers take.
func (r *replay) exposed(_ context.Context, matchers []*labels.Matcher) exposedAnswer {
	var all []labels.Labels
	for _, s := range r.series {
		if !s.After.IsEmpty() {
			all = append(all, s.After)
		}
	}
	if found := matching(all, matchers); len(found) > 0 {
		return exposedAnswer{series: found}
	}
	for _, s := range r.series {
		renamed := s.After.Get(model.MetricNameLabel) != s.Before.Get(model.MetricNameLabel)
		if renamed && len(matching([]labels.Labels{s.Before}, matchers)) > 0 {
			return exposedAnswer{problems: []string{relabelledAway(s.Before)}}
		}
	}
	return exposedAnswer{}
}

// matching returns the series that all matchers take.
func matching(series []labels.Labels, matchers []*labels.Matcher) []store.LatestSample {
	var found []store.LatestSample
	for _, l := range series {
		if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(l.Get(m.Name)) }) {
			found = append(found, store.LatestSample{Labels: l})
		}
	}
	return found
}
