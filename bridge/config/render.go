package config

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"github.com/alecthomas/units"
	"github.com/prometheus/common/model"
	promdiscovery "github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/file"
	"github.com/prometheus/prometheus/discovery/http"
	"github.com/prometheus/prometheus/model/relabel"
	"go.yaml.in/yaml/v3"

	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/mapping"
	"github.com/promscope/promscope/mapping/document"
	"github.com/promscope/promscope/mapping/secret"
)

// effective is a Config as YAML: with the defaults filled in, and the rules of
// presets left to the presets.
type effective struct {
	Global        job.Global   `yaml:"global"`
	Scope         rawScope     `yaml:"scope"`
	ScrapeConfigs []rawJob     `yaml:"scrape_configs"`
	Collectors    any          `yaml:"collectors"`
	Presets       any          `yaml:"presets,flow"`
	Rules         []*yaml.Node `yaml:"rules"`
	Limits        rawLimits    `yaml:"limits"`
}

// redacted returns the whole configuration in force as YAML, with the defaults
// filled in and no secret in it.
func (c *Config) redacted() ([]byte, error) {
	e := effective{
		Global:     c.Global,
		Scope:      c.Scope.raw(),
		Collectors: rawCollectors(c.Collectors).Interface(),
		Presets:    renderPresets(c.Presets),
		Limits:     c.Limits.raw(),
	}
	for _, job := range c.Jobs {
		e.ScrapeConfigs = append(e.ScrapeConfigs, job.raw())
	}
	for _, rule := range c.Rules.Rules() {
		if rule.Preset == "" {
			e.Rules = append(e.Rules, renderRule(rule))
		}
	}

	var node yaml.Node
	if err := node.Encode(e); err != nil {
		return nil, fmt.Errorf("rendering the configuration: %w", err)
	}
	document.Redact(&node)
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(&node); err != nil {
		return nil, fmt.Errorf("rendering the configuration: %w", err)
	}
	return out.Bytes(), nil
}

// renderPresets returns the presets as a list, or as changes to the default ones if
// some are in use that nobody asked for.
func renderPresets(presets []Preset) any {
	var all []string
	changes := rawPresets{Exclude: mapping.DefaultPresets()}
	for _, p := range presets {
		all = append(all, p.Name)
		if !p.Default {
			changes.Include = append(changes.Include, p.Name)
		}
		changes.Exclude = slices.DeleteFunc(changes.Exclude, func(name string) bool { return name == p.Name })
	}
	if len(changes.Include) == len(all) {
		return all
	}
	return changes
}

// String returns what redacted does, so that no secret gets out by %v.
func (c *Config) String() string {
	text, err := c.redacted()
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// GoString keeps secrets out of %#v.
func (c *Config) GoString() string { return c.String() }

// LogValue keeps secrets out of logs, and logs short.
func (c *Config) LogValue() slog.Value {
	return slog.GroupValue(slog.String("file", c.File), slog.Int("jobs", len(c.Jobs)))
}

func (s Scope) raw() rawScope {
	return rawScope{
		PluginsRoot: s.PluginsRoot,
		PluginID:    s.PluginID,
		Label:       s.Label,
		Description: s.Description,
		Host:        s.Host,
		Pods:        s.Pods,
		Samples:     s.Samples,
		MaxAge:      model.Duration(s.MaxAge),
	}
}

func (l Limits) raw() rawLimits {
	return rawLimits{
		MaxSeries:            l.MaxSeries,
		MaxWindow:            model.Duration(l.MaxWindow),
		MaxNodes:             l.MaxNodes,
		MaxMetricsPerRule:    l.MaxMetricsPerRule,
		MaxEvaluationSamples: l.MaxEvaluationSamples,
		EvaluationTimeout:    model.Duration(l.EvaluationTimeout),
		MaxReportNodes:       l.MaxReportNodes,
		MaxReportSize:        units.Base2Bytes(l.MaxReportBytes),
	}
}

func (j Job) raw() rawJob {
	raw := rawJob{Scrape: *j.Scrape, ListenerConfigs: j.Discovery.Listeners}
	raw.Scrape.RelabelConfigs = redactParams(raw.Scrape.RelabelConfigs)
	for _, c := range j.Discovery.Configs {
		switch c := c.(type) {
		case promdiscovery.StaticConfig:
			raw.StaticConfigs = append(raw.StaticConfigs, c...)
		case *file.SDConfig:
			raw.FileSDConfigs = append(raw.FileSDConfigs, c)
		case *http.SDConfig:
			raw.HTTPSDConfigs = append(raw.HTTPSDConfigs, c)
		}
	}
	return raw
}

// redactParams copies relabellings without the values that they give to URL
// parameters: these are where tokens are put.
func redactParams(rcs []*relabel.Config) []*relabel.Config {
	shown := make([]*relabel.Config, len(rcs))
	for i, rc := range rcs {
		c := *rc
		if strings.HasPrefix(c.TargetLabel, model.ParamLabelPrefix) && c.Replacement != relabel.DefaultRelabelConfig.Replacement {
			c.Replacement = secret.Mark
		}
		shown[i] = &c
	}
	return shown
}

// renderRule returns a rule as it is evaluated, with the place it comes from
// as a comment.
func renderRule(r *mapping.Rule) *yaml.Node {
	rule := &yaml.Node{Kind: yaml.MappingNode, HeadComment: "# " + r.Position.String()}
	add := func(to *yaml.Node, key, value string) {
		to.Content = append(to.Content, text(key), text(value))
	}
	add(rule, "metric", r.Metric)
	add(rule, "label", r.Label)
	if r.Format != mapping.FormatNumber {
		add(rule, "format", string(r.Format))
	}
	if r.Max > 0 {
		rule.Content = append(rule.Content, text("max"), number(r.Max))
	}
	rule.Content = append(rule.Content, text("priority"), number(r.Priority))
	add(rule, "expr", r.Query)
	if r.Topology == mapping.Host {
		add(rule, "node", "host")
		return rule
	}
	node := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
	add(node, strings.ToLower(string(r.Topology)), r.NodeLabel)
	if r.Regex != nil {
		add(node, "regex", strings.TrimSuffix(strings.TrimPrefix(r.Regex.String(), "^(?s:"), ")$"))
	}
	rule.Content = append(rule.Content, text("node"), node)
	return rule
}

func text(s string) *yaml.Node {
	node := new(yaml.Node)
	node.SetString(s)
	return node
}

func number(f float64) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!float", Value: strconv.FormatFloat(f, 'g', -1, 64)}
}
