package load

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/promscope/promscope/ebpf/collector"
)

// run is what the kernel counts of a program.
type run struct {
	program string
	missed  uint64        // events that were not passed to it
	count   uint64        // of runs, while kernel.bpf_stats_enabled is 1
	took    time.Duration // of all of them
}

// runs returns what the kernel counts of the programs that are attached.
func (p *Programs) runs() ([]run, error) {
	var runs []run
	for _, name := range p.HookSet.Programs {
		l, ok := p.links[name]
		if !ok {
			continue
		}
		stats, err := p.Collection.Programs[name].Stats()
		if err != nil {
			return nil, fmt.Errorf("reading the runs of %s: %w", name, err)
		}
		r := run{program: name, missed: stats.RecursionMisses, count: stats.RunCount, took: stats.Runtime}
		// A kprobe that is hit within another is skipped before it comes to the program. Kernels
		// before 6.7 do not tell.
		if info, err := l.Info(); err == nil && info.PerfEvent() != nil && info.PerfEvent().Kprobe() != nil {
			r.missed += info.PerfEvent().Kprobe().Missed
		}
		runs = append(runs, r)
	}
	return runs, nil
}

// kernelTime returns the CPU time that the programs have taken while the kernel counted it.
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

// series turns what the kernel counts of programs into series.
type series struct {
	info, missed, runs, seconds *prometheus.Desc
}

// newSeries returns the series of a collector's programs.
func newSeries(name string) *series {
	desc := func(metric, help, label string) *prometheus.Desc {
		return prometheus.NewDesc("promscope_"+name+"_"+metric, help, []string{label}, nil)
	}
	return &series{
		info:    desc("hook_info", "The set of kernel hooks that serves.", "hooks"),
		missed:  desc("hook_runs_missed_total", "Events that the kernel did not pass to a program because one was running already.", "program"),
		runs:    desc("hook_runs_total", "Events that a program has run for; counted while the sysctl kernel.bpf_stats_enabled is 1.", "program"),
		seconds: desc("hook_run_seconds_total", "CPU time that a program has taken; counted while the sysctl kernel.bpf_stats_enabled is 1.", "program"),
	}
}

// describe sends the descriptions of the series.
func (s *series) describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{s.info, s.missed, s.runs, s.seconds} {
		ch <- d
	}
}

// of returns the series of the programs.
func (s *series) of(p *Programs) ([]prometheus.Metric, error) {
	runs, err := p.runs()
	metrics := []prometheus.Metric{prometheus.MustNewConstMetric(s.info, prometheus.GaugeValue, 1, p.HookSet.Name)}
	for _, r := range runs {
		for desc, value := range map[*prometheus.Desc]float64{s.missed: float64(r.missed), s.runs: float64(r.count), s.seconds: r.took.Seconds()} {
			metrics = append(metrics, prometheus.MustNewConstMetric(desc, prometheus.CounterValue, value, r.program))
		}
	}
	return metrics, err
}

// status says which hook set serves, why better ones do not, and what was missed.
func (p *Programs) status() (collector.Status, error) {
	runs, err := p.runs()
	var missed uint64
	for _, r := range runs {
		missed += r.missed
	}
	status := collector.Status{
		HookSet:  p.HookSet.Name,
		Refused:  slices.Clone(p.Refused),
		Warnings: slices.Clone(p.Warnings),
		Facts:    []collector.Fact{{Name: "Events missed", Value: strconv.FormatUint(missed, 10)}},
	}
	if missed > 0 && len(status.Warnings) == 0 {
		status.Warnings = []collector.Warning{{
			Reason: fmt.Sprintf("the kernel has skipped %d runs of the programs", missed),
			Remedy: "look for other BPF programs on the same hooks",
		}}
	}
	return status, err
}
