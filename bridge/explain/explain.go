// Package explain says where a series comes from and goes to, what became of a rule,
// and what is behind the metrics of a node, or why something is not there. It answers
// from the running pipeline, from files, or by asking a running promscope.
package explain

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"

	"github.com/promscope/promscope/bridge/config"
	"github.com/promscope/promscope/bridge/scrape"
	"github.com/promscope/promscope/bridge/status"
	"github.com/promscope/promscope/bridge/store"
	"github.com/promscope/promscope/bridge/view"
	"github.com/promscope/promscope/mapping"
	"github.com/promscope/promscope/mapping/secret"
)

// What an explanation shows at most of each kind; a narrower question shows the
// rest.
const (
	explainedSeries   = 50
	explainedElements = 100
	explainedTargets  = 20
	explainedNodes    = 20 // also of the elements that one series is part of
	explainedDrops    = 20
)

// facts are what a question is answered from: a running pipeline, or a
// configuration with expositions out of files.
type facts struct {
	Set      *mapping.Set
	Rules    *mapping.Evaluator
	Kept     storage.Queryable // samples of the series that rules select
	HostName string
	Nodes    []view.Node // what the report says
	Models   []view.Rule // the set's rules as the pages show them
	Targets  []scrape.TargetStatus
	Now      time.Time
	Oldest   time.Duration // how far back samples are worth a look
	Limits   config.Limits
	Full     bool // the store keeps as many series as it may

	// Exposed returns the series that targets serve now, rules or not.
	Exposed func(ctx context.Context, matchers []*labels.Matcher) exposedAnswer

	// Absent says why a node is not reported; nil if the subject is no node.
	Absent func(ctx context.Context, subject string) *view.NodeExplanation

	// Listeners returns the listeners that a subject means; nil where none are looked for.
	Listeners func(subject string) []view.ListenerExplanation

	results map[int]*result // of rules, by index: one question asks for them often
}

// result is what an evaluation for an explanation gave.
type result struct {
	elements []mapping.Element
	err      error
}

// result evaluates a rule once more, or returns what that gave before.
func (f *facts) result(ctx context.Context, rule int) *result {
	if r := f.results[rule]; r != nil {
		return r
	}
	r := &result{}
	r.elements, r.err = f.Rules.Explain(ctx, rule, time.Time{})
	if f.results == nil {
		f.results = map[int]*result{}
	}
	f.results[rule] = r
	return r
}

// Explain answers a question. A subject may name a rule, a node and a metric at
// once.
func (f *facts) Explain(ctx context.Context, subject string) (view.Explanation, error) {
	e := view.Explanation{Subject: subject}
	for i := range f.Models {
		if f.names(&f.Models[i], subject) {
			e.Rules = append(e.Rules, f.explainRule(ctx, i))
		}
	}
	for i := range f.Nodes {
		n := &f.Nodes[i]
		switch {
		case !namesNode(n, subject):
		case len(e.Nodes) == explainedNodes:
			e.MoreNodes++
		default:
			e.Nodes = append(e.Nodes, f.explainNode(ctx, n))
		}
	}
	if len(e.Nodes) == 0 && f.Absent != nil {
		if n := f.Absent(ctx, subject); n != nil {
			e.Nodes = append(e.Nodes, *n)
		}
	}
	if f.Listeners != nil {
		e.Listeners = f.Listeners(subject)
	}
	matchers, err := parseSubject(subject)
	if err != nil {
		if e.Found() {
			return e, nil
		}
		return e, err
	}
	if matchers != nil {
		f.explainSeries(ctx, &e, matchers)
	}
	if !e.Found() {
		e.Hints = append(e.Hints, f.hints(ctx, subject, matchers, e.Partial)...)
	}
	return e, nil
}

