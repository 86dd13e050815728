package mapping

import (
	"slices"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
)

// settle decides which of several elements has a place. Without a reason that can be
// named none has it: the order of labels is no reason, since who runs a second exporter
// would then change what the first one shows.
func (m *mapper) settle(vector promql.Vector, outcomes []outcome) {
	for p, rivals := range m.rivals {
		winner, found := choose(vector, rivals)
		for _, i := range rivals {
			switch {
			case !found:
				outcomes[i].reason = DropAmbiguous
			case i != winner:
				outcomes[i].reason = DropDuplicate
			}
		}
		if found {
			m.seen[p] = winner
		} else {
			delete(m.seen, p)
		}
	}
}

// choose returns the element that counts, if there is a reason for it:
//
//   - What a process of the host says counts before what one in a container says. A target
//     of which no process is known is neither: it may be another machine's.
//   - What one process says in several jobs counts once: the greatest of the values, which
//     were taken at different times.
func choose(vector promql.Vector, rivals []int) (winner int, found bool) {
	inContainer := func(i int) bool { return vector[i].Metric.Has(LabelContainer) }
	unknown := func(i int) bool { return !vector[i].Metric.Has(LabelPID) }
	own := slices.DeleteFunc(slices.Clone(rivals), inContainer)
	if len(own) > 0 && !slices.ContainsFunc(own, unknown) {
		rivals = own
	}
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
