package config

import (
	"time"

	"github.com/alecthomas/units"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/file"
	"github.com/prometheus/prometheus/discovery/http"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"go.yaml.in/yaml/v3"

	"github.com/promscope/promscope/bridge/discovery"
	"github.com/promscope/promscope/bridge/scrape/job"
)

// rawConfig is a configuration as YAML has it. What is a node depends on other
// parts, or is somebody else's to read.
type rawConfig struct {
	Global        job.Global `yaml:"global"`
	Scope         rawScope   `yaml:"scope"`
	ScrapeConfigs yaml.Node  `yaml:"scrape_configs"`
	Collectors    yaml.Node  `yaml:"collectors"`
	Presets       yaml.Node  `yaml:"presets"`
	RuleFiles     yaml.Node  `yaml:"rule_files"`
	Rules         yaml.Node  `yaml:"rules"`
	Limits        rawLimits  `yaml:"limits"`
}

// rawPresets are changes to the default presets.
type rawPresets struct {
	Include []string `yaml:"include,flow,omitempty"`
	Exclude []string `yaml:"exclude,flow,omitempty"`
}

type rawScope struct {
	PluginsRoot string         `yaml:"plugins_root"`
	PluginID    string         `yaml:"plugin_id"`
	Label       string         `yaml:"label"`
	Description string         `yaml:"description"`
	Host        string         `yaml:"host"`
	Pods        PodMode        `yaml:"pods"`
	Samples     int            `yaml:"samples"`
	MaxAge      model.Duration `yaml:"max_age"`
}

type rawLimits struct {
	MaxSeries            int              `yaml:"max_series"`
	MaxWindow            model.Duration   `yaml:"max_window"`
	MaxNodes             int              `yaml:"max_nodes"`
	MaxMetricsPerRule    int              `yaml:"max_metrics_per_rule"`
	MaxEvaluationSamples int              `yaml:"max_evaluation_samples"`
	EvaluationTimeout    model.Duration   `yaml:"evaluation_timeout"`
	MaxReportNodes       int              `yaml:"max_report_nodes"`
	MaxReportSize        units.Base2Bytes `yaml:"max_report_size"`
}

// rawJob is one entry of scrape_configs.
type rawJob struct {
	Scrape          job.Config                    `yaml:",inline"`
	StaticConfigs   []*targetgroup.Group          `yaml:"static_configs,omitempty"`
	FileSDConfigs   []*file.SDConfig              `yaml:"file_sd_configs,omitempty"`
	HTTPSDConfigs   []*http.SDConfig              `yaml:"http_sd_configs,omitempty"`
	ListenerConfigs []*discovery.ListenerSDConfig `yaml:"listener_sd_configs,omitempty"`
}

// defaults returns what a configuration means that says nothing, but for the
// jobs: these are in default.yml.
func defaults() rawConfig {
	global := job.DefaultGlobal()
	// As in Prometheus, so that a job with a longer interval gets as long there
	// and here. A shorter interval cuts it.
	global.ScrapeTimeout = model.Duration(10 * time.Second)
	return rawConfig{
		Global: global,
		Scope: rawScope{
			PluginsRoot: "/var/run/scope/plugins",
			PluginID:    "promscope",
			Label:       "Prometheus",
			Description: "Metrics of Prometheus endpoints, and of the kernel, on the nodes they speak of",
			Pods:        PodsAuto,
			Samples:     15,
			MaxAge:      model.Duration(time.Minute),
		},
		Limits: rawLimits{
			MaxSeries:            100_000,
			MaxWindow:            model.Duration(time.Hour),
			MaxNodes:             5_000,
			MaxMetricsPerRule:    20,
			MaxEvaluationSamples: 1_000_000,
			EvaluationTimeout:    model.Duration(5 * time.Second),
			MaxReportNodes:       20_000,
			MaxReportSize:        16 * units.MiB,
		},
	}
}
