package view

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/promscope/promscope/mapping"
)

// NodeID reads a node's key or id by its form alone. What could be anything is no
// node.
func NodeID(subject, hostName string) (mapping.Topology, string) {
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

// DropsOf tells which rules had a value for a node and dropped it, and why.
func (w *World) DropsOf(ctx context.Context, t mapping.Topology, id string) []string {
	var drops []string
	statuses := w.Rules.Status()
	for i, r := range w.Set.Rules() {
		if r.Topology != t || len(statuses[i].Dropped) == 0 {
			continue
		}
		x, err := w.Rules.Explain(ctx, i, time.Time{})
		if err != nil {
			continue // the rule's own explanation says so
		}
		for _, element := range x.Elements {
			if element.Dropped != "" && strings.Contains(element.Labels.Get(r.NodeLabel), id) {
				drops = append(drops, fmt.Sprintf("rule %s has a value for it, and drops it (%s)", r, element.Dropped))
				break
			}
		}
	}
	return drops
}
