package explain

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/view"
	"github.com/promscope/promscope/mapping"
	"github.com/promscope/promscope/mapping/secret"
)

// shownRivals is how many of the elements that have one node are shown side by side.
const shownRivals = 8

// whyDropped is a reason for which an element is on no node, in words.
func (f *facts) whyDropped(rule *mapping.Rule, element *mapping.Element) string {
	value := secret.Label(rule.NodeLabel, element.Labels.Get(rule.NodeLabel))
	switch element.Dropped {
	case mapping.DropNoLabel:
		if rule.NodeLabel != "" && value == "" {
			return fmt.Sprintf("it has no label %s, which names the node", rule.NodeLabel)
		}
		for _, name := range rule.LabelNames() {
			if element.Labels.Get(name) == "" {
				return fmt.Sprintf("it has no label %s, of which the metric is named", name)
			}
		}
	case mapping.DropNoMatch:
		if rule.Regex == nil {
			return fmt.Sprintf("%s=%q is not the cgroup of a container", rule.NodeLabel, value)
		}
		return fmt.Sprintf("regex does not match %s=%q", rule.NodeLabel, value)
	case mapping.DropBadID:
		if rule.Regex != nil {
			return fmt.Sprintf("%q, which regex finds in %s=%q, is no %s", nodeIDOf(rule, element.Labels), rule.NodeLabel, value, idName(rule.Topology))
		}
		return fmt.Sprintf("%s=%q is no %s", rule.NodeLabel, value, idName(rule.Topology))
	case mapping.DropDead:
		return fmt.Sprintf("%s %s does not exist, or began after the sample", strings.ToLower(string(rule.Topology)), nodeIDOf(rule, element.Labels))
	case mapping.DropDuplicate:
		return whyDuplicate(element)
	case mapping.DropAmbiguous:
		return "nothing says which of these elements counts, so none is shown; write sum, max or topk around the expression, or select one target: " + sideBySide(element)
	case mapping.DropValue:
		if math.IsNaN(element.Value) || math.IsInf(element.Value, 0) {
			return fmt.Sprintf("%v is no number that Scope could show", element.Value)
		}
		return fmt.Sprintf("%v is beyond ±%v, where Scope's numbers end", element.Value, mapping.MaxValue)
	case mapping.DropHistogram:
		return "a native histogram, where a number is needed: histogram_quantile makes one"
	case mapping.DropMetricLimit:
		return fmt.Sprintf("more than %s values of ${%s}", f.metricLimit(rule), strings.Join(rule.LabelNames(), "}, ${"))
	case mapping.DropThreshold:
		return fmt.Sprintf("the mean over a minute has not reached the rule's threshold = %v in the last five minutes", rule.Threshold)
	case mapping.DropNodeLimit:
		return fmt.Sprintf("more than limits.max_nodes = %d nodes", f.Limits.MaxNodes)
	case mapping.DropIDCollision:
		return fmt.Sprintf("another metric of that topology has the id that %s becomes", rule.Metric)
	case mapping.DropLabelCollision:
		return fmt.Sprintf("another metric of that topology has the label that %q becomes", rule.Label)
	}
	return ""
}

// metricLimit is what bounds the values of ${label} that a rule shows.
func (f *facts) metricLimit(rule *mapping.Rule) string {
	switch most := f.Limits.MaxMetricsPerRule; {
	case 0 < rule.Top && rule.Top <= most:
		return fmt.Sprintf("the rule's top = %d", rule.Top)
	case 0 < rule.Bottom && rule.Bottom <= most:
		return fmt.Sprintf("the rule's bottom = %d", rule.Bottom)
	default:
		return fmt.Sprintf("limits.max_metrics_per_rule = %d", most)
	}
}

// whyDuplicate says for what reason another element has the node.
func whyDuplicate(element *mapping.Element) string {
	if element.Labels.Get(mapping.LabelContainer) != "" &&
		slices.ContainsFunc(element.Rivals, func(l labels.Labels) bool { return l.Get(mapping.LabelContainer) == "" }) {
		return "the host's own counts before what is said in a container (" + mapping.LabelContainer + "), of these elements: " + sideBySide(element)
	}
	return "one process (" + mapping.LabelPID + ") says it in several jobs, and the greatest value counts, of these elements: " + sideBySide(element)
}

// sideBySide are the labels of the elements that have the same node and metric.
func sideBySide(element *mapping.Element) string {
	var all []string
	for _, l := range element.Rivals {
		all = append(all, view.Labels(secret.Labels(l)).String())
	}
	if over := len(all) - shownRivals; over > 0 {
		all = append(all[:shownRivals], fmt.Sprintf("and %d more", over))
	}
	return strings.Join(all, ", ")
}

// idName is what the ids of a topology are.
func idName(t mapping.Topology) string {
	switch t {
	case mapping.Container:
		return "container id"
	case mapping.Pod:
		return "pod UID"
	case mapping.Host, mapping.Process:
	}
	return "pid"
}

// nodeIDOf is the id of the node that labels name to a rule, be it one or not; ""
// if they name none.
func nodeIDOf(rule *mapping.Rule, l labels.Labels) string { return rule.NodeID(l.Get(rule.NodeLabel)) }

// namesID tells whether labels name a node to a rule, also if the rule makes no id
// of what they say: a container's is found in the path of its cgroup.
func namesID(rule *mapping.Rule, l labels.Labels, id string) bool {
	if rule.NodeLabel == "" || nodeIDOf(rule, l) == id {
		return true // a rule without one is about the host
	}
	return len(id) >= shortID && strings.Contains(l.Get(rule.NodeLabel), id)
}
