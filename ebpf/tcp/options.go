package tcp

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/ebpf/collector"
	"github.com/promscope/promscope/ebpf/load"
)

const (
	mostProcesses   = 1 << 16
	mostConnections = 1 << 20
)

// Options of the collector.
type Options struct {
	// MaxProcesses that have series at a time. What more do is the host's alone.
	MaxProcesses int `yaml:"max_processes"`
	// MaxConnections that are tracked at a time, and listeners. Those beyond are not counted. 0
	// is as many as the kernel holds in a few megabytes.
	MaxConnections int `yaml:"max_connections"`

	hookSet string // the only one to try, for tests
}

// Definition says what the collector is and what it needs.
func Definition() collector.Definition {
	return collector.Definition{
		Name:         "tcp",
		Help:         "TCP connections, failures, resets, retransmits and bytes by process, from the kernel.",
		Interval:     time.Second,
		Prefixes:     []string{prefix},
		Capabilities: load.Capabilities(),
		Kernel:       "5.10",
		HookSets:     hookSets(),
		Options:      func() collector.Options { return defaultOptions() },
	}
}

func defaultOptions() *Options { return &Options{MaxProcesses: 1024} }

// hookSets returns the ways of seeing how the states of sockets change, best first. What was
// there before comes after the hooks: so nothing is missed in between.
func hookSets() []collector.HookSet {
	littleEndian := []string{"amd64", "arm64", "loong64", "ppc64le", "riscv64"}
	return []collector.HookSet{
		{
			Name:          "tracepoints",
			Programs:      []string{"on_state", "on_reset", "on_synack", programAdopt, programSockets, programProcesses},
			Kernel:        "5.13",
			Architectures: littleEndian,
		},
		{
			Name:          kprobes,
			Programs:      []string{"kprobe_store_state", "kprobe_set_state", "on_reset", "on_synack", programAdopt, programSockets, programProcesses},
			Kernel:        "5.13",
			Architectures: []string{"amd64", "arm64"},
			// A task can be preempted in on_reset while it aborts a connection. Only another
			// reset at that very time is lost, and is seen as one missed.
			Unpreempted: true,
		},
		{
			Name:          "files",
			Programs:      []string{"on_state", "on_reset", "on_synack", programAdopt, programFiles, programProcesses},
			Kernel:        "5.10",
			Architectures: littleEndian,
		},
	}
}

// kprobes is the name of the hook set whose programs are not given typed pointers.
const kprobes = "kprobes"

// Check implements collector.Options.
func (o *Options) Check() []collector.Problem {
	var problems []collector.Problem
	within := func(option string, value, least, most int) {
		if value < least || value > most {
			problems = append(problems, collector.Problem{Option: option, Message: fmt.Sprintf("must be between %d and %d", least, most)})
		}
	}
	within("max_processes", o.MaxProcesses, 1, mostProcesses)
	within("max_connections", o.MaxConnections, 0, mostConnections)
	return problems
}

// Open loads the programs, attaches them, and begins to count.
func (o *Options) Open(env collector.Environment) (collector.Collector, error) {
	return o.open(env)
}

func (o *Options) open(env collector.Environment) (*load.Collector, error) {
	sets := hookSets()
	if o.hookSet != "" {
		sets = slices.DeleteFunc(sets, func(s collector.HookSet) bool { return s.Name != o.hookSet })
	}
	object := load.Object{
		File:      object,
		HookSets:  sets,
		Configure: o.configure,
	}
	return load.Start("tcp", object, env, func(p *load.Programs) (load.Reader, error) {
		return newReader(p, o.MaxProcesses, max(2*env.Interval, keepAtLeast))
	})
}

// configure sets the sizes of the maps, and what is constant to the programs.
func (o *Options) configure(spec *ebpf.CollectionSpec, set collector.HookSet, k *load.Kernel) error {
	if slices.Contains(set.Programs, programSockets) && k.Parameter("bpf_for_each_map_elem", "map") == 0 {
		return &collector.Error{
			Reason: "this kernel has no bpf_for_each_map_elem",
			Remedy: "run Linux " + set.Kernel + " or later for this hook set",
			Err:    ebpf.ErrNotSupported,
		}
	}
	connections := o.MaxConnections
	if k.AllocatesOnDemand() {
		connections = cmp.Or(connections, 32768)
		for _, name := range []string{mapProcesses, mapCreds, mapConnections, mapSums} {
			spec.Maps[name].Flags |= unix.BPF_F_NO_PREALLOC
		}
	} else {
		connections = cmp.Or(connections, 16384)
	}
	spec.Maps[mapConnections].MaxEntries = uint32(connections)
	spec.Maps[mapProcesses].Contents = []ebpf.MapKV{{Key: nobody, Value: counted{}}}
	if err := spec.Variables["typed"].Set(set.Name != kprobes); err != nil {
		return fmt.Errorf("setting typed: %w", err)
	}
	return nil
}
