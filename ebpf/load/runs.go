package load

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/promscope/promscope/ebpf/collector"
)

// counts returns what the kernel counts of the programs of the hook set.
func (p *Programs) counts() ([]collector.Program, error) {
	var all []collector.Program
	for _, name := range p.HookSet.Programs {
		stats, err := p.Collection.Programs[name].Stats()
		if err != nil {
			return nil, fmt.Errorf("reading the runs of %s: %w", name, err)
		}
		c := collector.Program{Name: name, Missed: stats.RecursionMisses, Runs: stats.RunCount, Took: stats.Runtime}
		// A kprobe that is hit within another is skipped before it comes to the program. Kernels
		// before 6.7 do not tell.
		if l, ok := p.links[name]; ok {
			if info, err := l.Info(); err == nil && info.PerfEvent() != nil && info.PerfEvent().Kprobe() != nil {
				c.Missed += info.PerfEvent().Kprobe().Missed
			}
		}
		all = append(all, c)
	}
	return all, nil
}

// kernelTime returns the CPU time that the programs on hooks have taken while the kernel counted
// it. An iterator runs in the thread that reads it: what it takes is that thread's.
func (p *Programs) kernelTime() (sum time.Duration) {
	for name := range p.links {
		stats, err := p.Collection.Programs[name].Stats()
		if err != nil {
			return 0 // it is counted nowhere else
		}
		sum += stats.Runtime
	}
	return sum
}

// countsRuns reports whether the kernel counts the runs of programs now.
func countsRuns() bool {
	content, err := os.ReadFile("/proc/sys/kernel/bpf_stats_enabled")
	return err == nil && strings.TrimSpace(string(content)) != "0"
}

// series turns what is known of programs and their maps into series.
type series struct {
	info, missed, runs, seconds, entries, limit *prometheus.Desc
}

// newSeries returns the series of a collector's programs.
func newSeries(name string) *series {
	desc := func(metric, help, label string) *prometheus.Desc {
		return prometheus.NewDesc("promscope_"+name+"_"+metric, help, []string{label}, nil)
	}
	return &series{
		info:    desc("hook_info", "The set of kernel hooks that serves.", "hooks"),
		missed:  desc("hook_runs_missed_total", "Events that the kernel did not pass to a program because one was running already.", "program"),
		runs:    desc("hook_runs_total", "Events that a program has run for, or things that an iterator has looked at; counted while the sysctl kernel.bpf_stats_enabled is 1.", "program"),
		seconds: desc("hook_run_seconds_total", "CPU time that a program has taken; counted while the sysctl kernel.bpf_stats_enabled is 1.", "program"),
		entries: desc("map_entries", "Entries of a map that the programs fill, as they were counted in the last 10 s; rarer if that takes long.", "map"),
		limit:   desc("map_entries_limit", "Entries that a map has room for.", "map"),
	}
}

// describe sends the descriptions of the series.
func (s *series) describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{s.info, s.missed, s.runs, s.seconds, s.entries, s.limit} {
		ch <- d
	}
}

// of returns the series.
func (s *series) of(hookSet string, programs []collector.Program, maps []collector.Map) []prometheus.Metric {
	metrics := []prometheus.Metric{prometheus.MustNewConstMetric(s.info, prometheus.GaugeValue, 1, hookSet)}
	for _, p := range programs {
		for desc, value := range map[*prometheus.Desc]float64{s.missed: float64(p.Missed), s.runs: float64(p.Runs), s.seconds: p.Took.Seconds()} {
			metrics = append(metrics, prometheus.MustNewConstMetric(desc, prometheus.CounterValue, value, p.Name))
		}
	}
	for _, m := range maps {
		metrics = append(metrics,
			prometheus.MustNewConstMetric(s.entries, prometheus.GaugeValue, float64(m.Entries), m.Name),
			prometheus.MustNewConstMetric(s.limit, prometheus.GaugeValue, float64(m.Limit), m.Name))
	}
	return metrics
}

// status says which hook set serves, why better ones do not, what was missed, and how full the maps are.
func (p *Programs) status(programs []collector.Program, maps []collector.Map) collector.Status {
	var missed uint64
	for _, one := range programs {
		missed += one.Missed
	}
	status := collector.Status{
		HookSet:    p.HookSet.Name,
		Refused:    slices.Clone(p.Refused),
		Warnings:   slices.Clone(p.Warnings),
		Programs:   programs,
		Maps:       maps,
		CountsRuns: countsRuns(),
	}
	if missed > 0 && len(status.Warnings) == 0 {
		status.Warnings = []collector.Warning{{
			Reason: fmt.Sprintf("the kernel has skipped %d runs of the programs", missed),
			Remedy: "look for other BPF programs on the same hooks",
		}}
	}
	return status
}
