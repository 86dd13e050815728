package http

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/ebpf/collector"
	"github.com/promscope/promscope/ebpf/load"
)

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
		// The kernel allocates all of a table at once. These take 6 MB together.
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
	var all []counted
	err := load.ReadMap(m, func(o owner, p *process) { all = append(all, counted{o, p}) })
	return all, err
}

// dropProcesses forgets owners.
func dropProcesses(processes, rare *ebpf.Map, gone []owner) error {
	if len(gone) == 0 {
		return nil
	}
	var codes []rareCode
	err := load.ReadMap(rare, func(code rareCode, _ *uint64) {
		if slices.Contains(gone, code.Owner) {
			codes = append(codes, code)
		}
	})
	return errors.Join(err, load.Drop(rare, codes), load.Drop(processes, gone))
}
