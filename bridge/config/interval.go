package config

import (
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	promdiscovery "github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"

	"github.com/promscope/promscope/bridge/scrape/job"
)

// interval returns the scrape interval of the series that the matchers can
// select, which decides $__rate_interval: that of the built-in collectors
// whose metrics they name; else the longest among the jobs that a matcher on
// the label job admits; else the longest of all jobs. promscope's own metrics
// are gathered at the global interval.
func (c *Config) interval(matchers []*labels.Matcher) time.Duration {
	own := time.Duration(c.Global.ScrapeInterval)
	if admitsJob(matchers, job.InProcess) {
		name := nameBeginning(matchers)
		var longest time.Duration
		for _, b := range c.Collectors {
			if b.Enabled && b.Serves(name) {
				longest = max(longest, b.Interval)
			}
		}
		switch {
		case longest > 0:
			return longest
		case strings.HasPrefix(name, "promscope_"):
			return own
		}
	}
	var admitted, all time.Duration
	for _, j := range c.Jobs {
		interval := time.Duration(j.Scrape.ScrapeInterval)
		all = max(all, interval)
		if j.renames() || admitsJob(matchers, j.Scrape.JobName) {
			admitted = max(admitted, interval)
		}
	}
	switch {
	case admitted > 0:
		return admitted
	case all == 0 || admitsJob(matchers, job.InProcess):
		return own
	default:
		return all
	}
}

// nameBeginning returns what the names of the selected metrics begin with: the
// whole name where it is given, "" where nothing is known.
func nameBeginning(matchers []*labels.Matcher) string {
	for _, m := range matchers {
		if m.Name != model.MetricNameLabel {
			continue
		}
		switch m.Type {
		case labels.MatchEqual:
			return m.Value
		case labels.MatchRegexp:
			return m.Prefix()
		default: // what a name is not tells nothing
		}
	}
	return ""
}

// admitsJob reports whether series of a job pass the matchers on its label.
func admitsJob(matchers []*labels.Matcher, job string) bool {
	return !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool {
		return m.Name == model.JobLabel && !m.Matches(job)
	})
}

// renames reports whether the configuration can give a job's series another
// job label than its name.
func (j Job) renames() bool {
	if j.Scrape.HonorLabels ||
		slices.ContainsFunc(j.Scrape.RelabelConfigs, writesJob) ||
		slices.ContainsFunc(j.Scrape.MetricRelabelConfigs, writesJob) {
		return true
	}
	for _, c := range j.Discovery.Configs {
		groups, _ := c.(promdiscovery.StaticConfig)
		for _, group := range groups {
			if _, named := group.Labels[model.JobLabel]; named {
				return true
			}
		}
	}
	return false
}

// writesJob reports whether a relabelling can write the label job.
func writesJob(rc *relabel.Config) bool {
	return rc.TargetLabel == model.JobLabel || strings.Contains(rc.TargetLabel, "$") || rc.Action == relabel.LabelMap
}
