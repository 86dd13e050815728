package mapping

import (
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
)

// A Point is one metric of one node at one time.
type Point struct {
	Topology Topology
	ID       string // pid, container id or pod UID; "" for the host
	Template Template
	Value    float64 // finite, within ±MaxValue
	Max      float64 // what fills the node; 0 if not known: take the largest value seen
}

// Result is what a rule's evaluation gave.
type Result struct {
	Rule    int            // index in the set's rules
	At      time.Time      // the time it was evaluated for, which is its samples' timestamp
	Points  []Point        // at most one for each node and template
	Dropped map[string]int // elements that became no point, by reason
}

// Reasons for which an element of a rule's result becomes no point, as in
// Result.Dropped and the label reason of promscope_rule_elements_dropped_total.
const (
	DropValue          = "value"           // NaN, infinite or beyond ±MaxValue
	DropHistogram      = "histogram"       // a native histogram where a number is needed
	DropNoLabel        = "no_label"        // the node's label, or a ${label}, is not there
	DropNoMatch        = "no_match"        // the regex does not match the node's label
	DropBadID          = "bad_id"          // what the label holds is no pid, container id or pod UID
	DropDead           = "dead"            // the node does not exist (any more)
	DropDuplicate      = "duplicate"       // another element has the same node and metric
	DropIDCollision    = "id_collision"    // another value or rule made the same metric id
	DropLabelCollision = "label_collision" // another metric of the topology has the same label
	DropMetricLimit    = "metric_limit"    // more values of ${label} at a time than MaxMetricsPerRule
	DropNodeLimit      = "node_limit"      // more nodes than MaxNodes
)

// MaxValue bounds values. Scope prints numbers through a 64-bit integer of
// hundredths; beyond ±9.2e16 it shows garbage.
const MaxValue = 9e16

// minIdle is how long a value of ${label} has to be gone at least before another
// one may take its place: well above the 15 s for which Scope shows what was there.
const minIdle = time.Minute

// A mapper maps the elements of one rule's results to points. What it remembers
// between evaluations: ids that a regex found, and the metrics of ${label}.
type mapper struct {
	rule      *Rule
	nodes     Nodes
	names     *namespace
	limits    EvaluatorOptions
	static    Template                // of a rule without ${label}
	metrics   map[string]*valueMetric // of a rule with, by the labels' values; none if refused
	refused   map[string]string       // and why, with the same keys
	clearedAt int                     // names.released when refused was last cleared
	ids       map[string]string       // regex results by label value; "" for no match

	// Scratch space: the point of a node and metric, the element of a point, and a
	// key of metrics.
	seen     map[pointKey]int
	elements []int
	key      []byte
}

// A valueMetric is the metric that a set of values of ${label} has.
type valueMetric struct {
	template Template
	index    int       // below MaxMetricsPerRule; no other metric of the rule has it
	used     time.Time // when the value was last there
}

type pointKey struct {
	id       string
	template *Template
}

func newMapper(r *Rule, nodes Nodes, names *namespace, opts EvaluatorOptions) *mapper {
	m := &mapper{
		rule: r, nodes: nodes, names: names, limits: opts,
		static: r.template(),
		seen:   map[pointKey]int{},
	}
	if len(r.metric.names) > 0 {
		m.metrics, m.refused = map[string]*valueMetric{}, map[string]string{}
	}
	if r.Regex != nil {
		m.ids = map[string]string{}
	}
	return m
}

// copy returns a mapper that does with the next result what m would do, and leaves m
// and its namespace as they are. It is used once, so it does not need m's regex results.
func (m *mapper) copy() *mapper {
	if m.metrics == nil {
		return newMapper(m.rule, m.nodes, m.names, m.limits)
	}
	c := newMapper(m.rule, m.nodes, m.names.copy(), m.limits)
	for key, own := range m.metrics {
		metric := *own
		c.metrics[key] = &metric
	}
	maps.Copy(c.refused, m.refused)
	c.clearedAt = m.clearedAt
	return c
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
	m.admit(vector, at)
	clear(m.seen)
	m.elements = m.elements[:0]
	points := make([]Point, 0, len(vector))
	for i := range vector {
		id, template, reason := m.place(&vector[i], at)
		if reason != "" {
			outcomes[i] = outcome{reason: reason}
			continue
		}
		k := pointKey{id, template}
		if first, ok := m.seen[k]; ok {
			outcomes[i] = outcome{reason: DropDuplicate}
			// Which of several elements is shown must not change from one evaluation
			// to the next, and the engine promises no order: the least labels win.
			other := m.elements[first]
			if labels.Compare(vector[i].Metric, vector[other].Metric) < 0 {
				outcomes[i], outcomes[other] = outcomes[other], outcomes[i]
				points[first].Value, m.elements[first] = vector[i].F, i
			}
			continue
		}
		m.seen[k] = len(points)
		m.elements = append(m.elements, i)
		outcomes[i] = outcome{point: len(points)}
		points = append(points, Point{
			Topology: m.rule.Topology,
			ID:       id,
			Template: *template,
			Value:    vector[i].F,
			Max:      m.rule.Max,
		})
	}
	return m.limitNodes(points, outcomes)
}

