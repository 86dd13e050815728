package config

import (
	"time"

	"github.com/promscope/promscope/bridge/collectors"
	"github.com/promscope/promscope/bridge/discovery"
	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/mapping"
)

// Config is a configuration that has been checked. It is not changed after it
// is loaded.
type Config struct {
	File       string // "" for the default configuration
	Scope      Scope
	Global     job.Global
	Jobs       []Job
	Collectors []collectors.Settings // also those that are not enabled
	Presets    []Preset              // as far as they are in use
	Rules      *mapping.Set
	Limits     Limits

	rulePatterns []string // of rule_files, as paths
	loaded       Checksum
}

// Scope is how promscope presents itself to Weave Scope.
type Scope struct {
	PluginsRoot string // directory that the probe scans for sockets
	PluginID    string // also the name of the socket and its directory
	Label       string // the plugin's name in Scope's list of plugins
	Description string // its tooltip there
	Host        string // host name as the probe uses it; "" to find out
	Pods        PodMode

	Samples int           // most samples of a metric in a report
	MaxAge  time.Duration // of a sample in a report
}

// PodMode says whether presets put their metrics on pods too.
type PodMode string

// By PodsAuto they do if the probe that polls reports on Kubernetes.
const (
	PodsAuto PodMode = "auto"
	PodsOn   PodMode = "on"
	PodsOff  PodMode = "off"
)

// A Preset is a preset in use.
type Preset struct {
	Name    string
	Default bool // nobody asked for it
}

// Limits bound what the data can make promscope use.
type Limits struct {
	MaxSeries            int           // kept at a time
	MaxWindow            time.Duration // that a rule's expression may look back
	MaxNodes             int           // per rule
	MaxMetricsPerRule    int           // distinct values of ${label} at a time
	MaxEvaluationSamples int           // held in memory by one evaluation
	EvaluationTimeout    time.Duration // of one rule's evaluation
	MaxReportNodes       int
	MaxReportBytes       int
}

// DefaultLimits are those of a configuration that says nothing.
func DefaultLimits() Limits {
	cfg, _ := Default() // has no errors
	return cfg.Limits
}

// Evaluator returns the limits of the evaluation of rules.
func (l Limits) Evaluator() mapping.EvaluatorOptions {
	return mapping.EvaluatorOptions{
		MaxNodes:          l.MaxNodes,
		MaxMetricsPerRule: l.MaxMetricsPerRule,
		MaxSamples:        l.MaxEvaluationSamples,
		Timeout:           l.EvaluationTimeout,
	}
}

// Job is one entry of scrape_configs: how to scrape, and where the targets
// come from.
type Job struct {
	Scrape    *job.Config
	Discovery discovery.Job
}

// ScrapeJobs returns how each job scrapes.
func (c *Config) ScrapeJobs() []*job.Config {
	jobs := make([]*job.Config, len(c.Jobs))
	for i, job := range c.Jobs {
		jobs[i] = job.Scrape
	}
	return jobs
}

// DiscoveryJobs returns where the targets of each job come from.
func (c *Config) DiscoveryJobs() []discovery.Job {
	jobs := make([]discovery.Job, len(c.Jobs))
	for i, job := range c.Jobs {
		jobs[i] = job.Discovery
	}
	return jobs
}

// WhyUnasked says why no job asks the listeners on a port; it is empty if one does.
func (c *Config) WhyUnasked(port uint16) string { return discovery.WhyUnasked(c.DiscoveryJobs(), port) }

// LongestInterval returns the scrape interval of the slowest job, at least 1 s.
func (c *Config) LongestInterval() time.Duration {
	longest := time.Second
	for _, job := range c.Jobs {
		longest = max(longest, time.Duration(job.Scrape.ScrapeInterval))
	}
	return longest
}
