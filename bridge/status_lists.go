package bridge

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/promscope/promscope/bridge/plugin"
	"github.com/promscope/promscope/bridge/view"
	"github.com/promscope/promscope/bridge/web"
	"github.com/promscope/promscope/mapping"
)

// Targets implements web.Source.
func (s *status) Targets(context.Context) []web.Target {
	manager := s.pipeline.Load().scrape
	scraped := manager.Targets()
	dropped := manager.Dropped()
	targets := make([]web.Target, 0, len(scraped)+len(dropped))
	for i := range scraped {
		targets = append(targets, view.Target(&scraped[i]))
	}
	for i := range dropped {
		targets = append(targets, view.Dropped(&dropped[i]))
	}
	return targets
}

// Nodes implements web.Source.
func (s *status) Nodes(context.Context) []web.Node {
	return s.nodes(s.pipeline.Load().config.Rules, s.report.Snapshot())
}

func (s *status) nodes(set *mapping.Set, snapshot plugin.Snapshot) []web.Node {
	nodes := make([]web.Node, 0, len(snapshot.Nodes))
	var pids []int
	for i := range snapshot.Nodes {
		n := &snapshot.Nodes[i]
		nodes = append(nodes, view.Node(set, snapshot.Host, n))
		if pid, err := strconv.Atoi(n.ID); err == nil && n.Topology == mapping.Process {
			pids = append(pids, pid)
		}
	}
	names := s.names.all(pids)
	for i := range nodes {
		if nodes[i].Topology != string(mapping.Process) {
			continue
		}
		if pid, err := strconv.Atoi(nodes[i].ID); err == nil {
			nodes[i].Name = names[pid]
		}
	}
	return nodes
}

// Rules implements web.Source.
func (s *status) Rules(ctx context.Context) []web.Rule {
	p := s.pipeline.Load()
	return view.Rules(p.config.Rules, p.rules.Status(), s.counts.of(ctx, p))
}

// countsKept is for how long the numbers of series are good enough for a page.
const countsKept = 2 * time.Second

// seriesCounts remembers how many series each selector finds: counting them for
// each page would look through the store some hundred times.
type seriesCounts struct {
	mu       sync.Mutex
	pipeline *pipeline
	at       time.Time
	counts   []int
}

// of returns the number of series in the store for each selector of the
// pipeline's rules.
func (c *seriesCounts) of(ctx context.Context, p *pipeline) []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pipeline == p && time.Since(c.at) < countsKept {
		return slices.Clone(c.counts)
	}
	now := time.Now()
	selectors := p.config.Rules.Selectors()
	counts := make([]int, len(selectors))
	for i, s := range selectors {
		lookback := p.config.Rules.Rules()[s.Rule].Lookback()
		counts[i] = len(view.SelectSeries(ctx, p.store.Live(), s.Matchers, now.Add(-lookback), now))
	}
	c.pipeline, c.at, c.counts = p, now, counts
	return slices.Clone(counts)
}

// rateIntervals is how many scrape intervals $__rate_interval spans, as in rules.
const rateIntervals = 5

// Query implements web.Source. The store is shown as it is: what has ended stays
// visible for as long as it is kept.
func (s *status) Query(ctx context.Context, q web.Query) (web.Result, error) {
	p := s.pipeline.Load()
	return view.Query(ctx, p.store, q, view.QueryLimits{
		Samples:  p.config.Limits.MaxEvaluationSamples,
		Lookback: view.LongestLookback(p.config.Rules),
		Rate:     rateIntervals * longestInterval(p.config),
	})
}
