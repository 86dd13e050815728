package disk

import (
	"fmt"
	"math"
	"time"

	"github.com/cilium/ebpf"

	"github.com/promscope/promscope/ebpf/collector"
	"github.com/promscope/promscope/ebpf/load"
)

const mostProcesses = 1 << 16

// Options of the collector.
type Options struct {
	// MaxProcesses that are exposed at a time: those that read or wrote last.
	MaxProcesses int `yaml:"max_processes"`
}

// Definition says what the collector is and what it needs.
func Definition() collector.Definition {
	return collector.Definition{
		Name:         "disk",
		Help:         "Latency of disks by operation, and bytes that each process reads and writes, from the kernel.",
		Interval:     5 * time.Second, // it looks at all threads
		Prefixes:     []string{prefix},
		Capabilities: load.Capabilities(),
		Kernel:       "5.10",
		HookSets:     hookSets(),
		Options:      func() collector.Options { return &Options{MaxProcesses: 1024} },
	}
}

func hookSets() []collector.HookSet {
	return []collector.HookSet{{
		Name:          "tracepoints",
		Programs:      []string{"on_exit", "on_request", "on_complete", programTasks},
		Kernel:        "5.10",
		Architectures: []string{"amd64", "arm64", "loong64", "ppc64le", "riscv64"}, // little-endian
	}}
}

// Check implements collector.Options.
func (o *Options) Check() []collector.Problem {
	if o.MaxProcesses < 1 || o.MaxProcesses > mostProcesses {
		return []collector.Problem{{Option: "max_processes", Message: fmt.Sprintf("must be between 1 and %d", mostProcesses)}}
	}
	return nil
}

// Open loads the programs, attaches them, and begins to count.
func (o *Options) Open(env collector.Environment) (collector.Collector, error) {
	return o.open(env)
}

func (o *Options) open(env collector.Environment) (*load.Collector, error) {
	object := load.Object{File: object, HookSets: hookSets(), Configure: configure}
	return load.Start("disk", object, env, func(p *load.Programs) (load.Reader, error) {
		return newReader(p, o.MaxProcesses, max(2*env.Interval, keepAtLeast))
	})
}

func configure(spec *ebpf.CollectionSpec, _ collector.HookSet, k *load.Kernel) error {
	var nanoseconds [bucketBounds + 1]uint64
	nanoseconds[bucketBounds] = math.MaxUint64
	for i, bound := range bounds() {
		nanoseconds[i] = uint64(bound)
	}
	for name, value := range map[string]any{
		"bucket_bounds": nanoseconds,
		"getrq_bio":     uint32(k.Argument("block_getrq", "bio")),
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	return nil
}
