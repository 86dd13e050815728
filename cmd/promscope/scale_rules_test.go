package main

import (
	"fmt"
	"strings"
)

// ruleText are the rules of a point: the exporters' clocks, the selected series by
// process, and the further rules.
func (s scale) ruleText() string {
	var text strings.Builder
	rule := func(metric, expr, label string) {
		fmt.Fprintf(&text, "  - {metric: %s, label: %s, expr: '%s', node: {process: %s}}\n", metric, metric, expr, label)
	}
	text.WriteString("rules:\n")
	rule("clock", `scale_clock_seconds{job="scale"}`, "target_pid")
	label := "target_pid"
	if s.pids > 0 {
		label = "pid"
	}
	for i := range s.metrics {
		expr := fmt.Sprintf("scale_selected%d", i)
		if s.selected != s.pids*s.metrics { // a node has several
			expr = fmt.Sprintf("sum by (%s) (%s)", label, expr)
		}
		rule(fmt.Sprintf("m%d", i), expr, label)
	}
	if s.rules == 0 {
		return text.String()
	}
	rule("cheap", `scale_clock_seconds{job="cheap"}`, "target_pid")
	expr := map[string]string{
		"rate":     "sum by (pid) (rate(scale_selected0[$__rate_interval]))",
		"quantile": "histogram_quantile(0.9, sum by (pid, le) (rate(scale_selected0[$__rate_interval])))",
		"join":     "sum by (pid) (scale_selected0 / on (pid, le, path) scale_selected0)",
	}[s.kind]
	for i := range s.rules {
		rule(fmt.Sprintf("r%d", i), expr, "pid")
	}
	return text.String()
}
