package mapping

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
)

// minIdle is how long a value of ${label} has to be gone at least before another
// one may take its place: well above the 15 s for which Scope shows what was there.
const minIdle = time.Minute

// challengeTime is how long a value of ${label} has to be greater than one that is shown
// before it takes its place: twice the 15 s for which Scope shows what was there.
const challengeTime = 30 * time.Second

// A valueMetric is the metric that a set of values of ${label} has.
type valueMetric struct {
	template Template
	index    int       // below room(); no other metric of the rule has it
	used     time.Time // when the value was last there
}

// admit gives values of ${label} that are new a metric of their own. Elements that were
// dropped do not count. The greatest come first. Where there is no room, a value takes the
// place of one that has been gone for long, or of the least one after it was greater for
// challengeTime. Until then a metric stays, so that Scope does not see a template come and
// go.
func (m *mapper) admit(vector promql.Vector, outcomes []outcome, at time.Time) {
	if m.metrics == nil {
		return
	}
	if released := m.names.releases(); m.clearedAt != released { // what another value had may be free
		clear(m.refused)
		m.clearedAt = released
	}
	if !m.use(vector, outcomes, at) {
		clear(m.challengers)
		return
	}
	ranked := m.rank(vector, outcomes)
	for place, v := range ranked {
		if m.metrics[v.key] != nil {
			continue
		}
		leaves := ""
		if m.full() {
			if leaves = m.idle(at); leaves == "" {
				leaves = m.beaten(v.key, ranked, place, at)
			}
			if leaves == "" {
				continue
			}
		}
		index := m.freeIndex()
		if leaves != "" {
			index = m.metrics[leaves].index
		}
		t := m.instance(v.element, index)
		if reason := m.names.claim(m.rule.Topology, &t); reason != "" {
			m.refuse(v.key, reason)
			continue
		}
		if leaves != "" {
			m.names.release(m.rule.Topology, &m.metrics[leaves].template)
			delete(m.metrics, leaves)
		}
		m.metrics[v.key] = &valueMetric{template: t, index: index, used: at}
	}
	m.endChallenges(ranked)
}

// use notes which values are there, and reports whether one has no metric that
// could have one.
func (m *mapper) use(vector promql.Vector, outcomes []outcome, at time.Time) (unknown bool) {
	for i := range vector {
		key, ok := m.metricKey(vector[i].Metric)
		if !ok || outcomes[i].reason != "" {
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

// A rankedValue is a value of ${label} that has a metric, or may have one.
type rankedValue struct {
	key     string
	element labels.Labels // one of those that have the value
	value   float64       // the greatest of them, or the least for a rule with bottom
}

// rank returns the values of ${label} in the order in which they get a metric. Equal
// ones are in the order of their names, since elements come in none.
func (m *mapper) rank(vector promql.Vector, outcomes []outcome) []rankedValue {
	order := func(a, b float64) int { return cmp.Compare(b, a) }
	if m.rule.Bottom > 0 {
		order = cmp.Compare[float64]
	}
	best := map[string]rankedValue{}
	for i := range vector {
		key, ok := m.metricKey(vector[i].Metric)
		if !ok || outcomes[i].reason != "" || m.refused[string(key)] != "" {
			continue
		}
		v, known := best[string(key)]
		if !known || order(vector[i].F, v.value) < 0 {
			k := string(key)
			best[k] = rankedValue{k, vector[i].Metric, vector[i].F}
		}
	}
	return slices.SortedFunc(maps.Values(best), func(a, b rankedValue) int {
		return cmp.Or(order(a.value, b.value), m.compareNames(a.element, b.element))
	})
}

// compareNames orders the values of the ${label}s of two elements. Their keys have another
// order, since what ends a value there comes after all letters.
func (m *mapper) compareNames(a, b labels.Labels) int {
	for _, name := range m.rule.metric.names {
		if c := strings.Compare(a.Get(name), b.Get(name)); c != 0 {
			return c
		}
	}
	return 0
}

// room is how many values of ${label} have a metric at a time.
func (m *mapper) room() int {
	if n := m.rule.Top + m.rule.Bottom; n > 0 {
		return min(n, m.limits.MaxMetricsPerRule)
	}
	return m.limits.MaxMetricsPerRule
}

func (m *mapper) full() bool { return len(m.metrics) >= m.room() }

// idle returns the value that has been gone for longest, if that is long enough for
// another to take its place, else "". A rule that is seldom evaluated may miss one
// for as long as a sample stands for its series.
func (m *mapper) idle(at time.Time) string {
	longest := ""
	for key, own := range m.metrics {
		if own.used.After(at) { // the clock was set back
			own.used = at
		}
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

// beaten returns the value whose place the challenger takes: the last one in the order
// that has a metric, once the challenger has come before it for challengeTime without a
// break. Else it returns "".
func (m *mapper) beaten(challenger string, ranked []rankedValue, place int, at time.Time) string {
	last := ""
	for _, v := range ranked[place+1:] {
		if m.metrics[v.key] != nil && v.value != ranked[place].value {
			last = v.key
		}
	}
	if last == "" {
		delete(m.challengers, challenger)
		return ""
	}
	since, found := m.challengers[challenger]
	if !found {
		if len(m.challengers) < m.room() {
			m.challengers[challenger] = at
		}
		return ""
	}
	if since.After(at) { // the clock was set back
		m.challengers[challenger] = at
		return ""
	}
	if at.Sub(since) < challengeTime {
		return ""
	}
	delete(m.challengers, challenger)
	return last
}

// endChallenges forgets the challengers that are not there.
func (m *mapper) endChallenges(ranked []rankedValue) {
	maps.DeleteFunc(m.challengers, func(key string, _ time.Time) bool {
		return m.metrics[key] != nil || !slices.ContainsFunc(ranked, func(v rankedValue) bool { return v.key == key })
	})
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
		Default:  r.Default,
		General:  r.General,
		Priority: m.priority(index),
	}
}

// freeIndex returns the first index that no metric has.
func (m *mapper) freeIndex() int {
	taken := make(map[int]bool, len(m.metrics))
	for _, own := range m.metrics {
		taken[own.index] = true
	}
	for i := 0; ; i++ {
		if !taken[i] {
			return i
		}
	}
}

// priority is that of the index-th set of values of ${label}.
func (m *mapper) priority(index int) float64 {
	return m.rule.Priority + priorityStep*float64(index)/float64(m.limits.MaxMetricsPerRule)
}
