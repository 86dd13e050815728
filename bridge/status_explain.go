package bridge

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/config"
	"github.com/promscope/promscope/bridge/view"
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
	return s.world(ctx).Explain(ctx, subject)
}

// world is what is known now.
func (s *status) world(ctx context.Context) *view.World {
	p := s.pipeline.Load()
	snapshot := s.report.Snapshot()
	w := &view.World{
		Set:      p.config.Rules,
		Rules:    p.rules,
		Kept:     p.store,
		HostName: snapshot.Host,
		Nodes:    s.nodes(p.config.Rules, snapshot),
		Counts:   s.counts.of(ctx, p),
		Targets:  p.scrape.Targets(),
		Now:      time.Now(),
		Oldest:   view.LongestLookback(p.config.Rules),
		Limits:   viewLimits(p.config),
		Full:     p.store.Len() >= p.config.Limits.MaxSeries,
		Exposed: func(ctx context.Context, matchers []*labels.Matcher) ([]view.Series, []string) {
			return s.exposed.ask(ctx, p, s.base, matchers)
		},
	}
	w.Absent = func(ctx context.Context, subject string) *web.NodeExplanation { return s.absentNode(ctx, w, subject) }
	return w
}

func viewLimits(cfg *config.Config) view.Limits {
	l := cfg.Limits
	return view.Limits{Series: l.MaxSeries, Nodes: l.MaxNodes, MetricsPerRule: l.MaxMetricsPerRule}
}

// absentNode tells why a node is not in the report; nil if the subject is no node.
func (s *status) absentNode(ctx context.Context, w *view.World, subject string) *web.NodeExplanation {
	topology, id := mapping.ParseNode(subject, w.HostName)
	if topology == "" {
		return nil
	}
	x := &web.NodeExplanation{
		Node:    web.Node{Key: topology.NodeKey(w.HostName, id), Topology: string(topology), ID: id, Metrics: []web.Metric{}},
		Origins: []web.MetricOrigin{},
	}
	if topology == mapping.Host {
		x.ID = w.HostName
	}
	what := strings.ToLower(string(topology)) + " " + x.ID
	if topology == mapping.Process {
		if pid, err := strconv.Atoi(id); err == nil {
			x.Name = s.names.of(pid)
		}
	}
	x.Drops = w.DropsOf(ctx, topology, id)
	var drops []string
	for _, d := range x.Drops {
		if drop := fmt.Sprintf("rule %s has a value for it, and drops it (%s)", d.Rule, d.Reason); !slices.Contains(drops, drop) {
			drops = append(drops, drop)
		}
	}
	switch {
	case len(drops) > 0:
		x.Note = fmt.Sprintf("Scope is told nothing about %s: %s.", what, strings.Join(drops, "; "))
	case topology != mapping.Host && !s.machine.Alive(string(topology), id, time.Now()):
		x.Note = fmt.Sprintf("There is no %s on this machine, and no rule has a value for it.", what)
	default:
		x.Note = fmt.Sprintf("Scope is told nothing about %s: no rule has a value for it.", what)
	}
	return x
}
