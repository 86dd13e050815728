package http

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/ebpf/collector"
	"github.com/promscope/promscope/ebpf/load"
)

// loadPrograms has the kernel load and attach the programs.
func loadPrograms(o *Options) (*load.Programs, error) {
	sets := hookSets()
	if o.hookSet != "" {
		sets = slices.DeleteFunc(sets, func(s collector.HookSet) bool { return s.Name != o.hookSet })
	}
	p, err := load.Open(load.Object{Spec: loadSpec, HookSets: sets, Configure: o.configure})
	if err != nil {
		return nil, err
	}
	// All that was open before has its state now.
	if err := p.Collection.Variables["adopted"].Set(true); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// configure sets the sizes of the maps, and what is constant to the programs.
func (o *Options) configure(spec *ebpf.CollectionSpec, set collector.HookSet, k *load.Kernel) error {
	if got := spec.Maps[mapProcesses].ValueSize; uintptr(got) != unsafe.Sizeof(process{}) {
		return fmt.Errorf("values of map %s have %d bytes, not %d", mapProcesses, got, unsafe.Sizeof(process{}))
	}
	typed := set.Name == tracepoints
	spec.Maps[mapProcesses].MaxEntries = uint32(o.MaxProcesses)
	connections := uint32(o.MaxConnections)
	if k.AllocatesOnDemand() {
		connections = cmp.Or(connections, 32768)
		for _, name := range []string{mapProcesses, mapAddresses, mapReadings, mapRareCodes, mapObservers, mapNotedEnds} {
			spec.Maps[name].Flags |= unix.BPF_F_NO_PREALLOC
		}
	} else {
		// The kernel allocates all of a table at once. These take 7 MB together.
		connections = cmp.Or(connections, 16384)
		spec.Maps[mapReadings].MaxEntries = 8192
		spec.Maps[mapRareCodes].MaxEntries = 1024
		spec.Maps[mapObservers].MaxEntries = 2048
		spec.Maps[mapNotedEnds].MaxEntries = 2048
	}
	if typed {
		spec.Maps[mapReadings].MaxEntries = 1 // nothing uses it
	} else {
		spec.Maps[mapAddresses].MaxEntries = connections
	}

	var nanoseconds [boundsTable]uint64
	for i := range nanoseconds {
		nanoseconds[i] = math.MaxUint64
	}
	for i, bound := range bounds() {
		nanoseconds[i] = uint64(bound)
	}
	var columns [codesTable]uint8
	for i, code := range columnCodes() {
		columns[code-firstCode] = uint8(i + 1)
	}
	for name, value := range map[string]any{
		"typed":           typed,
		"bucket_bounds":   nanoseconds,
		"code_columns":    columns,
		"excluded_ports":  o.Ports.excluded(),
		"max_connections": connections,
		"clients":         o.Clients,
		"own_requests":    o.OwnRequests,
		"recvmsg_flags":   uint32(k.Parameter("tcp_recvmsg", "flags")),
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	return nil
}

// counted is what the kernel has counted for an owner.
type counted struct {
	owner
	*process
}

// readProcesses returns what is counted of all processes.
func readProcesses(m *ebpf.Map) ([]counted, error) {
	// The kernel, too, allocates room for a batch: 64 are 43 kB.
	const batch = 64
	var (
		all    []counted
		cursor ebpf.MapBatchCursor
		keys   = make([]owner, batch)
	)
	for {
		values := make([]process, batch)
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		for i := range n {
			all = append(all, counted{keys[i], &values[i]})
		}
		switch {
		case errors.Is(err, ebpf.ErrKeyNotExist):
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("reading processes: %w", err)
		}
	}
}

// rareCodes calls each with the responses of every code that has no column.
func rareCodes(m *ebpf.Map, each func(rareCode, uint64)) error {
	var (
		key       rareCode
		responses uint64
	)
	entries := m.Iterate()
	for entries.Next(&key, &responses) {
		each(key, responses)
	}
	// One that is deleted meanwhile makes the iteration begin anew, or end early: the next
	// gather has them all.
	if err := entries.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return fmt.Errorf("reading rare codes: %w", err)
	}
	return nil
}

// dropProcesses forgets owners.
func dropProcesses(processes, rare *ebpf.Map, gone []owner) error {
	if len(gone) == 0 {
		return nil
	}
	var codes []rareCode
	err := rareCodes(rare, func(code rareCode, _ uint64) {
		if slices.Contains(gone, code.Owner) {
			codes = append(codes, code)
		}
	})
	for _, code := range codes {
		err = errors.Join(err, drop(rare, code))
	}
	for _, o := range gone {
		err = errors.Join(err, drop(processes, o))
	}
	return err
}

func drop(m *ebpf.Map, key any) error {
	if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("dropping %+v: %w", key, err)
	}
	return nil
}

// now returns the clock of bpf_ktime_get_ns.
func now() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0 // cannot happen: the clock always exists
	}
	return time.Duration(t.Nano())
}
