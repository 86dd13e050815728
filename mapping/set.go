package mapping

import (
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/mapping/document"
)

const (
	// firstPriority is where the metrics of rules begin unless they say otherwise:
	// behind CPU and memory, which Scope's own metrics have at 1 and 2, and within
	// the first three, which are all that the details panel shows.
	firstPriority = 2.5

	// priorityStep lies between rules. The metrics of one ${label} rule share a step.
	priorityStep = 0.0001

	// shownMetrics is how many metrics the details panel shows before "+N".
	shownMetrics = 3
)

// A Set is a number of rules that get along with each other. It is not changed
// after NewSet, and safe for concurrent use.
type Set struct {
	rules     []*Rule
	selectors []Selector
	templates map[Topology][]Template
}

// A Selector is a demand of a rule on the store: the series that the matchers
// select, for as long as the window.
type Selector struct {
	Rule     int // index in the set's rules
	Matchers []*labels.Matcher
	Window   time.Duration // range, offset, subqueries and lookback
}

// NewSet puts rules together, those of the configuration before those of presets
// and otherwise in the given order. A rule of the configuration takes the place of
// a preset's with the same metric, or the same label, in the same topology. Other
// collisions of metric, label or priority within a topology are errors; the list
// holds warnings too. The set is nil if there are errors.
func NewSet(rules []*Rule) (*Set, document.List) {
	b := setBuilder{
		byMetric: map[key]*Rule{},
		byLabel:  map[key]*Rule{},
	}
	for _, preset := range []bool{false, true} {
		for _, r := range rules {
			if (r.Preset != "") == preset {
				b.add(r)
			}
		}
	}
	b.findLabelsThatMeet()
	b.prioritise()
	b.findHidden()
	if len(b.list.Errors()) > 0 {
		return nil, b.list
	}
	s := &Set{rules: b.rules, templates: map[Topology][]Template{}}
	for i, r := range s.rules {
		s.selectors = append(s.selectors, selectorsOf(i, r)...)
		if len(r.metric.names) == 0 {
			s.templates[r.Topology] = append(s.templates[r.Topology], r.template())
		}
	}
	return s, b.list
}

// Rules returns the rules in their order. Rule indices of selectors, results and
// statuses count them. The slice must not be changed.
func (s *Set) Rules() []*Rule { return s.rules }

// Selectors returns what has to be kept of which series.
func (s *Set) Selectors() []Selector { return slices.Clone(s.selectors) }

// Templates returns the templates of all rules without ${label}, which a report
// carries from the start. Those of the others come with the points.
func (s *Set) Templates() map[Topology][]Template {
	templates := make(map[Topology][]Template, len(s.templates))
	for t, list := range s.templates {
		templates[t] = slices.Clone(list)
	}
	return templates
}

// template is the template of a rule without ${label}.
func (r *Rule) template() Template {
	return Template{ID: r.Metric, Label: r.Label, Format: r.Format, Priority: r.Priority, Row: r.Row, Default: r.Default, General: r.General}
}

// selectorsOf returns a rule's selectors, those with equal matchers once.
func selectorsOf(index int, r *Rule) []Selector {
	var selectors []Selector
	known := map[string]int{}
	for _, s := range r.expression.selectors {
		text := fmt.Sprint(s.node.LabelMatchers)
		window := s.window + r.Lookback()
		if i, ok := known[text]; ok {
			selectors[i].Window = max(selectors[i].Window, window)
			continue
		}
		known[text] = len(selectors)
		selectors = append(selectors, Selector{Rule: index, Matchers: s.node.LabelMatchers, Window: window})
	}
	return selectors
}

// A key is what must be unique in a topology: a metric, or a label.
type key struct {
	topology Topology
	text     string
}

// A setBuilder collects rules and complaints.
type setBuilder struct {
	rules    []*Rule
	byMetric map[key]*Rule
	byLabel  map[key]*Rule
	list     document.List
}

// add appends a copy of the rule, unless it collides.
func (b *setBuilder) add(r *Rule) {
	metric, label := key{r.Topology, r.Metric}, key{r.Topology, r.Label}
	if other := b.byMetric[metric]; other != nil {
		if r.Preset == "" || other.Preset != "" {
			b.list = append(b.list, r.errorf(r.metricAt, "metric %q is on the %s already", r.Metric, r.Topology.keyword()).
				WithHint("the other rule is at %s", other.Position))
		}
		return
	}
	if other := b.byLabel[label]; other != nil {
		b.collideLabels(r, other)
		return
	}
	for _, own := range r.Topology.builtins() {
		switch {
		case own.id == r.Metric:
			b.list = append(b.list, r.errorf(r.metricAt, "metric %q is one of Scope's own on the %s", r.Metric, r.Topology.keyword()).
				WithHint("the samples of both would be mixed: give it a prefix"))
			return
		case own.label == r.Label:
			b.list = append(b.list, r.errorf(r.labelAt, "label %q is one of Scope's own on the %s", r.Label, r.Topology.keyword()).
				WithHint("Scope tells metrics apart by their labels"))
			return
		}
	}
	b.byMetric[metric], b.byLabel[label] = r, r
	c := *r
	b.rules = append(b.rules, &c)
}

