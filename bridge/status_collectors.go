package bridge

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/promscope/promscope/bridge/config"
	"github.com/promscope/promscope/bridge/web"
	"github.com/promscope/promscope/ebpf/hook"
)

// Collectors implements web.Source.
func (s *status) Collectors(context.Context) []web.Collector {
	p := s.pipeline.Load()
	var all []web.Collector
	for _, b := range p.config.Collectors.All() {
		w := collectorModel(b)
		if i := slices.IndexFunc(p.collectors, func(c *collector) bool { return c.name == b.Name }); i >= 0 {
			p.collectors[i].describe(&w)
		}
		for _, t := range p.scrape.Targets() {
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
func collectorModel(b config.BuiltIn) web.Collector {
	w := web.Collector{
		Name:      b.Name,
		State:     web.CollectorOff,
		KernelCPU: -1, // not measured
		// The interval is of interest even where it is off: it is what it would be.
		IntervalSeconds: time.Duration(b.Interval).Seconds(),
	}
	for _, d := range Collectors() {
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
			w.Hooks = append(w.Hooks, web.Hook{Name: alternative.Name})
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
func (k *kernelHooks) explain(w *web.Collector) {
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
	for _, d := range Collectors() {
		for _, alternative := range d.Alternatives {
			refusal := err
			if refusal == nil {
				refusal = alternative.Needs.Check(spec)
			}
			if refusal != nil {
				reason, _ := reasonAndRemedy(refusal)
				k.refused[d.Name+" "+alternative.Name] = strings.TrimSuffix(reason, ": "+ebpf.ErrNotSupported.Error())
			}
		}
	}
}

// describe adds what is known of a collector that is enabled.
func (c *collector) describe(w *web.Collector) {
	if c.err != nil {
		w.State = web.CollectorFailed
		w.Error, w.Remedy = reasonAndRemedy(c.err)
		return
	}
	w.State = web.CollectorOn
	c.meter.describe(w)
}

// reasonAndRemedy takes an error apart that says what would help.
func reasonAndRemedy(err error) (reason, remedy string) {
	var known *hook.Error
	if errors.As(err, &known) {
		return known.Reason, known.Remedy
	}
	return err.Error(), ""
}

// meter watches a collector's gatherer for the status pages.
type meter struct {
	gatherer prometheus.Gatherer
	name     string

	mu     sync.Mutex
	errors uint64
	hook   string
	facts  []web.Fact
}

// Gather implements prometheus.Gatherer.
func (m *meter) Gather() ([]*dto.MetricFamily, error) {
	families, err := m.gatherer.Gather()
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.errors++
	}
	m.facts = m.facts[:0]
	for _, f := range families {
		m.note(f)
	}
	return families, err
}

// maxFactSeries is how many series a metric about the collector itself has at
// most. Those of what it collects have more, or the labels of a process.
const maxFactSeries = 4

// note takes up what a collector says of itself.
func (m *meter) note(f *dto.MetricFamily) {
	name := strings.TrimPrefix(f.GetName(), "promscope_"+m.name+"_")
	if len(f.Metric) == 0 || len(f.Metric) > maxFactSeries || name == f.GetName() {
		return
	}
	if name == "hook_info" {
		var hooks []string
		for _, l := range f.Metric[0].Label {
			hooks = append(hooks, l.GetValue())
		}
		m.hook = strings.Join(hooks, "+") // as alternatives are named
		return
	}
	sum := 0.0
	for _, metric := range f.Metric {
		if slices.ContainsFunc(metric.Label, func(l *dto.LabelPair) bool { return l.GetName() == labelPID }) || metric.Histogram != nil {
			return
		}
		sum += metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
	}
	if sum == 0 && (name == "hook_runs_total" || name == "hook_run_seconds_total") {
		return // the kernel does not count them unless kernel.bpf_stats_enabled is 1
	}
	name = strings.ReplaceAll(strings.TrimSuffix(name, "_total"), "_", " ")
	m.facts = append(m.facts, web.Fact{Name: strings.ToUpper(name[:1]) + name[1:], Value: strconv.FormatFloat(sum, 'f', -1, 64)})
}

func (m *meter) describe(w *web.Collector) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w.Errors, w.Hook, w.Facts = m.errors, m.hook, slices.Clone(m.facts)
}
