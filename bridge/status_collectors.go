package bridge

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/promscope/promscope/bridge/config"
	"github.com/promscope/promscope/bridge/web"
	builtin "github.com/promscope/promscope/ebpf/collector"
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
		if len(d.HookSets) > 0 {
			w.Requires = append(w.Requires, "BTF", "Linux "+d.Kernel)
		}
		w.Requires = append(w.Requires, d.Capabilities...)
		for _, set := range d.HookSets {
			w.Hooks = append(w.Hooks, web.Hook{Name: set.Name})
		}
	}
	return w
}

// describe adds what is known of a collector that is enabled.
func (c *collector) describe(w *web.Collector) {
	if c.err != nil {
		w.State = web.CollectorFailed
		w.Error, w.Remedy = builtin.ReasonAndRemedy(c.err)
		return
	}
	w.State = web.CollectorOn
	c.meter.describe(w)
	running, ok := c.closer.(builtin.Collector)
	if !ok {
		return
	}
	status := running.Status()
	w.Hook = status.HookSet
	for _, r := range status.Refused {
		for i := range w.Hooks {
			if w.Hooks[i].Name == r.HookSet {
				w.Hooks[i].Error = r.Reason
			}
		}
	}
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
