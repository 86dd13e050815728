package collector

import (
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Fact is a figure that a collector tells of itself.
type Fact struct{ Name, Value string }

// Status is what a collector that runs tells of itself.
type Status struct {
	Hook   string // where it listens in the kernel; empty if it does not
	Facts  []Fact
	Errors uint64 // gatherings that failed
}

// Status returns what the collector tells of itself since its last gathering.
func (c *Collector) Status() Status {
	m := c.meter
	m.mu.Lock()
	defer m.mu.Unlock()
	return Status{Hook: m.hook, Facts: slices.Clone(m.facts), Errors: m.errors}
}

// meter watches a collector's gatherer for the status pages.
type meter struct {
	gatherer prometheus.Gatherer
	name     string

	mu     sync.Mutex
	errors uint64
	hook   string
	facts  []Fact
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
	m.facts = append(m.facts, Fact{Name: strings.ToUpper(name[:1]) + name[1:], Value: strconv.FormatFloat(sum, 'f', -1, 64)})
}
