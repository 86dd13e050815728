package bridge

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/config"
	"github.com/promscope/promscope/bridge/plugin"
	"github.com/promscope/promscope/bridge/scrape"
	"github.com/promscope/promscope/bridge/store"
	"github.com/promscope/promscope/bridge/view"
	"github.com/promscope/promscope/bridge/web"
	"github.com/promscope/promscope/mapping"
)

// Offline is what a target served, in files, for an explanation without a
// running promscope.
type Offline struct {
	// Expositions are files in Prometheus's text format, or OpenMetrics: successive
	// scrapes of one target, a scrape interval apart. A rate needs two.
	Expositions []string
	// Labels are the target's: those of discovery and of its process, target_pid.
	// The label job names a job of the configuration, which says how to relabel;
	// the only one, if there is one only. All nodes are taken for alive.
	Labels map[string]string
}

// ExplainOffline answers from a configuration and files.
func ExplainOffline(ctx context.Context, opts Options, offline Offline, subject string) (web.Explanation, error) {
	cfg, _, err := loadConfig(opts, quiet()) // what is doubtful is for check to say
	if err != nil {
		return web.Explanation{}, err
	}
	hostName := cfg.Scope.Host
	if hostName == "" {
		if hostName, err = os.Hostname(); err != nil {
			return web.Explanation{}, fmt.Errorf("host name: %w", err)
		}
	}
	r := newReplay(cfg, offline, hostName)
	for i, file := range offline.Expositions {
		content, err := os.ReadFile(file)
		if err != nil {
			return web.Explanation{}, fmt.Errorf("exposition: %w", err)
		}
		at := r.now.Add(-time.Duration(len(offline.Expositions)-1-i) * r.interval)
		if err := r.scrape(ctx, at, content); err != nil {
			return web.Explanation{}, fmt.Errorf("exposition %s: %w", file, err)
		}
	}
	return r.world(ctx).Explain(ctx, subject)
}

// replay is a pipeline without its ends: what it scrapes is given to it, and
// nobody polls.
type replay struct {
	cfg      *config.Config
	hostName string
	now      time.Time
	interval time.Duration

	target   *expositionTarget
	status   scrape.TargetStatus
	store    *store.Store
	rules    *mapping.Evaluator
	report   *plugin.Report
	due      []int // rules that the last commit is of concern to
	exposed  []labels.Labels
	previous map[string]*store.Series // kept series of the last exposition
}

func newReplay(cfg *config.Config, offline Offline, hostName string) *replay {
	r := &replay{cfg: cfg, hostName: hostName, now: time.Now().Truncate(time.Millisecond)}
	job := jobOf(cfg, offline.Labels)
	r.interval = time.Duration(cfg.Global.ScrapeInterval)
	r.target = newExpositionTarget(job, offline)
	if job != nil {
		r.interval = time.Duration(job.ScrapeInterval)
	}
	registry := prometheus.NewRegistry()
	selection := store.NewSelection(selectors(cfg.Rules))
	r.store = store.New(selection, store.Options{
		MaxSeries: cfg.Limits.MaxSeries,
		OnCommit:  func(c store.Commit) { r.due = c.Rules },
	}, registry)
	r.rules = mapping.NewEvaluator(cfg.Rules, r.store.Live(), nil, quiet(), registry, mapping.EvaluatorOptions{
		MaxNodes:          cfg.Limits.MaxNodes,
		MaxMetricsPerRule: cfg.Limits.MaxMetricsPerRule,
		MaxSamples:        cfg.Limits.MaxEvaluationSamples,
		Timeout:           cfg.Limits.EvaluationTimeout,
	})
	r.report = plugin.NewReport(reportOptions(cfg, hostName), cfg.Rules.Templates(), quiet(), registry)
	r.status = scrape.TargetStatus{
		Job: r.target.labels.Get(model.JobLabel), Labels: r.target.labels, Health: scrape.HealthUnknown,
	}
	return r
}

