package http

import (
	"fmt"
	"time"

	"github.com/promscope/promscope/ebpf/collector"
	"github.com/promscope/promscope/ebpf/port"
)

const (
	maxProcesses   = 1 << 16
	maxConnections = 1 << 24
	keepAtLeast    = 2 * time.Second
)

// Ports selects connections by port: the server's own, for both sides. Exclude wins; an empty
// Include means all.
type Ports struct {
	Include port.Set `yaml:"include,omitempty"`
	Exclude port.Set `yaml:"exclude,omitempty"`
}

// Options of the collector.
type Options struct {
	Ports Ports `yaml:"ports"`
	// MaxProcesses that can be tracked at a time, a process that is both server and client twice.
	// When there are more, those that have answered nothing for the longest make room.
	MaxProcesses int `yaml:"max_processes"`
	// MaxConnections that are tracked at a time. Those beyond are not counted. 0 is as many as the kernel
	// holds in a few megabytes.
	MaxConnections int `yaml:"max_connections"`
	// Clients also counts requests sent, by the process that sends them.
	Clients bool `yaml:"clients"`
	// OwnRequests also counts the requests that promscope itself makes, as it scrapes and discovers.
	OwnRequests bool `yaml:"own_requests"`

	hookSet string // the only one to try, for tests
}

// defaultOptions returns the defaults.
func defaultOptions() *Options {
	return &Options{MaxProcesses: 1024}
}

// Check implements collector.Options.
func (o *Options) Check() []collector.Problem {
	var problems []collector.Problem
	within := func(option string, value, least, most int) {
		if value < least || value > most {
			problems = append(problems, collector.Problem{Option: option, Message: fmt.Sprintf("must be between %d and %d", least, most)})
		}
	}
	within("max_processes", o.MaxProcesses, 1, maxProcesses)
	within("max_connections", o.MaxConnections, 0, maxConnections)
	return problems
}

// excluded returns the ports to leave alone, one bit each.
func (p Ports) excluded() []byte {
	bits := make([]byte, 65536/8)
	if len(p.Include) > 0 {
		for i := range bits {
			bits[i] = 0xff
		}
	}
	for _, number := range p.Include.List() {
		bits[number/8] &^= 1 << (number % 8)
	}
	for _, number := range p.Exclude.List() {
		bits[number/8] |= 1 << (number % 8)
	}
	return bits
}
