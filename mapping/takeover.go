package mapping

import "time"

// Same returns, for each rule that is in the other set too and means the same there, its
// index here by its index there. Priorities and positions may differ.
func (s *Set) Same(other *Set) map[int]int {
	same := map[int]int{}
	byName := map[string]int{}
	for i, r := range s.rules {
		byName[r.String()] = i
	}
	for i, r := range other.rules {
		if j, found := byName[r.String()]; found && s.rules[j].means(r) {
			same[i] = j
		}
	}
	return same
}

// means tells whether two rules put the same values onto the same nodes.
func (r *Rule) means(o *Rule) bool {
	type meaning struct {
		metric, label, text, regex, query, nodeLabel string
		format                                       Format
		max, threshold                               float64
		top, bottom                                  int
		row                                          bool
		topology                                     Topology
		interval                                     time.Duration
	}
	of := func(r *Rule) meaning {
		return meaning{
			metric: r.Metric, label: r.Label, text: r.Text(), query: r.Query,
			nodeLabel: r.NodeLabel, regex: r.NodeRegex(), topology: r.Topology,
			format: r.Format, max: r.Max, threshold: r.Threshold, top: r.Top, bottom: r.Bottom, row: r.Row, interval: r.Interval,
		}
	}
	return of(r) == of(o)
}

// TakeOver goes on where the evaluator of another set has ended, for the rules that are
// the same: values of ${label} keep their metrics. same is from Set.Same.
func (e *Evaluator) TakeOver(old *Evaluator, same map[int]int) {
	for i, j := range same {
		from, to := old.rules[i], e.rules[j]
		from.mu.Lock()
		to.mu.Lock()
		to.mapper.takeOver(from.mapper)
		to.mu.Unlock()
		from.mu.Unlock()
		to.status.Store(from.status.Load())
	}
}

// Templates returns the templates of the values of ${label} that have one.
func (e *Evaluator) Templates() map[Topology][]Template {
	templates := map[Topology][]Template{}
	for _, state := range e.rules {
		state.mu.Lock()
		for _, own := range state.mapper.metrics {
			templates[state.rule.Topology] = append(templates[state.rule.Topology], own.template)
		}
		state.mu.Unlock()
	}
	return templates
}

// takeOver takes what another mapper knows of nodes' values, and the metrics of its values
// of ${label}, as far as their ids and labels are free.
func (m *mapper) takeOver(old *mapper) {
	m.levels = old.copyLevels()
	for key, own := range old.metrics {
		if own.index >= m.room() {
			continue
		}
		t := own.template
		t.Priority, t.Default, t.General = m.priority(own.index), m.rule.Default, m.rule.General
		if m.names.claim(m.rule.Topology, &t) == "" {
			m.metrics[key] = &valueMetric{template: t, index: own.index, used: own.used}
		}
	}
}
