package explain

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/pipeline"
	"github.com/promscope/promscope/bridge/scrape"
	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/bridge/status"
	"github.com/promscope/promscope/bridge/store"
	"github.com/promscope/promscope/mapping/secret"
)

const (
	// askInterval is the scrape interval of asking: targets are scraped spread
	// over it, and have that long to answer.
	askInterval = time.Second

	// askTime bounds the asking of all targets.
	askTime = 2*askInterval + 500*time.Millisecond

	// askKept is for how long an answer is good: a page that refreshes itself
	// must not scrape everything each time.
	askKept = 15 * time.Second

	// askPatience is how long a question waits for its turn to ask the targets.
	askPatience = 15 * time.Second

	// askSeries bounds an answer.
	askSeries = 5000
)

// exposed asks targets for series that no rule selects. The store does not have
// them: of all others only the line is looked at. Asking is a scrape of all
// targets for nothing but these series, in the same way as always.
type exposed struct {
	mu       sync.Mutex // held while asking: one at a time
	pipeline *pipeline.Pipeline
	answers  map[string]exposedAnswer
	asked    time.Time // when targets were asked last, whatever for
}

// turn waits until targets may be asked. They are asked at most once in the longest
// scrape interval, whatever the questions: who asks in a loop costs them no more than
// twice what scraping costs. It returns a sentence if that takes too long.
func (x *exposed) turn(ctx context.Context, interval time.Duration) (problem string) {
	wait := interval - time.Since(x.asked)
	if wait > askPatience {
		return fmt.Sprintf("The targets were asked for something else %s ago, and are asked at most once in %s. Whether they expose more series is not known: ask again in %s.",
			time.Since(x.asked).Round(time.Second), interval, wait.Round(time.Second))
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return ctx.Err().Error()
	}
	x.asked = time.Now()
	return ""
}

type exposedAnswer struct {
	at       time.Time
	series   []store.LatestSample
	problems []string
}

// ask returns the series that targets expose now and the matchers select, and a
// sentence for each thing that may be why one is missing.
func (x *exposed) ask(ctx context.Context, r *pipeline.Runtime, p *pipeline.Pipeline, matchers []*labels.Matcher) ([]store.LatestSample, []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.pipeline != p || x.answers == nil {
		x.pipeline, x.answers = p, make(map[string]exposedAnswer)
	}
	for key, a := range x.answers {
		if time.Since(a.at) > askKept {
			delete(x.answers, key)
		}
	}
	key := status.SelectorText(matchers)
	answer, found := x.answers[key]
	if !found {
		interval := p.Config.LongestInterval()
		if problem := x.turn(ctx, interval); problem != "" {
			return nil, []string{problem}
		}
		answer = askTargets(ctx, r, p, matchers, false)
		if len(answer.series) == 0 && relabelsMetrics(p.Config.ScrapeJobs()) {
			if problem := x.turn(ctx, interval); problem != "" {
				return nil, append(answer.problems, problem)
			}
			for _, s := range askTargets(ctx, r, p, matchers, true).series {
				answer.problems = append(answer.problems, relabelledAway(s.Labels))
			}
			slices.Sort(answer.problems)
			answer.problems = slices.Compact(answer.problems)
		}
		if ctx.Err() == nil {
			x.answers[key] = answer
		}
	}
	return slices.Clone(answer.series), slices.Clone(answer.problems)
}

func relabelsMetrics(jobs []*job.Config) bool {
	return slices.ContainsFunc(jobs, func(j *job.Config) bool { return len(j.MetricRelabelConfigs) > 0 })
}

// relabelledAway says why a series that a target serves is not among what is
// scraped.
func relabelledAway(series labels.Labels) string {
	return fmt.Sprintf("Job %s serves %s, but its metric_relabel_configs drop or rename it.",
		series.Get(model.JobLabel), series.Get(model.MetricNameLabel))
}

// askTargets scrapes all targets once; if asExposed, without metric_relabel_configs.
func askTargets(ctx context.Context, r *pipeline.Runtime, p *pipeline.Pipeline, matchers []*labels.Matcher, asExposed bool) exposedAnswer {
	answer := exposedAnswer{at: time.Now()}
	selection := store.NewSelection([]store.Selector{{Matchers: matchers, Window: time.Minute}})
	st := store.New(selection, store.Options{MaxSeries: askSeries}, nil)
	targets := p.Scrape.Targets()
	answer.problems = downTargets(targets)
	jobs, sets := askJobs(p, targets, asExposed)
	opts := p.ScrapeOptions(r)
	for i := range opts.InProcess {
		opts.InProcess[i].Interval = askInterval
	}
	manager, err := scrape.NewManager(jobs, st, selection, opts, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		answer.problems = append(answer.problems, "The targets could not be asked: "+err.Error()+".")
		return answer
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	done := make(chan struct{})
	groups := make(chan map[string][]*targetgroup.Group, 1)
	groups <- sets
	go func() {
		defer close(done)
		_ = manager.Run(ctx, groups) // ends with ctx, and without an error
	}()
	defer func() {
		cancel()
		<-done
	}()
	awaitReady(ctx, manager)
	for _, t := range manager.Targets() {
		if t.Health == scrape.HealthUp || t.URL == "" {
			continue
		}
		reason := secret.Text(t.LastError)
		if t.Health == scrape.HealthUnknown {
			reason = fmt.Sprintf("no answer within %s", askTime)
		}
		answer.problems = append(answer.problems, fmt.Sprintf("Target %s could not be asked what it serves: %s.", status.TargetRef(&t), reason))
	}
	now := time.Now()
	answer.series = store.Latest(ctx, st, matchers, now.Add(-time.Minute), now.Add(time.Minute))
	return answer
}

// awaitReady waits until each target was scraped once.
func awaitReady(ctx context.Context, m *scrape.Manager) {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !m.Ready() {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// askJobs are the jobs of the pipeline with their present targets, to be scraped
// soon. Those that are down are left alone: asking them takes the whole time.
func askJobs(p *pipeline.Pipeline, targets []scrape.TargetStatus, asExposed bool) ([]*job.Config, map[string][]*targetgroup.Group) {
	var jobs []*job.Config
	for _, job := range p.Config.ScrapeJobs() {
		c := *job
		c.ScrapeInterval, c.ScrapeTimeout = model.Duration(askInterval), model.Duration(askInterval)
		c.Narrow = false // to know all that is there
		if asExposed {
			c.MetricRelabelConfigs = nil
		}
		jobs = append(jobs, &c)
	}
	sets := make(map[string][]*targetgroup.Group)
	for _, t := range targets {
		if t.URL == "" || t.Health == scrape.HealthDown {
			continue
		}
		set := model.LabelSet{}
		t.Discovered.Range(func(l labels.Label) { set[model.LabelName(l.Name)] = model.LabelValue(l.Value) })
		set[model.ScrapeIntervalLabel] = model.LabelValue(model.Duration(askInterval).String())
		set[model.ScrapeTimeoutLabel] = set[model.ScrapeIntervalLabel]
		sets[t.Job] = append(sets[t.Job], &targetgroup.Group{Targets: []model.LabelSet{set}})
	}
	return jobs, sets
}
