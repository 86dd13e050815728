package bridge

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/web"
	"github.com/promscope/promscope/mapping"
)

// Explain implements web.Source. Where the subject may be a metric, targets are
// asked whether they have it, which takes a second or two.
func (s *status) Explain(ctx context.Context, subject string) (web.Explanation, error) {
	select {
	case s.explains <- struct{}{}:
		defer func() { <-s.explains }()
	case <-ctx.Done():
		return web.Explanation{Subject: subject}, ctx.Err()
	}
	p := s.pipeline.Load()
	snapshot := s.report.Snapshot()
	w := &world{
		set:      p.config.Rules,
		rules:    p.rules,
		kept:     p.store,
		hostName: snapshot.Host,
		nodes:    s.nodes(p.config.Rules, snapshot),
		counts:   s.counts.of(ctx, p),
		targets:  p.scrape.Targets(),
		now:      time.Now(),
		oldest:   longestLookback(p.config.Rules),
		exposed: func(ctx context.Context, matchers []*labels.Matcher) ([]storedSeries, []string) {
			return s.exposed.ask(ctx, p, s.base, matchers)
		},
	}
	w.absent = func(ctx context.Context, subject string) *web.NodeExplanation { return s.absentNode(ctx, w, subject) }
	return w.explain(ctx, subject)
}

// absentNode tells why a node is not in the report; nil if the subject is no node.
func (s *status) absentNode(ctx context.Context, w *world, subject string) *web.NodeExplanation {
	topology, id := nodeID(subject, w.hostName)
	if topology == "" {
		return nil
	}
	x := &web.NodeExplanation{
		Node:    web.Node{Key: topology.NodeKey(w.hostName, id), Topology: string(topology), ID: id, Metrics: []web.Metric{}},
		Origins: []web.MetricOrigin{},
	}
	what := strings.ToLower(string(topology)) + " " + id
	if topology == mapping.Process {
		if pid, err := strconv.Atoi(id); err == nil {
			x.Name = s.names.of(pid)
		}
	}
	drops := w.dropsOf(ctx, topology, id)
	switch {
	case len(drops) > 0:
		x.Note = fmt.Sprintf("Scope is told nothing about %s: %s.", what, strings.Join(drops, "; "))
	case !s.machine.Alive(string(topology), id, time.Now()):
		x.Note = fmt.Sprintf("There is no %s on this machine, and no rule has a value for it.", what)
	default:
		x.Note = fmt.Sprintf("Scope is told nothing about %s: no rule has a value for it.", what)
	}
	return x
}

// nodeID reads a node's key or id by its form alone. What could be anything is no
// node.
func nodeID(subject, hostName string) (mapping.Topology, string) {
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

// dropsOf tells which rules had a value for a node and dropped it, and why.
func (w *world) dropsOf(ctx context.Context, t mapping.Topology, id string) []string {
	var drops []string
	statuses := w.rules.Status()
	for i, r := range w.set.Rules() {
		if r.Topology != t || len(statuses[i].Dropped) == 0 {
			continue
		}
		x, err := w.rules.Explain(ctx, i, time.Time{})
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