// place finds the node and the metric of an element, or the reason why there is
// none. Aliveness comes last: it may be the dearest question.
func (m *mapper) place(s *promql.Sample, at time.Time) (id string, t *Template, reason string) {
	switch {
	case s.H != nil:
		return "", nil, DropHistogram
	case !(math.Abs(s.F) <= MaxValue): // NaN is not <= anything
		return "", nil, DropValue
	}
	if m.rule.NodeLabel != "" {
		if id, reason = m.nodeID(s.Metric.Get(m.rule.NodeLabel)); reason != "" {
			return "", nil, reason
		}
	}
	t = &m.static
	if m.metrics != nil {
		key, ok := m.metricKey(s.Metric)
		if !ok {
			return "", nil, DropNoLabel
		}
		own := m.metrics[string(key)]
		if own == nil {
			if reason = m.refused[string(key)]; reason == "" {
				reason = DropMetricLimit
			}
			return "", nil, reason
		}
		t = &own.template
	}
	if m.rule.Topology != Host && m.nodes != nil && !m.nodes.Alive(m.rule.Topology, id, at) {
		return "", nil, DropDead
	}
	return id, t, ""
}

// nodeID makes a node's id of its label's value.
func (m *mapper) nodeID(value string) (id, reason string) {
	if value == "" {
		return "", DropNoLabel
	}
	id = value
	if m.rule.Regex != nil {
		if id = m.match(value); id == "" {
			return "", DropNoMatch
		}
	}
	if !m.rule.Topology.validID(id) {
		return "", DropBadID
	}
	return id, ""
}

