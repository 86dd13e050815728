package explain

import (
	"context"
	"slices"

	"github.com/promscope/promscope/bridge/view"
	"github.com/promscope/promscope/mapping"
)

// dropsOf tells which rules had values for a node and dropped them, and why.
func (f *facts) dropsOf(ctx context.Context, t mapping.Topology, id string) []view.Drop {
	var drops []view.Drop
	statuses := f.Rules.Status()
	for i, rule := range f.Set.Rules() {
		if rule.Topology != t || len(statuses[i].Dropped) == 0 {
			continue
		}
		r := f.result(ctx, i)
		if r.err != nil {
			continue // the rule's own explanation says so
		}
		of := len(drops) // those of this rule begin here
		for j := range r.elements {
			element := &r.elements[j]
			if element.Dropped == "" || !namesID(rule, element.Labels, id) {
				continue
			}
			d := view.Drop{Rule: rule.String(), Reason: element.Dropped, Why: f.whyDropped(rule, element), Elements: 1}
			same := slices.IndexFunc(drops[of:], func(o view.Drop) bool { return o.Reason == d.Reason && o.Why == d.Why })
			if same >= 0 {
				drops[of+same].Elements++
				continue
			}
			if len(drops) == explainedDrops {
				return drops
			}
			drops = append(drops, d)
		}
	}
	return drops
}
