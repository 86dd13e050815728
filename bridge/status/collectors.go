package status

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"

	"github.com/promscope/promscope/bridge/collector"
	"github.com/promscope/promscope/bridge/config"
	"github.com/promscope/promscope/bridge/view"
	"github.com/promscope/promscope/ebpf/hook"
)

// Collectors tells of all built-in collectors, also of those that are off.
func (s *Source) Collectors(context.Context) []view.Collector {
	p := s.runtime.Pipeline()
	var all []view.Collector
	for _, b := range p.Config.Collectors.All() {
		w := collectorModel(b)
		if i := slices.IndexFunc(p.Collectors, func(c *collector.Collector) bool { return c.Name == b.Name }); i >= 0 {
			describe(&w, p.Collectors[i])
		}
		for _, t := range p.Scrape.Targets() {
			if t.URL != "" || t.Labels.Get("instance") != b.Name {
				continue
			}
			w.LastGather, w.LastDurationSeconds = t.LastScrape, t.LastDuration.Seconds()
			w.Series, w.Kept = t.Samples, t.Kept
			w.Error = cmp.Or(w.Error, t.LastError)
		}
		s.hooks.explain(&w)
		all = append(all, w)
	}
	return all
}

// collectorModel is what can be said of a collector that does not run.
func collectorModel(b config.BuiltIn) view.Collector {
	w := view.Collector{
		Name:  b.Name,
		State: view.CollectorOff,
		// The interval is of interest even where it is off: it is what it would be.
		IntervalSeconds: time.Duration(b.Interval).Seconds(),
	}
	for _, d := range collector.Descriptions() {
		if d.Name != b.Name {
			continue
		}
		w.Help = d.Help
		if n := len(d.Alternatives); n > 0 {
			w.Requires = append(w.Requires, "BTF", "Linux "+d.Alternatives[n-1].Needs.Kernel)
		}
		for _, c := range d.Capabilities {
			w.Requires = append(w.Requires, c.Name)
		}
		for _, alternative := range d.Alternatives {
			w.Hooks = append(w.Hooks, view.Hook{Name: alternative.Name})
		}
	}
	return w
}

// kernelHooks remembers which sets of hooks this kernel lacks something for:
// reading its types takes longer than a page may.
type kernelHooks struct {
	once    sync.Once
	refused map[string]string // by collector and hooks
}

// explain says of hooks that are better than those that serve why they do not.
func (k *kernelHooks) explain(w *view.Collector) {
	k.once.Do(k.ask)
	for i := range w.Hooks {
		h := &w.Hooks[i]
		if h.Name == w.Hook {
			return // those after it were not tried
		}
		h.Error = k.refused[w.Name+" "+h.Name]
		if h.Error == "" && w.Hook != "" {
			h.Error = "the kernel does not load its programs; the log of the start says why"
		}
	}
}

func (k *kernelHooks) ask() {
	k.refused = map[string]string{}
	spec, err := hook.KernelSpec()
	for _, d := range collector.Descriptions() {
		for _, alternative := range d.Alternatives {
			refusal := err
			if refusal == nil {
				refusal = alternative.Needs.Check(spec)
			}
			if refusal != nil {
				reason, _ := ReasonAndRemedy(refusal)
				k.refused[d.Name+" "+alternative.Name] = strings.TrimSuffix(reason, ": "+ebpf.ErrNotSupported.Error())
			}
		}
	}
}

// describe adds what is known of a collector that is enabled.
func describe(w *view.Collector, c *collector.Collector) {
	if c.Err != nil {
		w.State = view.CollectorFailed
		w.Error, w.Remedy = ReasonAndRemedy(c.Err)
		return
	}
	w.State = view.CollectorOn
	status := c.Status()
	w.Errors, w.Hook = status.Errors, status.Hook
	for _, f := range status.Facts {
		w.Facts = append(w.Facts, view.Fact(f))
	}
}

// ReasonAndRemedy takes an error apart that says what would help.
func ReasonAndRemedy(err error) (reason, remedy string) {
	var known *hook.Error
	if errors.As(err, &known) {
		return known.Reason, known.Remedy
	}
	return err.Error(), ""
}
