package explain

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"

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

	// restTime is what the rest of an explanation takes, after the targets were asked.
	restTime = time.Second

	// askSeries bounds an answer.
	askSeries = 5000
)

// exposed asks targets for series that no rule selects. The store does not have
// them: of all others only the line is looked at. Asking is a scrape of all
// targets for nothing but these series, in the same way as always.
type exposed struct {
	mu       sync.Mutex // held while asking: one at a time
	pipeline *pipeline.Pipeline
	answers  map[exposedQuestion]exposedAnswer
	asked    time.Time // when targets were asked last, whatever for
	keep     time.Time // until when answers are good, however old
}

type exposedQuestion struct {
	selector  string
	asExposed bool // without metric_relabel_configs
}

// exposedAnswer is what the targets that are up serve of what matchers select.
type exposedAnswer struct {
	series   []store.LatestSample
	problems []string // a sentence for each thing that may be why a series is missing
	partial  bool     // some of the targets were not asked, or did not answer
	at       time.Time
}

// turn waits until targets may be asked. They are asked at most once in the longest
// scrape interval, whatever the questions: who asks in a loop costs them no more than
// twice what scraping costs. It returns a sentence if that takes too long. The answers
// to the questions before are then good until it is worth asking again.
func (x *exposed) turn(ctx context.Context, interval time.Duration) (problem string) {
	wait := max(0, interval-time.Since(x.asked))
	deadline, bounded := ctx.Deadline()
	if wait > askPatience || bounded && time.Until(deadline) < wait+askTime+restTime {
		x.keep = time.Now().Add(wait + askKept)
		return fmt.Sprintf("The targets are asked at most once in %s, and were asked for something else. Whether they expose more series is not known: ask again in %s.",
			interval, max(wait, time.Second).Round(time.Second))
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return ctx.Err().Error()
	}
	x.asked = time.Now()
	return ""
}

// ask returns the series that targets expose now and the matchers select.
func (x *exposed) ask(ctx context.Context, r *pipeline.Runtime, p *pipeline.Pipeline, matchers []*labels.Matcher) exposedAnswer {
	x.mu.Lock()
	defer x.mu.Unlock()
	answer := x.answer(ctx, r, p, matchers, false)
	if len(answer.series) == 0 && relabelsMetrics(p.Config.ScrapeJobs()) {
		before := x.answer(ctx, r, p, matchers, true)
		answer.problems = append(answer.problems, before.problems...)
		for _, s := range before.series {
			answer.problems = append(answer.problems, relabelledAway(s.Labels))
		}
		slices.Sort(answer.problems)
		answer.problems = slices.Compact(answer.problems)
		answer.partial = answer.partial || before.partial
	}
	return answer
}

// answer returns what is known already, or asks the targets when it is their turn.
func (x *exposed) answer(ctx context.Context, r *pipeline.Runtime, p *pipeline.Pipeline, matchers []*labels.Matcher, asExposed bool) exposedAnswer {
	if x.pipeline != p || x.answers == nil {
		x.pipeline, x.answers = p, make(map[exposedQuestion]exposedAnswer)
	}
	if now := time.Now(); now.After(x.keep) {
		maps.DeleteFunc(x.answers, func(_ exposedQuestion, a exposedAnswer) bool { return now.Sub(a.at) > askKept })
	}
	question := exposedQuestion{selector: status.SelectorText(matchers), asExposed: asExposed}
	answer, found := x.answers[question]
	if !found {
		if problem := x.turn(ctx, p.Config.LongestInterval()); problem != "" {
			return exposedAnswer{problems: []string{problem}, partial: true}
		}
		answer = askTargets(ctx, r, p, matchers, asExposed)
		if ctx.Err() == nil {
			x.answers[question] = answer
		}
	}
	answer.series, answer.problems = slices.Clone(answer.series), slices.Clone(answer.problems)
	return answer
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
		answer.partial = true
		answer.problems = append(answer.problems, "The targets could not be asked: "+err.Error()+".")
		return answer
	}
	asking, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	done := make(chan struct{})
	groups := make(chan map[string][]*targetgroup.Group, 1)
	groups <- sets
	go func() {
		defer close(done)
		_ = manager.Run(asking, groups) // ends with its context, and without an error
	}()
	awaitReady(asking, manager)
	unknown := func(target, reason string) {
		answer.partial = true
		answer.problems = append(answer.problems, fmt.Sprintf("Target %s could not be asked what it serves: %s.", target, reason))
	}
	for _, t := range manager.Targets() {
		switch {
		case t.Health == scrape.HealthUp || t.URL == "":
		case t.Health == scrape.HealthUnknown:
			unknown(status.TargetRef(&t).String(), fmt.Sprintf("no answer within %s", askTime))
		default:
			unknown(status.TargetRef(&t).String(), secret.Text(t.LastError))
		}
	}
	for _, d := range manager.Dropped() {
		if t := status.Dropped(&d); d.Error != "" {
			unknown(t.Job+" "+t.Instance(), t.Error)
		}
	}
	cancel()
	<-done
	now := time.Now()
	// What came in time counts, also where time is over by now.
	answer.series = store.Latest(context.WithoutCancel(asking), st, matchers, now.Add(-time.Minute), now.Add(time.Minute))
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
	soon := model.Duration(askInterval).String()
	var jobs []*job.Config
	for _, job := range p.Config.ScrapeJobs() {
		c := *job
		// The last word, for relabel_configs may set these too.
		c.RelabelConfigs = slices.Concat(c.RelabelConfigs,
			[]*relabel.Config{setLabel(model.ScrapeIntervalLabel, soon), setLabel(model.ScrapeTimeoutLabel, soon)})
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
		sets[t.Job] = append(sets[t.Job], &targetgroup.Group{Targets: []model.LabelSet{set}})
	}
	return jobs, sets
}

// setLabel is the relabelling that sets a label.
func setLabel(name, value string) *relabel.Config {
	c := relabel.DefaultRelabelConfig
	c.TargetLabel, c.Replacement, c.NameValidationScheme = name, value, model.UTF8Validation
	return &c
}
