package wait

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"

	"github.com/promscope/promscope/ebpf/collector"
	"github.com/promscope/promscope/ebpf/load"
)

// The layout of what the BPF programs write: bpf/wait.bpf.c.

// owner names a process.
type owner struct {
	Start uint64 // of its first thread: monotonic clock, nanoseconds
	TGID  uint32
	_     uint32
}

// ended is what can no longer be read of a process's threads, in nanoseconds.
type ended struct{ IO, CPU uint64 }

// thread is what the iterator writes of each thread. Times are in nanoseconds.
type thread struct {
	Owner   owner
	CPU, IO uint64
	Comm    [16]byte
}

const (
	firstBound = 14 // the first and the last bound of the histogram, as powers of two of nanoseconds
	lastBound  = 32
	buckets    = (lastBound-firstBound)*4 + 2
)

type latency struct {
	Sum     uint64 // nanoseconds
	Buckets [buckets]uint64
}

// bounds returns the upper bounds of the histogram's buckets, in seconds, but for the last one,
// which has none. Four share an octave, and the first of them is the widest for its values: a
// quantile that is interpolated in it is off by 25 % at most.
func bounds() (b [buckets - 1]float64) {
	for i := range b {
		b[i] = time.Duration(uint64(4+i%4) << (firstBound - 2 + i/4)).Seconds()
	}
	return b
}

// hookSets has the only one.
func hookSets() []collector.HookSet {
	return []collector.HookSet{{
		Name:          "switches",
		Programs:      []string{"on_exit", "on_switch", programThreads},
		Kernel:        "5.10",
		Architectures: []string{"amd64", "arm64", "loong64", "ppc64le", "riscv64"},
		// Of on_exit, too, a run that is skipped would be seen as one missed. It keeps what a
		// thread that exits has waited, and no more.
		Unpreempted: true,
	}}
}

// configure says what this kernel lacks for the programs to be loaded.
func configure(_ *ebpf.CollectionSpec, set collector.HookSet, k *load.Kernel) error {
	for _, field := range []struct{ of, name, option string }{
		{"sched_info", "run_delay", "CONFIG_SCHED_INFO"},
		{"cfs_rq", "rq", "CONFIG_FAIR_GROUP_SCHED"},
	} {
		if !k.HasField(field.of, field.name) {
			return &collector.Error{
				Reason: "this kernel keeps no times of waiting: struct " + field.of + " has no " + field.name,
				Remedy: "run a kernel built with " + field.option,
				Err:    ebpf.ErrNotSupported,
			}
		}
	}
	return nil
}

// readThreads calls each with every thread that lives. Threads that end meanwhile may be left out.
func readThreads(p *load.Programs, each func(thread)) error {
	var out bytes.Buffer
	if err := p.Iterate(programThreads, &out); err != nil {
		return err
	}
	const size = int(unsafe.Sizeof(thread{}))
	order := binary.NativeEndian
	for b := out.Bytes(); len(b) >= size; b = b[size:] {
		// By hand: binary.Decode takes three times as long.
		each(thread{
			Owner: owner{Start: order.Uint64(b), TGID: order.Uint32(b[8:])},
			CPU:   order.Uint64(b[16:]),
			IO:    order.Uint64(b[24:]),
			Comm:  [16]byte(b[32:48]),
		})
	}
	return nil
}

// readEnded returns what can no longer be read of threads.
func readEnded(m *ebpf.Map) (map[owner]ended, error) {
	all := map[owner]ended{}
	err := load.ReadMap(m, func(o owner, e *ended) { all[o] = *e })
	return all, err
}

// readLatencies adds up the histograms of the CPUs.
func readLatencies(m *ebpf.Map) (sum latency, err error) {
	var cpus []latency
	if err := m.Lookup(uint32(0), &cpus); err != nil {
		return sum, fmt.Errorf("reading latencies: %w", err)
	}
	for i := range cpus {
		sum.Sum += cpus[i].Sum
		for j, n := range cpus[i].Buckets {
			sum.Buckets[j] += n
		}
	}
	return sum, nil
}