// collideLabels refuses a rule whose label is taken; a preset yields to the
// configuration, which gets to know of it.
func (b *setBuilder) collideLabels(r, other *Rule) {
	if r.Preset == "" || other.Preset != "" {
		b.list = append(b.list, r.errorf(r.labelAt, "label %q is on the %s already", r.Label, r.Topology.keyword()).
			WithHint("Scope tells metrics apart by their labels; the other rule is at %s", other.Position))
		return
	}
	b.list = append(b.list, other.doc.Warnf(other.labelAt, "label %q is also that of metric %q of the preset %s, which is left out",
		r.Label, r.Metric, r.Preset).
		WithHint("name it %q to replace the preset's metric, or give yours another label", r.Metric))
}

// findLabelsThatMeet warns of rules of the configuration whose ${label} can make
// the label that a preset's metric has. It is not known before the data, and then
// the metric that was there first stays.
func (b *setBuilder) findLabelsThatMeet() {
	for _, r := range b.rules {
		if r.Preset != "" || len(r.label.names) == 0 {
			continue
		}
		i := slices.IndexFunc(b.rules, func(other *Rule) bool {
			return other.Preset != "" && other.Topology == r.Topology && len(other.label.names) == 0 && r.label.canBe(other.Label)
		})
		if i < 0 {
			continue
		}
		other := b.rules[i]
		b.list = append(b.list, r.doc.Warnf(r.labelAt, "label %q can become %q, which metric %q of the preset %s has: where it does, it is not shown",
			r.Label, other.Label, other.Metric, other.Preset).
			WithHint("Scope tells metrics apart by their labels: word it differently, or leave the preset out of presets"))
	}
}

// A slot is a stretch of priorities that is taken in a topology.
type slot struct {
	from, to float64 // to is not part of it, unless both are equal
	by       string
}

func (s slot) overlaps(o slot) bool {
	return s.from == o.from || s.from < o.to && o.from < s.to
}

// slotOf returns what a rule takes at a priority: one number, or a step if it may
// have several metrics.
func slotOf(r *Rule, priority float64) slot {
	s := slot{from: priority, to: priority, by: fmt.Sprintf("metric %q at %s", r.Metric, r.Position)}
	if len(r.metric.names) > 0 {
		s.to += priorityStep
	}
	return s
}

// prioritise checks the priorities that were asked for and assigns the others.
// Scope shows metrics of equal priority in an order that changes all the time.
func (b *setBuilder) prioritise() {
	for _, t := range Topologies() {
		var taken []slot
		for _, own := range t.builtins() {
			taken = append(taken, slot{own.priority, own.priority, fmt.Sprintf("Scope's own %q", own.label)})
		}
		colliding := func(s slot) int { return slices.IndexFunc(taken, s.overlaps) }
		for _, r := range b.rules {
			if r.Topology != t || r.priority == nil {
				continue
			}
			s := slotOf(r, *r.priority)
			if i := colliding(s); i >= 0 {
				b.list = append(b.list, r.errorf(r.priorityAt, "priority %v is taken on the %s", *r.priority, t.keyword()).
					WithHint("by %s", taken[i].by))
				continue
			}
			taken = append(taken, s)
		}
		index := 0
		for _, r := range b.rules {
			if r.Topology != t || r.priority != nil {
				continue
			}
			for {
				r.Priority = firstPriority + priorityStep*float64(index)
				index++
				if colliding(slotOf(r, r.Priority)) < 0 {
					break
				}
			}
		}
	}
}

// findHidden remarks on metrics that the details panel does not show at once on a node
// that has all of its topology's, but not on those of presets.
func (b *setBuilder) findHidden() {
	for _, t := range Topologies() {
		type metric struct {
			priority float64
			rule     *Rule // nil for Scope's own
		}
		var metrics []metric
		for _, own := range t.builtins() {
			metrics = append(metrics, metric{own.priority, nil})
		}
		for _, r := range b.rules {
			if r.Topology == t && !r.Row {
				metrics = append(metrics, metric{r.Priority, r})
			}
		}
		sort.SliceStable(metrics, func(i, j int) bool { return metrics[i].priority < metrics[j].priority })
		if len(metrics) <= shownMetrics {
			continue
		}
		var hidden []*Rule
		for _, m := range metrics[shownMetrics:] {
			if m.rule != nil && m.rule.Preset == "" {
				hidden = append(hidden, m.rule)
			}
		}
		if len(hidden) == 0 {
			continue
		}
		first := hidden[0]
		message := fmt.Sprintf("metric %q hides behind \"+N\" on the %s, whose details panel shows the first %d", first.Metric, t.keyword(), shownMetrics)
		if more := len(hidden) - 1; more > 0 {
			message = fmt.Sprintf("metric %q and %d after it hide behind \"+N\" on the %s, whose details panel shows the first %d",
				first.Metric, more, t.keyword(), shownMetrics)
		}
		b.list = append(b.list, first.doc.Remarkf(first.metricAt, "%s", message).
			WithHint("lower priorities come first; by default rules come third, in their order"))
	}
}
