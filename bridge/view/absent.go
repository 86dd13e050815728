package view

import (
	"context"
	"slices"

	"github.com/promscope/promscope/bridge/web"
	"github.com/promscope/promscope/mapping"
)

// DropsOf tells which rules had values for a node and dropped them, and why.
func (w *World) DropsOf(ctx context.Context, t mapping.Topology, id string) []web.Drop {
	var drops []web.Drop
	statuses := w.Rules.Status()
	for i, rule := range w.Set.Rules() {
		if rule.Topology != t || len(statuses[i].Dropped) == 0 {
			continue
		}
		r := w.result(ctx, i)
		if r.err != nil {
			continue // the rule's own explanation says so
		}
		of := len(drops) // those of this rule begin here
		for j := range r.Elements {
			element := &r.Elements[j]
			if element.Dropped == "" || !namesID(rule, element.Labels, id) {
				continue
			}
			d := web.Drop{Rule: rule.String(), Reason: element.Dropped, Why: w.whyDropped(rule, element), Elements: 1}
			same := slices.IndexFunc(drops[of:], func(o web.Drop) bool { return o.Reason == d.Reason && o.Why == d.Why })
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
