package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/promscope/promscope/bridge/plugin"
	"github.com/promscope/promscope/mapping/document"
)

// maxSamples bounds the window in the report: Scope draws no more than a
// sparkline from it, and decodes it each second.
const maxSamples = 600

func (l *loader) scope() Scope {
	raw, section := l.raw.Scope, document.Field(l.doc.Root, "scope")
	l.require(raw.PluginsRoot != "", section, "plugins_root", "must not be empty")
	l.require(plugin.CheckID(raw.PluginID) == nil, section, "plugin_id",
		"%q is not an id for Scope, which takes letters, digits and single dashes", raw.PluginID)
	l.require(raw.Label != "", section, "label", "must not be empty")
	err := checkHost(raw.Host)
	l.require(err == nil, section, "host", "%v", err)
	l.require(slices.Contains([]PodMode{PodsAuto, PodsOn, PodsOff}, raw.Pods), section, "pods",
		"must be auto, on or off")
	l.require(raw.Samples >= 1 && raw.Samples <= maxSamples, section, "samples",
		"must be between 1 and %d", maxSamples)
	l.require(raw.MaxAge > 0, section, "max_age", "must be positive")
	return Scope{
		PluginsRoot: l.path(raw.PluginsRoot),
		PluginID:    raw.PluginID,
		Label:       raw.Label,
		Description: raw.Description,
		Host:        raw.Host,
		Pods:        raw.Pods,
		Samples:     raw.Samples,
		MaxAge:      time.Duration(raw.MaxAge),
	}
}

// checkHost returns what is wrong with a name for the host: in node ids, a semicolon
// follows it.
func checkHost(name string) error {
	if strings.ContainsAny(name, "; \t\n") {
		return fmt.Errorf("%q must have no space and no semicolon", name)
	}
	return nil
}

// maxReportSize is where Scope's probe stops reading (50 MiB), less a margin.
const maxReportSize = 48 << 20

// maxWindow is what the store can tell the times of apart (49 days), less a margin.
const maxWindow = model.Duration(30 * 24 * time.Hour)

func (l *loader) limits() Limits {
	raw, section := l.raw.Limits, document.Field(l.doc.Root, "limits")
	for _, limit := range []struct {
		key   string
		value int64
	}{
		{"max_series", int64(raw.MaxSeries)},
		{"max_window", int64(raw.MaxWindow)},
		{"max_nodes", int64(raw.MaxNodes)},
		{"max_metrics_per_rule", int64(raw.MaxMetricsPerRule)},
		{"max_evaluation_samples", int64(raw.MaxEvaluationSamples)},
		{"evaluation_timeout", int64(raw.EvaluationTimeout)},
		{"max_report_nodes", int64(raw.MaxReportNodes)},
		{"max_report_size", int64(raw.MaxReportSize)},
	} {
		l.require(limit.value > 0, section, limit.key, "must be positive")
	}
	l.require(raw.MaxWindow <= maxWindow, section, "max_window", "must be at most 30d: samples are kept in memory")
	l.require(raw.MaxReportSize <= maxReportSize, section, "max_report_size",
		"must be at most 48MiB: Scope's probe reads no more than 50MiB")
	return Limits{
		MaxSeries:            raw.MaxSeries,
		MaxWindow:            time.Duration(raw.MaxWindow),
		MaxNodes:             raw.MaxNodes,
		MaxMetricsPerRule:    raw.MaxMetricsPerRule,
		MaxEvaluationSamples: raw.MaxEvaluationSamples,
		EvaluationTimeout:    time.Duration(raw.EvaluationTimeout),
		MaxReportNodes:       raw.MaxReportNodes,
		MaxReportBytes:       int(raw.MaxReportSize),
	}
}
