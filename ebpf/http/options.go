package http

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Defaults of the options of the same names.
const (
	DefaultMaxProcesses   = 1024
	DefaultMaxConnections = 65536
	DefaultInterval       = time.Second

	maxProcesses = 1 << 16
	keepAtLeast  = 2 * time.Second
)

// Ports selects connections by port: the server's own, for both sides. Exclude wins; an empty
// Include means all.
type Ports struct {
	Include []uint16
	Exclude []uint16
}

// Options of the collector. The zero value stands for the defaults.
type Options struct {
	Ports Ports
	// MaxProcesses that can be tracked at a time, a process that is both server and client twice.
	// Each takes 640 bytes per possible CPU. When there are more, those that have been without a
	// request the longest make room.
	MaxProcesses int
	// MaxConnections that are tracked at a time. Those beyond are not counted.
	MaxConnections int
	// Clients also counts requests sent, by the process that sends them.
	Clients bool
	// Interval at which the collector is gathered. A process that has exited is reported for two of
	// them, and for two seconds at least, so that a gather has its last counts even if it comes late.
	Interval time.Duration
	Logger   *slog.Logger

	// hook restricts the choice to one set of hooks, for tests.
	hook string
}

func (o Options) validate() (Options, error) {
	var errs []error
	if o.MaxProcesses == 0 {
		o.MaxProcesses = DefaultMaxProcesses
	}
	if o.MaxConnections == 0 {
		o.MaxConnections = DefaultMaxConnections
	}
	if o.Interval == 0 {
		o.Interval = DefaultInterval
	}
	if o.MaxProcesses < 1 || o.MaxProcesses > maxProcesses {
		errs = append(errs, fmt.Errorf("max_processes is %d: must be between 1 and %d", o.MaxProcesses, maxProcesses))
	}
	if o.MaxConnections < 1 || o.MaxConnections > 1<<24 {
		errs = append(errs, fmt.Errorf("max_connections is %d: must be between 1 and %d", o.MaxConnections, 1<<24))
	}
	if o.Interval < 0 {
		errs = append(errs, fmt.Errorf("interval is %s: must not be negative", o.Interval))
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, errors.Join(errs...)
}

// keep returns how long a process that has exited is still reported.
func (o Options) keep() time.Duration {
	return max(2*o.Interval, keepAtLeast)
}

// excluded returns the ports to leave alone, one bit each.
func (p Ports) excluded() []byte {
	bits := make([]byte, 65536/8)
	if len(p.Include) > 0 {
		for i := range bits {
			bits[i] = 0xff
		}
	}
	for _, port := range p.Include {
		bits[port/8] &^= 1 << (port % 8)
	}
	for _, port := range p.Exclude {
		bits[port/8] |= 1 << (port % 8)
	}
	return bits
}
