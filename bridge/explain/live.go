package explain

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/pipeline"
	"github.com/promscope/promscope/bridge/status"
	"github.com/promscope/promscope/bridge/view"
	"github.com/promscope/promscope/mapping"
)

// maxQuestions is how many questions are worked on at a time. Each may ask all
// targets.
const maxQuestions = 2

// Live answers from the running pipeline.
type Live struct {
	runtime *pipeline.Runtime
	source  *status.Source
	exposed exposed
	places  chan struct{} // one for each question that may be worked on
}

// NewLive returns an explainer of what a runtime does.
func NewLive(r *pipeline.Runtime, source *status.Source) *Live {
	return &Live{runtime: r, source: source, places: make(chan struct{}, maxQuestions)}
}

// Explain answers a question. Where the subject may be a metric, it asks the targets
// whether they have it, which takes a second or two.
func (l *Live) Explain(ctx context.Context, subject string) (view.Explanation, error) {
	select {
	case l.places <- struct{}{}:
		defer func() { <-l.places }()
	case <-ctx.Done():
		return view.Explanation{Subject: subject}, ctx.Err()
	}
	p := l.runtime.Pipeline()
	e, err := l.facts(ctx, p).Explain(ctx, subject)
	noteObserved(e.Nodes, p.Collectors)
	return e, err
}

// facts are what is known now of a pipeline. A reload may put another one in force
// meanwhile.
func (l *Live) facts(ctx context.Context, p *pipeline.Pipeline) *facts {
	snapshot := l.runtime.Report.Snapshot()
	f := &facts{
		Set:      p.Config.Rules,
		Rules:    p.Rules,
		Kept:     p.Store,
		HostName: snapshot.Host,
		Nodes:    l.source.NodesOf(p.Config.Rules, snapshot),
		Models:   l.source.RulesOf(ctx, p),
		Targets:  p.Scrape.Targets(),
		Now:      time.Now(),
		Oldest:   status.LongestLookback(p.Config.Rules),
		Limits:   p.Config.Limits,
		Full:     p.Store.Len() >= p.Config.Limits.MaxSeries,
		Exposed: func(ctx context.Context, matchers []*labels.Matcher) exposedAnswer {
			return l.exposed.ask(ctx, l.runtime, p, matchers)
		},
	}
	f.Absent = func(ctx context.Context, subject string) *view.NodeExplanation { return l.absentNode(ctx, f, subject) }
	f.Listeners = func(subject string) []view.ListenerExplanation {
		if found := l.listeners(f.HostName, subject); len(found) > 0 {
			return found
		}
		return explainAddress(subject, f.Targets, p.Config.WhyUnasked)
	}
	return f
}

// listeners are those at an address, or those of a process that are no targets.
func (l *Live) listeners(hostName, subject string) []view.ListenerExplanation {
	topology, id := mapping.ParseNode(subject, hostName)
	found := l.runtime.Prober.ListenersAt(subject)
	if topology == mapping.Process {
		found = l.runtime.Prober.Listeners()
	}
	var all []view.ListenerExplanation
	for _, s := range found {
		x := view.ListenerExplanation{
			Name: s.Name(), PID: s.Owner.PID, Comm: s.Owner.Comm, Container: s.Owner.Container, Result: s.Result, Reason: s.Reason, Asked: s.Asked,
		}
		if topology == mapping.Process && (strconv.Itoa(x.PID) != id || x.Result == "exposition") {
			continue
		}
		if !slices.Contains(all, x) {
			all = append(all, x)
		}
	}
	return all
}

// absentNode tells why a node is not in the report; nil if the subject is no node.
func (l *Live) absentNode(ctx context.Context, f *facts, subject string) *view.NodeExplanation {
	topology, id := mapping.ParseNode(subject, f.HostName)
	if topology == "" {
		return nil
	}
	x := &view.NodeExplanation{
		Node:    view.Node{Key: topology.NodeKey(f.HostName, id), Topology: string(topology), ID: id, Metrics: []view.Metric{}},
		Origins: []view.MetricOrigin{},
	}
	if topology == mapping.Host {
		x.ID = f.HostName
	}
	what := strings.ToLower(string(topology)) + " " + x.ID
	if topology == mapping.Process {
		if pid, err := strconv.Atoi(id); err == nil {
			x.Name = l.source.ProcessName(pid)
		}
	}
	x.Drops = f.dropsOf(ctx, topology, id)
	var drops []string
	for _, d := range x.Drops {
		if drop := fmt.Sprintf("rule %s has a value for it, and drops it (%s)", d.Rule, d.Reason); !slices.Contains(drops, drop) {
			drops = append(drops, drop)
		}
	}
	switch {
	case len(drops) > 0:
		x.Note = fmt.Sprintf("Scope is told nothing about %s: %s.", what, strings.Join(drops, "; "))
	case topology != mapping.Host && !l.runtime.Machine.Alive(string(topology), id, time.Now()):
		x.Note = fmt.Sprintf("There is no %s on this machine, and no rule has a value for it.", what)
	default:
		x.Note = fmt.Sprintf("Scope is told nothing about %s: no rule has a value for it.", what)
	}
	return x
}
