package config

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	promdiscovery "github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/mapping/document"
)

// ownMetrics lists promscope's own metrics, those of its collectors included. A
// test compares it with docs/metrics.md, and that with what is registered.
//
//go:embed own_metrics.txt
var ownMetrics string

// ownPrefix is what the names of promscope's own metrics begin with.
const ownPrefix = "promscope_"

// fed reports whether any job or collector can have series that the matchers
// select, and if not, which there are. Where that cannot be known, because only the
// targets know what they serve, it is true.
func (c *Config) fed(matchers []*labels.Matcher) (fed bool, hint string) {
	names := selectedNames(matchers)
	for _, j := range c.Jobs {
		if !j.mayBeNamed(matchers) {
			continue
		}
		// Metrics of another promscope come from a job only to rules that name it.
		if names == nil || named(matchers, model.JobLabel) || slices.ContainsFunc(names, foreign) {
			return true, ""
		}
	}
	switch {
	case !admitsJob(matchers, job.InProcess):
		return false, c.jobsHint()
	case names == nil || slices.ContainsFunc(names, c.exports):
		return true, ""
	case slices.ContainsFunc(names, foreign):
		return false, c.jobsHint()
	}
	return false, c.ownHint(names)
}

// jobsHint says which jobs there are.
func (c *Config) jobsHint() string {
	if len(c.Jobs) == 0 {
		return "scrape_configs has no job, and promscope has its own metrics only"
	}
	var names []string
	for _, j := range c.Jobs {
		names = append(names, j.Scrape.JobName)
	}
	return fmt.Sprintf("jobs are %s, and %s for its own metrics", strings.Join(names, ", "), job.InProcess)
}

// ownHint says why promscope has none of the metrics, whose names are like those of
// its own.
func (c *Config) ownHint(names []string) string {
	for _, b := range c.Collectors {
		if !b.Enabled && slices.ContainsFunc(names, b.Serves) {
			return fmt.Sprintf("the collector %s is not enabled", b.Name)
		}
	}
	if meant := document.Suggest(names[0], strings.Fields(ownMetrics)); meant != "" {
		return fmt.Sprintf("did you mean %s?", meant)
	}
	return "docs/metrics.md lists promscope's own metrics"
}

// selectedNames returns the only metric names that the matchers can select; nil
// if these cannot be listed.
func selectedNames(matchers []*labels.Matcher) []string {
	for _, m := range matchers {
		if m.Name != model.MetricNameLabel {
			continue
		}
		switch m.Type {
		case labels.MatchEqual:
			return []string{m.Value}
		case labels.MatchRegexp:
			if names := m.SetMatches(); len(names) > 0 {
				return names
			}
		default: // what a name is not tells nothing
		}
	}
	return nil
}

// foreign reports whether a metric is none of promscope's.
func foreign(name string) bool { return !strings.HasPrefix(name, ownPrefix) }

func named(matchers []*labels.Matcher, label string) bool {
	return slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return m.Name == label })
}

// exports reports whether promscope itself has the metric: one of its own, or of a
// collector that is not switched off.
func (c *Config) exports(name string) bool {
	if foreign(name) {
		// Of the Go runtime, the process, service discovery and each scrape.
		return slices.ContainsFunc([]string{"go_", "process_", "prometheus_", "promhttp_", "scrape_"}, func(prefix string) bool {
			return strings.HasPrefix(name, prefix)
		}) || name == "up"
	}
	known := strings.Fields(ownMetrics)
	base := name
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		base = strings.TrimSuffix(base, suffix)
	}
	if !slices.Contains(known, name) && !slices.Contains(known, base) {
		return false
	}
	for _, b := range c.Collectors {
		if b.Serves(name) {
			return b.Enabled
		}
	}
	return true
}

// mayBeNamed reports whether series of the job may have a job label that passes
// the matchers.
func (j Job) mayBeNamed(matchers []*labels.Matcher) bool {
	if j.renames() || admitsJob(matchers, j.Scrape.JobName) {
		return true
	}
	// Target groups out of files and from HTTP may bring a job label along.
	return slices.ContainsFunc(j.Discovery.Configs, func(d promdiscovery.Config) bool {
		_, static := d.(promdiscovery.StaticConfig)
		return !static
	})
}