// names tells whether the subject means the rule: by its name, its metric or what
// ${label} made of that, or its label.
func (f *facts) names(r *view.Rule, subject string) bool {
	if subject == r.Name || subject == r.Metric || strings.EqualFold(subject, r.Label) {
		return true
	}
	if !strings.Contains(r.Metric, "${") {
		return false
	}
	for i := range f.Nodes {
		for _, m := range f.Nodes[i].Metrics {
			if m.Rule == r.Name && (m.ID == subject || strings.EqualFold(m.Label, subject)) {
				return true
			}
		}
	}
	return false
}

// shortID is the length of the beginning of a container's id that docker shows.
const shortID = 12

func namesNode(n *view.Node, subject string) bool {
	switch {
	case subject == n.Key || subject == n.ID:
		return true
	case subject == "host":
		return n.Topology == string(mapping.Host)
	case n.Topology == string(mapping.Container):
		return len(subject) >= shortID && strings.HasPrefix(n.ID, subject)
	}
	return n.Name != "" && subject == n.Name
}

// parseSubject returns the matchers of a metric or selector; nil for a subject
// that cannot be one. An error is for what only can be meant as a selector.
func parseSubject(subject string) ([]*labels.Matcher, error) {
	if subject == "" {
		return nil, errors.New("nothing to explain: name a metric, a selector, a rule or a node")
	}
	matchers, err := parser.NewParser(parser.Options{}).ParseMetricSelector(subject)
	if err == nil {
		return matchers, nil
	}
	if strings.Contains(subject, "{") && !strings.Contains(subject, "${") {
		return nil, fmt.Errorf("selector %s: %w", subject, err)
	}
	return nil, nil
}

// explainSeries adds the series that the matchers select, in the store or at a
// target.
func (f *facts) explainSeries(ctx context.Context, e *view.Explanation, matchers []*labels.Matcher) {
	kept := store.Latest(ctx, f.Kept, matchers, f.Now.Add(-f.Oldest), f.Now)
	exposed := f.Exposed(ctx, matchers)
	e.Partial = exposed.partial
	all := mergeSeries(kept, exposed.series)
	for i, s := range all {
		if i == explainedSeries {
			e.More = len(all) - i
			break
		}
		x := f.explainOne(ctx, s)
		// A view model's number is finite: the last one of a series that is at
		// infinity is the largest there is. NaN has no such stand-in.
		if s.kept && !math.IsNaN(s.Value) {
			x.Last = &view.Sample{Time: s.At, Value: max(-math.MaxFloat64, min(s.Value, math.MaxFloat64))}
		}
		e.Series = append(e.Series, x)
	}
	// Whoever asked for a rule or a node does not care for targets.
	if len(all) > 0 || !e.Found() {
		e.Hints = append(e.Hints, exposed.problems...)
	}
}

// knownSeries is a series of which it is known whether it is kept.
type knownSeries struct {
	store.LatestSample
	kept bool
}

// mergeSeries puts what is kept and what is exposed together, sorted by labels.
func mergeSeries(kept, exposed []store.LatestSample) []knownSeries {
	all := make([]knownSeries, 0, len(kept)+len(exposed))
	for _, s := range kept {
		all = append(all, knownSeries{s, true})
	}
	for _, s := range exposed {
		all = append(all, knownSeries{s, false})
	}
	slices.SortStableFunc(all, func(a, b knownSeries) int { return labels.Compare(a.Labels, b.Labels) })
	return slices.CompactFunc(all, func(a, b knownSeries) bool { return labels.Equal(a.Labels, b.Labels) })
}