// jobOf is the job that the labels name, or the only one; nil if there is none.
func jobOf(cfg *config.Config, given map[string]string) *scrape.Config {
	jobs := cfg.ScrapeJobs()
	name, named := given[model.JobLabel]
	if !named && len(jobs) == 1 {
		return jobs[0]
	}
	i := slices.IndexFunc(jobs, func(j *scrape.Config) bool { return j.JobName == name })
	if i < 0 {
		return nil
	}
	return jobs[i]
}

// scrape takes in one exposition and evaluates what it feeds.
func (r *replay) scrape(ctx context.Context, at time.Time, content []byte) error {
	samples, err := r.target.parse(content)
	if err != nil {
		return err
	}
	batch := r.store.Batch()
	kept := map[string]*store.Series{}
	r.exposed = r.exposed[:0]
	for _, s := range samples {
		r.exposed = append(r.exposed, s.labels)
		series, selected := r.store.Series(s.labels)
		if !selected {
			continue
		}
		kept[s.labels.String()] = series
		batch.Append(series, at.UnixMilli(), s.value)
	}
	for name, series := range r.previous {
		if kept[name] == nil {
			batch.AppendStale(series, at.UnixMilli())
		}
	}
	r.previous, r.due = kept, nil
	batch.Commit(at, r.interval)
	for _, rule := range r.due {
		// An error is part of the rule's status, and explained with it.
		if result, err := r.rules.Evaluate(ctx, rule, at); err == nil {
			r.report.Apply(result)
		}
	}
	r.status.Health, r.status.LastScrape, r.status.Samples, r.status.Kept = scrape.HealthUp, at, len(samples), len(kept)
	return nil
}

// world is what is known after the last exposition.
func (r *replay) world(ctx context.Context) *view.World {
	w := &view.World{
		Set:      r.cfg.Rules,
		Rules:    r.rules,
		Kept:     r.store,
		HostName: r.hostName,
		Targets:  []scrape.TargetStatus{r.status},
		Now:      r.now,
		Oldest:   view.LongestLookback(r.cfg.Rules),
		Limits:   viewLimits(r.cfg),
		Full:     r.store.Len() >= r.cfg.Limits.MaxSeries,
		Exposed: func(_ context.Context, matchers []*labels.Matcher) ([]view.Series, []string) {
			found := matching(r.exposed, matchers)
			var problems []string
			if dropped := matching(r.target.dropped, matchers); len(found) == 0 && len(dropped) > 0 {
				problems = append(problems, relabelledAway(dropped[0].Labels))
			}
			return found, problems
		},
	}
	r.report.Publish(r.now)
	snapshot := r.report.Snapshot()
	for i := range snapshot.Nodes {
		w.Nodes = append(w.Nodes, view.Node(r.cfg.Rules, r.hostName, &snapshot.Nodes[i]))
	}
	for _, s := range r.cfg.Rules.Selectors() {
		lookback := r.cfg.Rules.Rules()[s.Rule].Lookback()
		w.Counts = append(w.Counts, len(view.SelectSeries(ctx, r.store.Live(), s.Matchers, r.now.Add(-lookback), r.now)))
	}
	return w
}

// matching returns the series that all matchers take.
func matching(series []labels.Labels, matchers []*labels.Matcher) []view.Series {
	var found []view.Series
next:
	for _, l := range series {
		for _, m := range matchers {
			if !m.Matches(l.Get(m.Name)) {
				continue next
			}
		}
		found = append(found, view.Series{Labels: l})
	}
	return found
}

// newExpositionTarget is the target that an offline explanation pretends to have
// scraped.
func newExpositionTarget(job *scrape.Config, offline Offline) *expositionTarget {
	given := maps.Clone(offline.Labels)
	if given == nil {
		given = map[string]string{}
	}
	t := &expositionTarget{}
	if job != nil {
		given[model.JobLabel] = cmp.Or(given[model.JobLabel], job.JobName)
		t.honorLabels, t.relabel = job.HonorLabels, job.MetricRelabelConfigs
	}
	if len(offline.Expositions) > 0 {
		given[model.InstanceLabel] = cmp.Or(given[model.InstanceLabel], filepath.Base(offline.Expositions[0]))
	}
	t.labels = labels.FromMap(given)
	return t
}
