package config

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	promdiscovery "github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"

	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/mapping"
	"github.com/promscope/promscope/mapping/document"
)

// usualInterval is the longest scrape interval that a job may have without being a
// slow one, if the configuration's intervals are short. With 2 minutes, the windows of
// $__rate_interval are 10 minutes.
const usualInterval = 2 * time.Minute

// interval returns the scrape interval of the series that the matchers can
// select, which decides $__rate_interval: that of the built-in collectors
// whose metrics they name; else the longest among the jobs that a matcher on
// the label job admits; else the longest of all jobs that are not slow. promscope's
// own metrics are gathered at the global interval.
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
	var admitted, usual time.Duration
	byJob, longest := named(matchers, model.JobLabel), c.longestUsual()
	for _, j := range c.Jobs {
		interval := time.Duration(j.Scrape.ScrapeInterval)
		if interval <= longest {
			usual = max(usual, interval)
		}
		if byJob && (j.renames() || admitsJob(matchers, j.Scrape.JobName)) {
			admitted = max(admitted, interval)
		}
	}
	switch {
	case admitted > 0:
		return admitted
	case usual == 0 || byJob && admitsJob(matchers, job.InProcess):
		return own
	default:
		return usual
	}
}

// FillVariables returns a query with windows in place of its variables, as in a rule.
func (c *Config) FillVariables(query string) (string, error) {
	return mapping.FillVariables(query, mapping.Options{Interval: c.interval})
}

// longestUsual is the interval beyond which a job is slow. The windows of a rule that
// names no job do not follow a slow job: they would be far too long for all others. The
// shortest interval of all jobs counts, so that no configuration has slow jobs only.
func (c *Config) longestUsual() time.Duration {
	longest := max(usualInterval, time.Duration(c.Global.ScrapeInterval))
	if len(c.Jobs) == 0 {
		return longest
	}
	shortest := slices.MinFunc(c.Jobs, func(a, b Job) int { return cmp.Compare(a.Scrape.ScrapeInterval, b.Scrape.ScrapeInterval) })
	return max(longest, time.Duration(shortest.Scrape.ScrapeInterval))
}

// warnOfSlowJobs says which jobs' rates are shown by no rule. A rule that names such a
// job has been written for it.
func (l *loader) warnOfSlowJobs(c *Config) {
	if l.found.Err() != nil {
		return // a job or a rule may be missing
	}
	longest, list := c.longestUsual(), document.Field(l.doc.Root, "scrape_configs")
	for i, j := range c.Jobs {
		interval := time.Duration(j.Scrape.ScrapeInterval)
		if interval <= longest || slices.ContainsFunc(c.Rules.Selectors(), func(s mapping.Selector) bool {
			return named(s.Matchers, model.JobLabel) && admitsJob(s.Matchers, j.Scrape.JobName)
		}) {
			continue
		}
		node := document.Resolve(list.Content[i])
		l.report(l.doc.Warnf(cmp.Or(document.Field(node, "scrape_interval"), node),
			"the job %q is scraped every %s only: rules that name no job, as those of presets, show none of its rates", j.Scrape.JobName, j.Scrape.ScrapeInterval).
			WithHint("give it a scrape_interval of %s or less, or write rules that select job=%q", model.Duration(longest), j.Scrape.JobName))
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