// explainOne tells where one series comes from and goes to.
func (f *facts) explainOne(ctx context.Context, series knownSeries) view.SeriesExplanation {
	x := view.SeriesExplanation{Labels: secret.Labels(series.Labels), Selected: []view.Selection{}}
	t := targetOf(series.Labels, f.Targets)
	if t != nil {
		ref := status.TargetRef(t)
		x.Target, x.Subject = &ref, t.SubjectNote
	}
	rules, statuses := f.Set.Rules(), f.Rules.Status()
	for _, v := range f.Set.Judge(series.Labels) {
		rule := rules[v.Rule]
		if x.Whose == "" && goesByTarget(rule, v) {
			x.Whose = whose(series.Labels, t)
		}
		if len(v.Refused) == 0 {
			s := view.Selection{Rule: rule.String(), Selector: status.SelectorText(v.Matchers), Nodes: []string{}}
			if err := statuses[v.Rule].Err; err != nil {
				s.Error = secret.Text(status.Cause(err).Error())
			} else if series.kept && !statuses[v.Rule].At.IsZero() {
				f.follow(ctx, &s, v.Rule, series.Labels)
			}
			x.Selected = append(x.Selected, s)
			continue
		}
		for _, m := range v.Refused {
			x.Refused = append(x.Refused, view.Refusal{
				Rule: rule.String(), Selector: status.SelectorText(v.Matchers), Matcher: m.String(), Value: secret.Label(m.Name, series.Labels.Get(m.Name)),
			})
		}
	}
	if !series.kept && len(x.Selected) > 0 {
		x.NotStored = f.notStored()
	}
	return x
}

// notStored says why a series that a target serves and a rule selects is not in the
// store.
func (f *facts) notStored() string {
	if f.Full {
		return fmt.Sprintf("limit: the store keeps as many series as limits.max_series = %d allows", f.Limits.MaxSeries)
	}
	return "no scrape has brought a sample of it that is recent enough"
}

// follow adds what became of the elements of a rule's result that a series is part of.
func (f *facts) follow(ctx context.Context, s *view.Selection, index int, series labels.Labels) {
	r := f.result(ctx, index)
	if r.err != nil {
		s.Error = secret.Text(status.Cause(r.err).Error())
		return
	}
	some, more := someOf(elementsOf(r.elements, series), explainedNodes)
	s.More = more
	for _, element := range some {
		e := f.element(index, element)
		s.Elements = append(s.Elements, e)
		if e.Node != "" && !slices.Contains(s.Nodes, e.Node) {
			s.Nodes = append(s.Nodes, e.Node)
		}
	}
}

// elementsOf returns the elements that a series is part of: all labels of theirs are
// the series's too. If there are none, the expression may have given them others: then
// those are, of which no label contradicts the series.
func elementsOf(elements []mapping.Element, series labels.Labels) []*mapping.Element {
	var own, maybe []*mapping.Element
	for i := range elements {
		element := &elements[i]
		strange, contrary := false, false
		element.Labels.Range(func(l labels.Label) {
			switch value := series.Get(l.Name); value {
			case l.Value:
			case "":
				strange = true
			default:
				contrary = true
			}
		})
		switch {
		case contrary:
		case strange:
			maybe = append(maybe, element)
		default:
			own = append(own, element)
		}
	}
	if len(own) == 0 {
		return maybe
	}
	return own
}

// someOf returns at most that many elements, and how many it left out. If it leaves
// some out, it returns both kinds, those on nodes first: what was dropped is the riddle.
func someOf(elements []*mapping.Element, most int) (some []*mapping.Element, more int) {
	more = len(elements) - most
	if more <= 0 {
		return elements, 0
	}
	var shown, dropped []*mapping.Element
	for _, e := range elements {
		if e.Dropped == "" {
			shown = append(shown, e)
		} else {
			dropped = append(dropped, e)
		}
	}
	n := min(len(dropped), max(most/2, most-len(shown)))
	return slices.Concat(shown[:most-n], dropped[:n]), more
}

// element is an element of a rule's result as the pages show it.
func (f *facts) element(index int, element *mapping.Element) view.Element {
	rule := f.Set.Rules()[index]
	e := view.Element{Labels: secret.Labels(element.Labels), Value: view.Float(element.Value), Dropped: element.Dropped}
	if element.Dropped != "" {
		e.Why = f.whyDropped(rule, element)
		return e
	}
	e.Node = rule.Topology.NodeKey(f.HostName, element.Point.ID)
	if strings.Contains(rule.Metric, "${") {
		e.Metric = element.Point.Template.ID
	}
	return e
}

