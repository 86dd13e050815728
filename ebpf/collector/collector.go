// Package collector says what a built-in collector is: one value of Definition is all that
// configuration, pages, documentation and doctor need to know of it. It does not matter here whether
// a collector loads eBPF programs.
package collector

import (
	"errors"
	"log/slog"
	"time"

	"github.com/cilium/ebpf/btf"
	"github.com/prometheus/client_golang/prometheus"
)

// Definition describes a collector before it runs.
type Definition struct {
	Name string
	Help string
	// Off tells that the collector does not run unless the configuration says so.
	Off bool
	// Interval between two gathers, by default.
	Interval time.Duration
	// Prefixes are the beginnings of the names of its series.
	Prefixes []string
	// Capabilities that it needs, by the kernel's names, and no other rights.
	Capabilities []string
	// Kernel is the first release it runs on. It is for documentation only. Empty means any.
	Kernel string
	// HookSets are the sets of kernel hooks it can use, best first. It uses one.
	HookSets []HookSet
	// Options returns the collector's own options with their defaults.
	Options func() Options
}

// Options are a collector's own options: a pointer to a struct with YAML tags.
type Options interface {
	// Check returns what is wrong with the options, by the name of the option.
	Check() []Problem
	// Open starts the collector. When the machine does not allow it, the error is an *Error.
	Open(Environment) (Collector, error)
}

// Problem is an option with a value that is not allowed.
type Problem struct {
	Option  string // its YAML name
	Message string // "must be positive"
}

// Environment is what promscope gives a collector to run.
type Environment struct {
	// Interval at which it is gathered.
	Interval time.Duration
	Logger   *slog.Logger
	// Types of the kernel. Collectors that are opened together share them.
	Types *btf.Cache
}

// Collector is a collector at work.
type Collector interface {
	prometheus.Collector
	Status() Status
	Close() error
}

// InKernel is a Collector whose programs run in the kernel.
type InKernel interface {
	// KernelTime returns the CPU time that the programs have taken, as far as the kernel counts
	// it: it does while the sysctl kernel.bpf_stats_enabled is 1.
	KernelTime() time.Duration
}

// HookSet is a set of eBPF programs that together see what the collector counts.
type HookSet struct {
	Name string
	// Programs of the collector's object, in the order in which they are attached.
	Programs []string
	// Kfuncs are kernel functions that the programs call.
	Kfuncs []string
	// Kernel is the first release that has the hooks. It is for documentation only: the choice
	// follows what the running kernel has.
	Kernel string
	// Unpreempted tells that what the programs count comes from places where the kernel itself does not
	// let a task be preempted, whatever the kind of hook.
	Unpreempted bool
	// Architectures that the programs are written for, by Go's names. Empty means all.
	Architectures []string
}

// Status is what a collector says of itself.
type Status struct {
	// HookSet is the name of the set that serves. Empty if the collector has none.
	HookSet string
	// Refused tells of each better set why it does not serve.
	Refused []Refusal
	// Warnings tell what may make the counts wrong.
	Warnings []Warning
	// Facts are what the collector counts of itself.
	Facts []Fact
	// Programs that run in the kernel, and the Maps that they fill.
	Programs []Program
	Maps     []Map
	// CountsRuns tells whether the kernel counts the runs of programs now: the sysctl
	// kernel.bpf_stats_enabled is 1.
	CountsRuns bool
}

// Program is what the kernel counts of a program.
type Program struct {
	Name   string
	Missed uint64        // events that were not passed to it
	Runs   uint64        // while the sysctl kernel.bpf_stats_enabled was 1
	Took   time.Duration // CPU time of those
}

// Map is how full a map is.
type Map struct {
	Name    string
	Entries int // when they were counted last
	Limit   int // what there is room for
	// Evicts tells that the oldest entry makes room for a new one where the map is full. The
	// kernel does not count how often. Any other map has no room then.
	Evicts bool
}

// Refusal tells why a hook set does not serve.
type Refusal struct {
	HookSet string
	Reason  string
	Remedy  string
}

// Warning tells what may make the counts wrong, and what helps.
type Warning struct {
	Reason string
	Remedy string
}

// Fact is a figure with its name, as a page shows them.
type Fact struct {
	Name  string
	Value string
}

// Error says why a collector cannot work here and what would help.
type Error struct {
	Reason string // in continuous form, without a full stop
	Remedy string // an instruction
	Err    error  // the cause, nil if the reason says all
}

func (e *Error) Error() string { return e.Reason + "; " + e.Remedy }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ReasonAndRemedy takes an error apart. The remedy is empty if the error tells none.
func ReasonAndRemedy(err error) (reason, remedy string) {
	var known *Error
	if errors.As(err, &known) {
		return known.Reason, known.Remedy
	}
	return err.Error(), ""
}
