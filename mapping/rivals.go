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
	for _, i := range rivals[1:] {
		if !sameSpeaker(vector[i].Metric, vector[winner].Metric) {
			return 0, false
		}
		if vector[i].F > vector[winner].F {
			winner = i
		}
	}
	return winner, true
}

// sameSpeaker tells whether one process says two elements: they differ in nothing but
// the job and the instance that they were scraped as.
func sameSpeaker(a, b labels.Labels) bool {
	if a.Get(LabelPID) == "" {
		return false
	}
	scraped := []string{model.JobLabel, model.InstanceLabel}
	return labels.Equal(labels.NewBuilder(a).Del(scraped...).Labels(), labels.NewBuilder(b).Del(scraped...).Labels())
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
