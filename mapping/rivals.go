package mapping

import (
	"slices"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
)

// settle decides which of several elements has a place. Without a reason that can be
// named none has it: the order of labels is no reason, since who runs a second exporter
// would then change what the first one shows. A row has room for all of them.
func (m *mapper) settle(vector promql.Vector, outcomes []outcome) {
	for p, rivals := range m.rivals {
		candidates := ofTheHost(vector, rivals)
		winner, found := choose(vector, candidates)
		for _, i := range rivals {
			switch {
			case found && i != winner, m.rule.Row && !slices.Contains(candidates, i):
				outcomes[i].reason = DropDuplicate
			case !found && !m.rule.Row:
				outcomes[i].reason = DropAmbiguous
			}
		}
		switch {
		case found:
			m.seen[p] = winner
		case m.rule.Row:
			m.seen[p] = candidates[0]
		default:
			delete(m.seen, p)
		}
	}
}

// ofTheHost returns the elements that a process of the host says, if there are some, since
// these count before what one in a container says. A target of which no process is known
// is neither: it may be another machine's.
func ofTheHost(vector promql.Vector, rivals []int) []int {
	inContainer := func(i int) bool { return vector[i].Metric.Has(LabelContainer) }
	unknown := func(i int) bool { return !vector[i].Metric.Has(LabelPID) }
	own := slices.DeleteFunc(slices.Clone(rivals), inContainer)
	if len(own) > 0 && !slices.ContainsFunc(own, unknown) {
		return own
	}
	return rivals
}

// choose returns the element that counts, if there is a reason for it: what one process
// says in several jobs counts once. It is the greatest of the values, which were taken at
// different times.
func choose(vector promql.Vector, rivals []int) (winner int, found bool) {
	winner = rivals[0]
	for n, i := range rivals {
		other := func(j int) bool { return !sameSpeaker(vector[i].Metric, vector[j].Metric) }
		if slices.ContainsFunc(rivals[:n], other) {
			return 0, false
		}
		if vector[i].F > vector[winner].F {
			winner = i
		}
	}
	return winner, true
}

// sameSpeaker tells whether one process says two elements as two targets: of the labels
// that both have, they differ in nothing but the job and the instance. A label that only one
// of them has is of that target, as env in static_configs: wherever a process exposes a
// metric, its labels have the same names.
func sameSpeaker(a, b labels.Labels) bool {
	if pid := a.Get(LabelPID); pid == "" || pid != b.Get(LabelPID) {
		return false
	}
	same := a.Get(model.JobLabel) != b.Get(model.JobLabel) || a.Get(model.InstanceLabel) != b.Get(model.InstanceLabel)
	a.Range(func(l labels.Label) {
		scraped := l.Name == model.JobLabel || l.Name == model.InstanceLabel
		if other := b.Get(l.Name); !scraped && other != "" && other != l.Value {
			same = false
		}
	})
	return same
}

// rivalsOf returns the labels of all elements that have the place of one, sorted; nil if
// it is the only one. They are those of the result that was mapped last.
func (m *mapper) rivalsOf(vector promql.Vector, element int) []labels.Labels {
	var all []labels.Labels
	if m.placed[element].template == nil {
		return nil // it has no place
	}
	for _, i := range m.rivals[m.placed[element]] {
		all = append(all, vector[i].Metric)
	}
	slices.SortFunc(all, labels.Compare)
	return all
}