// match returns what the regex's first group finds in a value. Results are kept,
// as a regex over a cgroup path costs more than all else about an element.
func (m *mapper) match(value string) string {
	if id, ok := m.ids[value]; ok {
		return id
	}
	id := ""
	if groups := m.rule.Regex.FindStringSubmatch(value); groups != nil {
		id = groups[1]
	}
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

// admit gives values of ${label} that are new a metric of their own, as long as
// there is room, or a value that has been gone for long makes some. Until then a
// metric stays, so that Scope does not see a template come and go. New values are
// taken in order, since elements come in none.
func (m *mapper) admit(vector promql.Vector, at time.Time) {
	if m.metrics == nil {
		return
	}
	if released := m.names.releases(); m.clearedAt != released { // what another value had may be free
		clear(m.refused)
		m.clearedAt = released
	}
	if !m.use(vector, at) || m.full() && m.idle(at) == "" {
		return
	}
	var unknown []string
	examples := map[string]labels.Labels{}
	for i := range vector {
		key, ok := m.metricKey(vector[i].Metric)
		if !ok || m.metrics[string(key)] != nil || m.refused[string(key)] != "" {
			continue
		}
		if _, ok := examples[string(key)]; !ok {
			examples[string(key)] = vector[i].Metric
			unknown = append(unknown, string(key))
		}
	}
	slices.Sort(unknown)
	for _, key := range unknown {
		index, idle := len(m.metrics), ""
		if m.full() {
			if idle = m.idle(at); idle == "" {
				return
			}
			index = m.metrics[idle].index
		}
		t := m.instance(examples[key], index)
		if reason := m.names.claim(m.rule.Topology, &t); reason != "" {
			m.refuse(key, reason)
			continue
		}
		if idle != "" {
			m.names.release(m.rule.Topology, &m.metrics[idle].template)
			delete(m.metrics, idle)
		}
		m.metrics[key] = &valueMetric{template: t, index: index, used: at}
	}
}

// use notes which values are there, and reports whether one has no metric that
// could have one.
func (m *mapper) use(vector promql.Vector, at time.Time) (unknown bool) {
	for i := range vector {
		key, ok := m.metricKey(vector[i].Metric)
		if !ok {
			continue
		}
		if own := m.metrics[string(key)]; own != nil {
			own.used = at
		} else if m.refused[string(key)] == "" {
			unknown = true
		}
	}
	return unknown
}

func (m *mapper) full() bool { return len(m.metrics) >= m.limits.MaxMetricsPerRule }

// idle returns the value that has been gone for longest, if that is long enough for
// another to take its place, else "". A rule that is seldom evaluated may miss one
// for as long as a sample stands for its series.
func (m *mapper) idle(at time.Time) string {
	longest := ""
	for key, own := range m.metrics {
		if at.Sub(own.used) <= max(minIdle, m.rule.Lookback()) {
			continue
		}
		if longest != "" {
			if c := own.used.Compare(m.metrics[longest].used); c > 0 || c == 0 && key > longest {
				continue
			}
		}
		longest = key
	}
	return longest
}

// refuse remembers why a value has no metric. Collisions last, but the memory of
// them is bounded like everything that values can make grow.
func (m *mapper) refuse(key, reason string) {
	if len(m.refused) >= m.limits.MaxMetricsPerRule {
		clear(m.refused)
	}
	m.refused[key] = reason
}

// instance makes the template of the index-th set of values. All share the
// rule's step of priorities.
func (m *mapper) instance(l labels.Labels, index int) Template {
	r := m.rule
	return Template{
		ID:       r.metric.expand(l, idPart),
		Label:    strings.TrimSpace(r.label.expand(l, labelPart)),
		Format:   r.Format,
		Priority: r.Priority + priorityStep*float64(index)/float64(m.limits.MaxMetricsPerRule),
	}
}

// limitNodes drops the points of nodes beyond the limit. Which ones stay must
// not change from one evaluation to the next, so it goes by id.
func (m *mapper) limitNodes(points []Point, outcomes []outcome) ([]Point, []outcome) {
	if len(points) <= m.limits.MaxNodes {
		return points, outcomes
	}
	ids := map[string]bool{}
	for i := range points {
		ids[points[i].ID] = true
	}
	if len(ids) <= m.limits.MaxNodes {
		return points, outcomes
	}
	sorted := make([]string, 0, len(ids))
	for id := range ids {
		sorted = append(sorted, id)
	}
	slices.Sort(sorted)
	for _, id := range sorted[m.limits.MaxNodes:] {
		ids[id] = false
	}
	kept := make([]Point, 0, len(points))
	moved := make([]int, len(points)) // new index, or -1
	for i := range points {
		moved[i] = -1
		if ids[points[i].ID] {
			moved[i] = len(kept)
			kept = append(kept, points[i])
		}
	}
	for i := range outcomes {
		if outcomes[i].reason != "" {
			continue
		}
		if outcomes[i].point = moved[outcomes[i].point]; outcomes[i].point < 0 {
			outcomes[i] = outcome{reason: DropNodeLimit}
		}
	}
	return kept, outcomes
}

// A namespace knows the ids and labels that metrics have on each topology, so
// that those of ${label} rules, which only data tells, collide with none. It is safe for
// concurrent use.
type namespace struct {
	mu          sync.Mutex
	ids, labels map[key]bool // the taken ones
	released    int          // how many templates were given back
}

func newNamespace(rules []*Rule) *namespace {
	n := &namespace{ids: map[key]bool{}, labels: map[key]bool{}}
	for _, t := range Topologies() {
		for _, own := range t.builtins() {
			n.ids[key{t, own.id}], n.labels[key{t, own.label}] = true, true
		}
	}
	for _, r := range rules {
		if len(r.metric.names) == 0 {
			n.ids[key{r.Topology, r.Metric}], n.labels[key{r.Topology, r.Label}] = true, true
		}
	}
	return n
}

func (n *namespace) copy() *namespace {
	n.mu.Lock()
	defer n.mu.Unlock()
	return &namespace{ids: maps.Clone(n.ids), labels: maps.Clone(n.labels), released: n.released}
}

// claim takes a template's id and label, or returns the reason why it cannot.
func (n *namespace) claim(topology Topology, t *Template) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	id, label := key{topology, t.ID}, key{topology, t.Label}
	switch {
	case n.ids[id]:
		return DropIDCollision
	case n.labels[label]:
		return DropLabelCollision
	}
	n.ids[id], n.labels[label] = true, true
	return ""
}

// release gives a template's id and label back.
func (n *namespace) release(topology Topology, t *Template) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.ids, key{topology, t.ID})
	delete(n.labels, key{topology, t.Label})
	n.released++
}

// releases returns how many templates were given back so far.
func (n *namespace) releases() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.released
}
