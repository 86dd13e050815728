package explain

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/promscope/promscope/bridge/view"
	"github.com/promscope/promscope/mapping"
)

// NodeID reads a node's key or id by its form alone. What could be anything is no
// node. The host's id is empty, as in points.
func NodeID(subject, hostName string) (mapping.Topology, string) {
	if hostName != "" && (subject == hostName || subject == "host" || subject == mapping.Host.NodeKey(hostName, "")) {
		return mapping.Host, ""
	}
	id := subject
	for _, t := range mapping.Topologies() {
		if suffix := ";<" + strings.ToLower(string(t)) + ">"; strings.HasSuffix(subject, suffix) {
			id = strings.TrimSuffix(subject, suffix)
		}
	}
	id = strings.TrimPrefix(id, hostName+";")
	switch {
	case processID.MatchString(id):
		return mapping.Process, id
	case containerID.MatchString(id):
		return mapping.Container, id
	case podID.MatchString(id):
		return mapping.Pod, id
	}
	return "", ""
}

// The forms of ids of nodes.
var (
	processID   = regexp.MustCompile(`^[1-9][0-9]{0,6}$`)
	containerID = regexp.MustCompile(`^[0-9a-f]{64}$`)
	podID       = regexp.MustCompile(`^([0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$`)
)

// DropsOf tells which rules had values for a node and dropped them, and why.
func (f *Facts) DropsOf(ctx context.Context, t mapping.Topology, id string) []view.Drop {
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
		for j := range r.Elements {
			element := &r.Elements[j]
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
