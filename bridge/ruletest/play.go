package ruletest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"

	"github.com/promscope/promscope/bridge/exposition"
	"github.com/promscope/promscope/bridge/scrape"
	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/bridge/store"
	"github.com/promscope/promscope/mapping"
	"github.com/promscope/promscope/mapping/document"
)

// origin is the time 0s of all tests.
func origin() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }

// play is one test in progress. It goes in the order of time, since the store keeps
// samples only for as long as the rules look back.
type play struct {
	*runner
	store     *store.Store
	evaluator *mapping.Evaluator
	events    []event
	broken    bool // the input is wrong: what the rules make of it says nothing
}

// event is what happens at one time of a test. It fails only if ctx ends.
type event struct {
	at time.Time
	do func(ctx context.Context, at time.Time) error
}

func (r *runner) runTest(ctx context.Context, node *yaml.Node) error {
	r.report.Tests++
	before := len(r.report.Problems)
	defer func() {
		if len(r.report.Problems) > before {
			r.report.Failed++
		}
	}()
	var raw rawTest
	if list := r.doc.Decode(node, &raw); len(list) > 0 {
		r.complain(list...)
		return nil
	}
	var selectors []store.Selector
	for _, s := range r.set.Selectors() {
		selectors = append(selectors, store.Selector(s))
	}
	st := store.New(store.NewSelection(selectors), store.Options{}, nil)
	p := &play{runner: r, store: st}
	p.evaluator = mapping.NewEvaluator(r.set, st.Live(), nil, nil, nil, r.limits.Evaluator())
	p.addSeries(node, raw.InputSeries)
	p.addExpositions(node, raw.Expositions)
	p.addExpectations(raw.Expect)
	// What is scraped at the time of an expectation is there for it.
	slices.SortStableFunc(p.events, func(a, b event) int { return a.at.Compare(b.at) })
	for i, e := range p.events {
		if err := e.do(ctx, e.at); err != nil {
			return err
		}
		if i+1 == len(p.events) || p.events[i+1].at.After(e.at) {
			p.follow(ctx, e.at)
		}
	}
	return ctx.Err()
}

// follow evaluates the rules whose results depend on those before, as if samples had come.
// What fails is complained of where something is expected.
func (p *play) follow(ctx context.Context, at time.Time) {
	for i, r := range p.set.Rules() {
		if r.Threshold > 0 && !p.broken {
			_, _ = p.evaluator.Evaluate(ctx, i, at)
		}
	}
}

// add adds an event at a time after the origin.
func (p *play) add(at time.Duration, do func(ctx context.Context, at time.Time) error) {
	p.events = append(p.events, event{origin().Add(at), do})
}

// refuse complains of an entry of the test's input.
func (p *play) refuse(test *yaml.Node, list string, entry int, err error) {
	p.complain(p.doc.Errorf(document.Resolve(document.Field(test, list)).Content[entry], "%v", err))
	p.broken = true
}

// addSeries adds series in the notation of Prometheus's unit tests for rules. One
// scrape an interval has the samples of all of them.
func (p *play) addSeries(test *yaml.Node, list []rawSeries) {
	type input struct {
		labels labels.Labels
		values []parser.SequenceValue
	}
	var inputs []input
	scrapes := 0
	for i, raw := range list {
		text := raw.Series + " " + raw.Values
		l, values, err := parser.NewParser(parser.Options{}).ParseSeriesDesc(text)
		if err != nil {
			p.refuse(test, "input_series", i, fmt.Errorf("parsing series %q: %w", text, err))
		}
		inputs = append(inputs, input{l, values})
		scrapes = max(scrapes, len(values))
	}
	for n := range scrapes {
		p.add(time.Duration(n)*p.interval, func(_ context.Context, at time.Time) error {
			batch := p.store.Batch()
			for _, in := range inputs {
				series, selected := p.store.Series(in.labels)
				if !selected || n >= len(in.values) {
					continue
				}
				switch v := in.values[n]; {
				case v.Omitted:
				case v.Histogram != nil:
					batch.AppendHistogram(series, at.UnixMilli(), v.Histogram)
				default:
					batch.Append(series, at.UnixMilli(), v.Value)
				}
			}
			batch.Commit(at, p.interval)
			return nil
		})
	}
}

// addExpositions adds scrapes of targets. A target is known by its labels. One that has
// a pid on this machine, outside of containers, speaks of this host.
func (p *play) addExpositions(test *yaml.Node, list []rawScrape) {
	job := job.DefaultConfig(job.DefaultGlobal())
	targets := map[string]*scrape.Replay{}
	last := map[string]time.Duration{}
	for i, raw := range list {
		mapping.AssumeHost(raw.Labels)
		l := labels.FromMap(raw.Labels)
		name, at := l.String(), time.Duration(raw.At)
		if targets[name] == nil {
			targets[name] = scrape.NewReplay(&job, l, mapping.TargetLabels(), p.store)
		} else if at <= last[name] {
			p.refuse(test, "expositions", i, errors.New("expositions of a target must be in ascending order of time"))
			continue
		}
		last[name] = at
		p.add(at, func(ctx context.Context, at time.Time) error {
			if _, err := targets[name].Scrape(ctx, at, strings.NewReader(raw.Text), exposition.MediaTypeOf([]byte(raw.Text))); err != nil {
				p.refuse(test, "expositions", i, fmt.Errorf("parsing exposition: %w", err))
			}
			return nil
		})
	}
}

func (p *play) addExpectations(list []yaml.Node) {
	for i := range list {
		node := document.Resolve(&list[i])
		var raw rawExpect
		if problems := p.doc.Decode(node, &raw); len(problems) > 0 {
			p.complain(problems...)
			continue
		}
		p.add(time.Duration(raw.At), func(ctx context.Context, at time.Time) error {
			if p.broken {
				return nil
			}
			return p.compare(ctx, at, p.evaluator, node, raw)
		})
	}
}
