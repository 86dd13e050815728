package status

import (
	"cmp"
	"slices"

	"github.com/promscope/promscope/bridge/plugin"
	"github.com/promscope/promscope/bridge/view"
	"github.com/promscope/promscope/mapping"
)

// Node is a node of the report as the pages show it.
func Node(set *mapping.Set, hostName string, n *plugin.NodeSnapshot) view.Node {
	w := view.Node{
		Key:      n.Key,
		Topology: string(n.Topology),
		ID:       n.ID,
		Metrics:  make([]view.Metric, 0, len(n.Metrics)),
		Beyond:   n.Beyond,
		LeftOut:  n.LeftOut,
	}
	if n.Topology == mapping.Host {
		w.ID = hostName
	}
	byPriority := slices.SortedStableFunc(slices.Values(n.Metrics), func(a, b plugin.MetricSnapshot) int {
		return cmp.Compare(a.Template.Priority, b.Template.Priority)
	})
	rules := set.Rules()
	name := func(rule int) string {
		// While a reload swaps the rules, the report may be of others.
		if rule < 0 || rule >= len(rules) {
			return ""
		}
		return rules[rule].String()
	}
	for _, row := range n.Rows {
		w.Rows = append(w.Rows, view.Row{ID: row.Template.ID, Label: row.Template.Label, Text: row.Text, Rule: name(row.Rule)})
	}
	for i := range byPriority {
		m := &byPriority[i]
		metric := view.Metric{
			ID:      m.Template.ID,
			Label:   m.Template.Label,
			Format:  string(m.Template.Format),
			Max:     m.Max,
			Samples: make([]view.Sample, 0, len(m.Samples)),
		}
		metric.Rule = name(m.Rule)
		for _, sample := range m.Samples {
			metric.Samples = append(metric.Samples, view.Sample{Time: sample.At, Value: sample.Value})
		}
		w.Metrics = append(w.Metrics, metric)
	}
	return w
}
