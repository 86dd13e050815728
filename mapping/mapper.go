package mapping

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
)

// A mapper maps the elements of one rule's results to points. What it remembers
// between evaluations: ids cut out of values, and the metrics of ${label}.
type mapper struct {
	rule      *Rule
	nodes     Nodes
	names     *namespace
	limits    EvaluatorOptions
	static    Template                // of a rule without ${label}
	metrics   map[string]*valueMetric // of a rule with, by the labels' values; none if refused
	refused   map[string]string       // and why, with the same keys
	clearedAt int                     // names.released when refused was last cleared
	ids       map[string]string       // ids cut out of values, by value; "" for none

	// challengers are values without a metric, and since when each is greater than one
	// that has a metric.
	challengers map[string]time.Time

	levels map[string]*level // by node, of a rule with a threshold

	// Scratch space: the places of elements, the element that has a place, all elements of
	// a place that has several, and a key of metrics.
	placed []place
	seen   map[place]int
	rivals map[place][]int
	key    []byte
}

// A place is where a value can be: the metric of a node.
type place struct {
	id       string // of the node, as in Point
	template *Template
}

func newMapper(r *Rule, nodes Nodes, names *namespace, opts EvaluatorOptions) *mapper {
	m := &mapper{
		rule: r, nodes: nodes, names: names, limits: opts,
		static: r.template(),
		seen:   map[place]int{},
		rivals: map[place][]int{},
		ids:    map[string]string{},
		levels: map[string]*level{},
	}
	if len(r.metric.names) > 0 {
		m.metrics, m.refused = map[string]*valueMetric{}, map[string]string{}
		m.challengers = map[string]time.Time{}
	}
	return m
}

// copy returns a mapper that does with the next result what m would do, and leaves m
// and its namespace as they are. It is used once, so it does not need m's ids.
func (m *mapper) copy() *mapper {
	names := m.names
	if m.metrics != nil {
		names = names.copy()
	}
	c := newMapper(m.rule, m.nodes, names, m.limits)
	c.levels = m.copyLevels()
	if m.metrics == nil {
		return c
	}
	for key, own := range m.metrics {
		metric := *own
		c.metrics[key] = &metric
	}
	maps.Copy(c.refused, m.refused)
	maps.Copy(c.challengers, m.challengers)
	c.clearedAt = m.clearedAt
	return c
}

func (m *mapper) copyLevels() map[string]*level {
	levels := make(map[string]*level, len(m.levels))
	for id, l := range m.levels {
		known := *l
		levels[id] = &known
	}
	return levels
}

// An outcome is what became of an element of a result.
type outcome struct {
	point  int    // index in the points, if not dropped
	reason string // why it was dropped, else ""
}

// points maps a result's elements. It returns the points, and the outcome of each
// element.
func (m *mapper) points(vector promql.Vector, at time.Time) ([]Point, []outcome) {
	outcomes := make([]outcome, len(vector))
	m.placed = slices.Grow(m.placed[:0], len(vector))[:len(vector)]
	for i := range vector {
		id, reason := m.node(&vector[i], at)
		m.placed[i], outcomes[i].reason = place{id: id}, reason
	}
	m.admit(vector, outcomes, at)
	clear(m.seen)
	clear(m.rivals)
	for i := range vector {
		if outcomes[i].reason != "" {
			continue
		}
		p := m.placed[i]
		if p.template, outcomes[i].reason = m.template(vector[i].Metric); p.template == nil {
			continue
		}
		m.placed[i] = p
		other, taken := m.seen[p]
		switch {
		case !taken:
			m.seen[p] = i
		case m.rivals[p] == nil:
			m.rivals[p] = []int{other, i}
		default:
			m.rivals[p] = append(m.rivals[p], i)
		}
	}
	m.settle(vector, outcomes)
	m.applyThreshold(vector, outcomes, at)
	m.limitNodes(outcomes)
	points := make([]Point, 0, len(m.seen))
	for i := range vector {
		if outcomes[i].reason != "" {
			continue
		}
		if first := m.seen[m.placed[i]]; first != i { // it is part of that one's text
			outcomes[i] = outcomes[first]
			continue
		}
		outcomes[i].point = len(points)
		points = append(points, Point{
			Topology: m.rule.Topology,
			ID:       m.placed[i].id,
			Template: *m.placed[i].template,
			Value:    vector[i].F,
			Max:      m.rule.Max,
			Text:     m.rowText(vector, outcomes, i),
		})
	}
	return points, outcomes
}

// limitNodes drops the elements of nodes beyond the limit. Which nodes stay must not
// change from one evaluation to the next, so it goes by id.
func (m *mapper) limitNodes(outcomes []outcome) {
	if len(m.seen) <= m.limits.MaxNodes {
		return
	}
	ids := map[string]bool{}
	for p := range m.seen {
		ids[p.id] = true
	}
	if len(ids) <= m.limits.MaxNodes {
		return
	}
	first := slices.Sorted(maps.Keys(ids))[m.limits.MaxNodes]
	for p, i := range m.seen {
		if p.id >= first {
			outcomes[i].reason = DropNodeLimit
		}
	}
}

// node finds the node of an element, or the reason why there is none. Aliveness comes
// last: it may be the dearest question.
func (m *mapper) node(s *promql.Sample, at time.Time) (id, reason string) {
	switch {
	case s.H != nil:
		return "", DropHistogram
	case m.rule.Row:
		if m.text(s.Metric) == "" {
			return "", DropNoLabel
		}
	case !(math.Abs(s.F) <= MaxValue): // NaN is not <= anything
		return "", DropValue
	}
	if m.rule.NodeLabel != "" {
		if id, reason = m.nodeID(s.Metric.Get(m.rule.NodeLabel)); reason != "" {
			return "", reason
		}
	}
	if m.rule.Topology != Host && m.nodes != nil && !m.nodes.Alive(m.rule.Topology, id, at) {
		return "", DropDead
	}
	return id, ""
}

// template finds the template of an element that has a node, or the reason why there is
// none.
func (m *mapper) template(l labels.Labels) (t *Template, reason string) {
	if m.metrics == nil {
		return &m.static, ""
	}
	key, ok := m.metricKey(l)
	if !ok {
		return nil, DropNoLabel
	}
	own := m.metrics[string(key)]
	if own == nil {
		return nil, cmp.Or(m.refused[string(key)], DropMetricLimit)
	}
	return &own.template, ""
}

// nodeID makes a node's id of its label's value.
func (m *mapper) nodeID(value string) (id, reason string) {
	if value == "" {
		return "", DropNoLabel
	}
	id = value
	if m.rule.cuts(value) {
		if id = m.cut(value); id == "" {
			return "", DropNoMatch
		}
	}
	if !m.rule.Topology.validID(id) {
		return "", DropBadID
	}
	return id, ""
}

// cut returns the id in a value. Results are kept, as a regex over a cgroup path costs
// more than all else about an element.
func (m *mapper) cut(value string) string {
	if id, ok := m.ids[value]; ok {
		return id
	}
	id := m.rule.NodeID(value)
	if len(m.ids) >= 2*m.limits.MaxNodes {
		clear(m.ids) // values come and go; those in use are found again at once
	}
	m.ids[value] = id
	return id
}

// metricKey joins the values of the ${label}s, in scratch space. It is false if
// one is missing.
func (m *mapper) metricKey(l labels.Labels) ([]byte, bool) {
	m.key = m.key[:0]
	for _, name := range m.rule.metric.names {
		value := l.Get(name)
		if value == "" {
			return nil, false
		}
		m.key = append(append(m.key, value...), 0xff) // no byte of UTF-8
	}
	return m.key, true
}
