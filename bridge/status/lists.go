package status

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/promscope/promscope/bridge/pipeline"
	"github.com/promscope/promscope/bridge/plugin"
	"github.com/promscope/promscope/bridge/store"
	"github.com/promscope/promscope/bridge/view"
	"github.com/promscope/promscope/mapping"
)

// Targets tells of all targets, also of those that are dropped.
func (s *Source) Targets(context.Context) []view.Target {
	manager := s.runtime.Pipeline().Scrape
	scraped := manager.Targets()
	dropped := manager.Dropped()
	targets := make([]view.Target, 0, len(scraped)+len(dropped))
	for i := range scraped {
		targets = append(targets, targetModel(&scraped[i]))
	}
	for i := range dropped {
		targets = append(targets, Dropped(&dropped[i]))
	}
	return targets
}

// Nodes tells what the report says.
func (s *Source) Nodes(context.Context) []view.Node {
	return s.NodesOf(s.runtime.Pipeline().Config.Rules, s.runtime.Report.Snapshot())
}

// NodesOf are the nodes of a report that rules made.
func (s *Source) NodesOf(set *mapping.Set, snapshot plugin.Snapshot) []view.Node {
	nodes := make([]view.Node, 0, len(snapshot.Nodes))
	var pids []int
	for i := range snapshot.Nodes {
		n := &snapshot.Nodes[i]
		nodes = append(nodes, Node(set, snapshot.Host, n))
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

// Rules tells of all rules, the configuration's first.
func (s *Source) Rules(ctx context.Context) []view.Rule {
	return s.RulesOf(ctx, s.runtime.Pipeline())
}

// RulesOf tells of all rules of a pipeline, in the order of its set.
func (s *Source) RulesOf(ctx context.Context, p *pipeline.Pipeline) []view.Rule {
	return Rules(p.Config.Rules, p.Rules.Status(), s.counts.of(ctx, p))
}

// countsKept is for how long the numbers of series are good enough for a page.
const countsKept = 2 * time.Second

// seriesCounts remembers how many series each selector finds: counting them for
// each page would look through the store some hundred times.
type seriesCounts struct {
	mu       sync.Mutex
	pipeline *pipeline.Pipeline
	at       time.Time
	counts   []int
}

// of returns the number of series in the store for each selector of the
// pipeline's rules.
func (c *seriesCounts) of(ctx context.Context, p *pipeline.Pipeline) []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pipeline == p && time.Since(c.at) < countsKept {
		return slices.Clone(c.counts)
	}
	now := time.Now()
	// The numbers are for others too: whoever asks may go away.
	counts := CountSeries(context.WithoutCancel(ctx), p.Config.Rules, p.Store, now)
	c.pipeline, c.at, c.counts = p, now, counts
	return slices.Clone(counts)
}

// CountSeries returns the number of live series in the store for each selector of a
// set.
func CountSeries(ctx context.Context, set *mapping.Set, st *store.Store, now time.Time) []int {
	selectors := set.Selectors()
	counts := make([]int, len(selectors))
	for i, s := range selectors {
		lookback := set.Rules()[s.Rule].Lookback()
		counts[i] = len(store.Latest(ctx, st.Live(), s.Matchers, now.Add(-lookback), now))
	}
	return counts
}

// Query answers a query from the store. The store is shown as it is: what has ended stays
// visible for as long as it is kept.
func (s *Source) Query(ctx context.Context, q view.Query) (view.Result, error) {
	p := s.runtime.Pipeline()
	return queryStore(ctx, p.Store, q, queryLimits{
		Samples:  p.Config.Limits.MaxEvaluationSamples,
		Lookback: LongestLookback(p.Config.Rules),
		Fill:     p.Config.FillVariables,
	})
}
