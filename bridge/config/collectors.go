package config

import (
	"time"

	"github.com/prometheus/common/model"

	"github.com/promscope/promscope/ebpf/port"
	"github.com/promscope/promscope/mapping/document"
)

// Collectors configures the built-in collectors. One that the configuration
// does not name runs with its defaults, where the machine allows it.
type Collectors struct {
	IOWait IOWait `yaml:"iowait"`
	HTTP   HTTP   `yaml:"http"`
}

// Collector is what all built-in collectors have in common.
type Collector struct {
	Enabled  bool           `yaml:"enabled"`
	Interval model.Duration `yaml:"interval"` // between two gatherings
}

// IOWait configures the CPU time of this host, by mode.
type IOWait struct {
	Collector `yaml:",inline"`
}

// HTTP configures what the kernel sees of HTTP servers.
type HTTP struct {
	Collector `yaml:",inline"`

	Ports          PortFilter `yaml:"ports"`           // of servers
	MaxProcesses   int        `yaml:"max_processes"`   // tracked at a time
	MaxConnections int        `yaml:"max_connections"` // tracked at a time
	Clients        bool       `yaml:"clients"`         // also what processes ask of others
}

// PortFilter admits ports.
type PortFilter struct {
	Include port.Set `yaml:"include,omitempty"` // empty: all
	Exclude port.Set `yaml:"exclude,omitempty"`
}

func defaultCollectors() Collectors {
	everySecond := Collector{Enabled: true, Interval: model.Duration(time.Second)}
	return Collectors{
		IOWait: IOWait{Collector: everySecond},
		HTTP: HTTP{
			Collector:      everySecond,
			MaxProcesses:   1_024,
			MaxConnections: 65_536,
		},
	}
}

// BuiltIn is a collector by name, with the beginnings of its metrics' names.
type BuiltIn struct {
	Name string
	Collector

	prefixes []string
}

// All returns the built-in collectors, also those that are not enabled.
func (c *Collectors) All() []BuiltIn {
	return []BuiltIn{
		{"iowait", c.IOWait.Collector, []string{"promscope_cpu_", "promscope_host_cpu_"}},
		{"http", c.HTTP.Collector, []string{"promscope_http_"}},
	}
}

// minInterval bounds what gathering and scraping cost. Scope's probe looks
// once a second.
const minInterval = model.Duration(100 * time.Millisecond)

func (l *loader) checkCollectors(c *Collectors) {
	section := document.Field(l.doc.Root, "collectors")
	for _, b := range c.All() {
		at := document.Field(section, b.Name)
		l.require(b.Interval >= minInterval, at, "interval", "must be at least %s", minInterval)
	}
	http := document.Field(section, "http")
	l.require(c.HTTP.MaxProcesses > 0, http, "max_processes", "must be positive")
	l.require(c.HTTP.MaxConnections > 0, http, "max_connections", "must be positive")
}

func collectorNames() []string {
	var names []string
	for _, b := range new(Collectors).All() {
		names = append(names, b.Name)
	}
	return names
}
