package config

import (
	"fmt"
	"reflect"
	"time"

	"github.com/prometheus/common/model"

	"github.com/promscope/promscope/bridge/collectors"
	"github.com/promscope/promscope/ebpf/collector"
	"github.com/promscope/promscope/mapping/document"
)

// rawCollector is what all built-in collectors have in common.
type rawCollector struct {
	Enabled  bool           `yaml:"enabled"`
	Interval model.Duration `yaml:"interval"` // between two gatherings
	// CPUBudgetPercent is the part of one CPU that it may take.
	CPUBudgetPercent float64 `yaml:"cpu_budget_percent"`
}

// rawCollectors returns a pointer to a struct with a field for each collector, as YAML
// has it: what all have in common beside the collector's own options.
func rawCollectors(all []collectors.Settings) reflect.Value {
	var fields []reflect.StructField
	for i, s := range all {
		fields = append(fields, reflect.StructField{
			Name: fmt.Sprintf("Collector%d", i),
			Tag:  reflect.StructTag(fmt.Sprintf("yaml:%q", s.Name)),
			Type: reflect.StructOf([]reflect.StructField{
				{Name: "Common", Tag: `yaml:",inline"`, Type: reflect.TypeFor[rawCollector]()},
				{Name: "Options", Tag: `yaml:",inline"`, Type: reflect.TypeOf(s.Options).Elem()},
			}),
		})
	}
	raw := reflect.New(reflect.StructOf(fields))
	for i, s := range all {
		field := raw.Elem().Field(i)
		field.Field(0).Set(reflect.ValueOf(rawCollector{s.Enabled, model.Duration(s.Interval), 100 * s.Budget}))
		field.Field(1).Set(reflect.ValueOf(s.Options).Elem())
	}
	return raw
}

// defaultCollectors are the settings of all built-in collectors without a
// configuration.
func defaultCollectors() []collectors.Settings {
	var all []collectors.Settings
	for _, d := range collectors.Definitions() {
		all = append(all, collectors.Settings{Definition: d, Enabled: !d.Off, Interval: d.Interval, Budget: collectors.DefaultBudget, Options: d.Options()})
	}
	return all
}

// minInterval bounds what gathering and scraping cost. Scope's probe looks
// once a second.
const minInterval = model.Duration(100 * time.Millisecond)

// collectors returns the settings of all built-in collectors. What the configuration
// does not say has its default.
func (l *loader) collectors() []collectors.Settings {
	section := document.Field(l.doc.Root, "collectors")
	all := defaultCollectors()
	raw := rawCollectors(all)
	l.decode(section, raw.Interface())
	for i := range all {
		s, field, at := &all[i], raw.Elem().Field(i), document.Field(section, all[i].Name)
		common, _ := field.Field(0).Interface().(rawCollector)
		s.Enabled, s.Interval = common.Enabled, time.Duration(common.Interval)
		s.Budget = common.CPUBudgetPercent / 100
		s.Options, _ = field.Field(1).Addr().Interface().(collector.Options)
		l.require(common.Interval >= minInterval, at, "interval", "must be at least %s", minInterval)
		l.require(common.CPUBudgetPercent >= 0, at, "cpu_budget_percent", "must not be negative")
		for _, p := range s.Options.Check() {
			l.require(false, at, p.Option, "%s", p.Message)
		}
	}
	return all
}

func collectorNames() []string {
	var names []string
	for _, d := range collectors.Definitions() {
		names = append(names, d.Name)
	}
	return names
}
