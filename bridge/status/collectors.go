package status

import (
	"cmp"
	"context"
	"slices"

	"github.com/promscope/promscope/bridge/collectors"
	"github.com/promscope/promscope/bridge/view"
	"github.com/promscope/promscope/ebpf/collector"
)

// Collectors tells of all built-in collectors, also of those that are off.
func (s *Source) Collectors(context.Context) []view.Collector {
	p := s.runtime.Pipeline()
	var all []view.Collector
	for _, s := range p.Config.Collectors {
		w := collectorModel(&s)
		if i := slices.IndexFunc(p.Collectors, func(c *collectors.Collector) bool { return c.Name == s.Name }); i >= 0 {
			describe(&w, p.Collectors[i])
		}
		for _, t := range p.Scrape.Targets() {
			if t.URL != "" || t.Labels.Get("instance") != s.Name {
				continue
			}
			w.LastGather, w.LastDurationSeconds = t.LastScrape, t.LastDuration.Seconds()
			w.Series, w.Kept = t.Samples, t.Kept
			w.Error = cmp.Or(w.Error, t.LastError)
		}
		all = append(all, w)
	}
	return all
}

// collectorModel is what can be said of a collector that does not run.
func collectorModel(s *collectors.Settings) view.Collector {
	w := view.Collector{
		Name:     s.Name,
		Help:     s.Help,
		State:    view.CollectorOff,
		Requires: slices.Clone(s.Capabilities),
		// The interval is of interest even where it is off: it is what it would be.
		IntervalSeconds: s.Interval.Seconds(),
	}
	if n := len(s.HookSets); n > 0 {
		w.Requires = slices.Insert(w.Requires, 0, "BTF", "Linux "+s.HookSets[n-1].Kernel)
	}
	for _, set := range s.HookSets {
		w.Hooks = append(w.Hooks, view.Hook{Name: set.Name})
	}
	return w
}

// describe adds what is known of a collector that is enabled.
func describe(w *view.Collector, c *collectors.Collector) {
	w.Errors = c.Failures()
	if c.Err != nil {
		w.State = view.CollectorFailed
		w.Error, w.Remedy = collector.ReasonAndRemedy(c.Err)
		return
	}
	w.State = view.CollectorOn
	status := c.Status()
	w.Hook = status.HookSet
	for i, h := range w.Hooks {
		for _, refused := range status.Refused {
			if refused.HookSet == h.Name {
				w.Hooks[i].Error = refused.Reason
			}
		}
	}
	for _, f := range status.Facts {
		w.Facts = append(w.Facts, view.Fact(f))
	}
	for _, p := range status.Programs {
		w.Programs = append(w.Programs, view.Program{Name: p.Name, Runs: p.Runs, RunSeconds: p.Took.Seconds(), Missed: p.Missed})
	}
	for _, m := range status.Maps {
		w.Maps = append(w.Maps, view.Map(m))
	}
	w.CountsRuns = status.CountsRuns
	for _, warning := range status.Warnings {
		w.Warnings = append(w.Warnings, warning.Reason+": "+warning.Remedy)
	}
}
