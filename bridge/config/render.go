package config

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
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
	if err := c.addZeros(&node); err != nil {
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

// addZeros adds what is zero and means something: a limit of 0 is none.
func (c *Config) addZeros(node *yaml.Node) error {
	errs := []error{addOmitted(document.Field(node, "global"), c.Global, defaults().Global)}
	for i, j := range document.Field(node, "scrape_configs").Content {
		errs = append(errs, addOmitted(j, *c.Jobs[i].Scrape, job.DefaultConfig(c.Global)))
	}
	return errors.Join(errs...)
}

// addOmitted adds to a struct's mapping the keys that omitempty left out although the
// struct has something else where they are not there.
func addOmitted[T any](to *yaml.Node, v, without T) error {
	is, otherwise := reflect.ValueOf(v), reflect.ValueOf(without)
	for i := range is.NumField() {
		key, omits := strings.CutSuffix(is.Type().Field(i).Tag.Get("yaml"), ",omitempty")
		if !omits || !is.Field(i).IsZero() || otherwise.Field(i).IsZero() {
			continue
		}
		value := new(yaml.Node)
		if err := value.Encode(is.Field(i).Interface()); err != nil {
			return err
		}
		to.Content = append(to.Content, text(key), value)
	}
	return nil
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
// as a comment. A priority that it did not ask for is left out: it follows from the
// order of the rules.
func renderRule(r *mapping.Rule) *yaml.Node {
	rule := &yaml.Node{Kind: yaml.MappingNode, HeadComment: "# " + r.Position.String()}
	add := func(to *yaml.Node, key, value string) {
		to.Content = append(to.Content, text(key), text(value))
	}
	addNumber := func(key string, value float64) {
		rule.Content = append(rule.Content, text(key), number(value))
	}
	id := "metric"
	if r.Row {
		id = "row"
	}
	add(rule, id, r.Metric)
	add(rule, "label", r.Label)
	if r.Row {
		add(rule, "value", r.Text())
	}
	if r.Format != mapping.FormatNumber {
		add(rule, "format", string(r.Format))
	}
	if r.Max > 0 {
		addNumber("max", r.Max)
	}
	if priority, asked := r.AskedPriority(); asked {
		addNumber("priority", priority)
	}
	if r.Top > 0 {
		addNumber("top", float64(r.Top))
	}
	if r.Bottom > 0 {
		addNumber("bottom", float64(r.Bottom))
	}
	if r.Threshold > 0 {
		addNumber("threshold", r.Threshold)
	}
	add(rule, "expr", r.Query)
	if r.Topology == mapping.Host {
		add(rule, "node", "host")
		return rule
	}
	node := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
	add(node, strings.ToLower(string(r.Topology)), r.NodeLabel)
	if r.Regex != nil {
		add(node, "regex", r.NodeRegex())
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
	return &yaml.Node{Kind: yaml.ScalarNode, Value: strconv.FormatFloat(f, 'g', -1, 64)}
}
