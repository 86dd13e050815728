package plugin

import (
	"cmp"
	"slices"
	"time"

	"github.com/promscope/promscope/mapping"
)

const (
	// keepPlace is for how long a metric of a default preset keeps its place that is gone:
	// one late scrape would else show another metric for a moment. Scope shows what is gone
	// for 12 to 15 s.
	keepPlace = appMemory

	// keepVerdict is after how long a process is looked at again: it may have started
	// another program.
	keepVerdict = time.Minute
)

// A place is what a metric of a default preset needs to be shown. A node has some.
type place struct {
	id       string
	priority float64
	general  bool
	last     int64 // when the metric was last there
}

// A verdict is whether a process is an exporter.
type verdict struct {
	exporter bool
	at       int64 // 0 if nobody has looked yet
}

// shown returns the metrics without those of default presets that have no place. The first
// ones by priority have the places, see mapping.Topology.Budget and mapping.ExporterBudget.
func (n *node) shown(now int64, opts Options) []*metric {
	const least = mapping.ExporterBudget // no node has less room
	if len(n.metrics) <= least && len(n.places) == 0 {
		return n.metrics
	}
	wanted := n.wanted(now)
	if len(wanted) <= least {
		n.places = nil
		return n.metrics
	}
	budget, general := n.topology.Budget(), n.topology.Budget()
	if n.isExporter(now, opts) {
		general = mapping.ExporterBudget
	}
	n.places = wanted[:0]
	for _, p := range wanted {
		switch {
		case len(n.places) == budget || p.general && general == 0:
			continue
		case p.general:
			general--
		}
		n.places = append(n.places, p)
		if p.last < now {
			n.expires = min(n.expires, p.last+int64(keepPlace))
		}
	}
	shown := slices.DeleteFunc(slices.Clone(n.metrics), func(m *metric) bool {
		return m.budgeted() && !slices.ContainsFunc(n.places, func(p place) bool { return p.id == m.template.ID })
	})
	if len(shown) == 0 { // a node without anything is none: the places are not kept
		n.places = nil
		return n.shown(now, opts)
	}
	return shown
}

// wanted returns the places that metrics want which are there, or have had one lately, in
// the order in which they get them.
func (n *node) wanted(now int64) (places []place) {
	for _, m := range n.metrics {
		if t := m.template; m.budgeted() {
			places = append(places, place{t.ID, t.Priority, t.General, now})
		}
	}
	for _, p := range n.places {
		p.last = min(p.last, now) // the clock may have been set back
		i, there := n.find(p.id)
		if there = there && n.metrics[i].budgeted(); !there && now-p.last < int64(keepPlace) {
			places = append(places, p)
		}
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(a.id, b.id)) })
	return places
}

// budgeted tells whether the metric needs a place.
func (m *metric) budgeted() bool { return m.template.Default && !m.template.Row }

// isExporter tells whether the node is a process that is an exporter.
func (n *node) isExporter(now int64, opts Options) bool {
	if n.topology != mapping.Process || opts.Exporter == nil {
		return false
	}
	if passed := now - n.verdict.at; n.verdict.at == 0 || passed < 0 || passed >= int64(keepVerdict) {
		n.verdict = verdict{opts.Exporter(n.id), now}
	}
	return n.verdict.exporter
}