// explainRule tells how a rule comes to its points.
func (f *facts) explainRule(ctx context.Context, index int) view.RuleExplanation {
	model := f.Models[index]
	x := view.RuleExplanation{Rule: model, Targets: []view.TargetRef{}, Results: []view.Element{}}
	x.Targets = append(x.Targets, f.feeders(ctx, index, nil)...)
	x.Hints = f.missing(ctx, index)
	if model.LastEvaluation.IsZero() {
		return x
	}
	r := f.result(ctx, index)
	if r.err != nil {
		if x.Error == "" {
			x.Error = secret.Text(r.err.Error())
		}
		return x
	}
	all := make([]*mapping.Element, len(r.elements))
	for i := range r.elements {
		all[i] = &r.elements[i]
	}
	some, more := someOf(all, explainedElements)
	x.More = more
	for _, element := range some {
		x.Results = append(x.Results, f.element(index, element))
	}
	return x
}

// feeders are the targets whose series a rule selects, those that are kept now.
// With a filter, only such series count.
func (f *facts) feeders(ctx context.Context, rule int, filter func(labels.Labels) bool) []view.TargetRef {
	seen := map[*scrape.TargetStatus]bool{}
	refs := []view.TargetRef{}
	for _, selector := range f.Set.Selectors() {
		if selector.Rule != rule {
			continue
		}
		for _, s := range store.Latest(ctx, f.Kept, selector.Matchers, f.Now.Add(-f.Oldest), f.Now) {
			if filter != nil && !filter(s.Labels) {
				continue
			}
			t := targetOf(s.Labels, f.Targets)
			if t == nil || seen[t] {
				continue
			}
			seen[t] = true
			if refs = append(refs, status.TargetRef(t)); len(refs) == explainedTargets {
				return refs
			}
		}
	}
	return refs
}

// explainNode tells what is behind a node's metrics, and which it lacks.
func (f *facts) explainNode(ctx context.Context, n *view.Node) view.NodeExplanation {
	id := n.ID
	if n.Topology == string(mapping.Host) {
		id = ""
	}
	x := view.NodeExplanation{Node: *n, Origins: []view.MetricOrigin{}, Drops: f.dropsOf(ctx, mapping.Topology(n.Topology), id)}
	add := func(metric, rule string) {
		origin := view.MetricOrigin{Metric: metric, Rule: rule, Targets: []view.TargetRef{}}
		if i := slices.IndexFunc(f.Models, func(r view.Rule) bool { return r.Name == rule }); i >= 0 {
			origin.Expr = f.Models[i].Expr
			origin.Targets = f.behind(ctx, i, id)
		}
		x.Origins = append(x.Origins, origin)
	}
	for _, m := range n.Metrics {
		add(m.ID, m.Rule)
	}
	for _, row := range n.Rows {
		add(row.ID, row.Rule)
	}
	return x
}

// behind are the targets behind a rule's value on one node: those whose series
// name the node, if any does, else all that feed the rule.
func (f *facts) behind(ctx context.Context, index int, id string) []view.TargetRef {
	if rule := f.Set.Rules()[index]; rule.NodeLabel != "" {
		refs := f.feeders(ctx, index, func(l labels.Labels) bool { return namesID(rule, l, id) })
		if len(refs) > 0 {
			return refs
		}
	}
	return f.feeders(ctx, index, nil)
}

// targetOf finds the target that a series comes from: the one whose labels the
// series has, or that at least has the same job and instance. Nil if there is none.
func targetOf(series labels.Labels, targets []scrape.TargetStatus) *scrape.TargetStatus {
	var found *scrape.TargetStatus
	best := -1
	for i := range targets {
		t := &targets[i]
		if t.Labels.Get(model.InstanceLabel) != series.Get(model.InstanceLabel) || t.Labels.Get(model.JobLabel) != series.Get(model.JobLabel) {
			continue
		}
		shared := 0
		t.Labels.Range(func(l labels.Label) {
			if series.Get(l.Name) == l.Value {
				shared++
			}
		})
		if shared > best {
			found, best = t, shared
		}
	}
	return found
}
