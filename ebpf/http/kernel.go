package http

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/ebpf/hook"
)

// kernel is the loaded and attached programs, with their maps.
type kernel struct {
	hooks      hooks
	collection *ebpf.Collection
	// links detach their programs when they are collected as garbage: they live here.
	links     []link.Link
	processes []process
	counters  []counters
	mappings  [][]byte
}

// loadKernel loads the first of the alternatives that works here.
// The messages say why better ones did not.
func loadKernel(o Options) (*kernel, []string, error) {
	btf, err := hook.KernelSpec()
	if err != nil {
		return nil, nil, err
	}
	base, needs := always()
	if err := needs.Check(btf); err != nil {
		return nil, nil, hook.Explain(err)
	}
	var (
		errs    []error
		refused []string
	)
	for _, h := range alternatives() {
		if o.hook != "" && o.hook != h.String() {
			continue
		}
		err := h.Needs.Check(btf)
		if err == nil {
			var k *kernel
			if k, err = attach(o, h, slices.Concat(base, h.Programs)); err == nil {
				return k, refused, nil
			}
		}
		errs = append(errs, fmt.Errorf("hooks %s: %w", h, err))
		refused = append(refused, errs[len(errs)-1].Error())
	}
	return nil, nil, hook.Explain(errors.Join(errs...))
}

// attach loads the programs named and puts them on their hooks.
func attach(o Options, h hooks, programs []string) (_ *kernel, err error) {
	spec, err := prepare(o, programs)
	if err != nil {
		return nil, err
	}
	collection, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, err
	}
	k := &kernel{hooks: h, collection: collection}
	defer func() {
		if err != nil {
			err = errors.Join(err, k.Close())
		}
	}()

	if err := k.mapMemory(o.MaxProcesses); err != nil {
		return nil, err
	}
	// A stack: the lowest slot is on top.
	for slot := o.MaxProcesses; slot > 0; slot-- {
		if err := k.free(uint32(slot - 1)); err != nil {
			return nil, err
		}
	}
	// In this order the ends come first, so that nothing is tracked whose end is missed.
	for _, name := range programs {
		if name == bpfProgAdopt {
			continue
		}
		l, err := link.AttachTracing(link.TracingOptions{Program: collection.Programs[name]})
		if err != nil {
			return nil, fmt.Errorf("attaching %s: %w", name, err)
		}
		k.links = append(k.links, l)
	}
	return k, k.adopt()
}

// prepare returns the object with the programs named, sized and configured by the options.
func prepare(o Options, programs []string) (*ebpf.CollectionSpec, error) {
	spec, err := loadBpf()
	if err != nil {
		return nil, err
	}
	for name := range spec.Programs {
		if !slices.Contains(programs, name) {
			delete(spec.Programs, name)
		}
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, err
	}
	entries := uint32(o.MaxProcesses)
	spec.Maps[bpfMapSlots].MaxEntries = entries
	spec.Maps[bpfMapFreeSlots].MaxEntries = entries
	spec.Maps[bpfMapProcesses].MaxEntries = entries
	spec.Maps[bpfMapCounters].MaxEntries = entries * uint32(cpus)
	for name, size := range map[string]uintptr{
		bpfMapProcesses: unsafe.Sizeof(process{}),
		bpfMapCounters:  unsafe.Sizeof(counters{}),
	} {
		if got := spec.Maps[name].ValueSize; uintptr(got) != size {
			return nil, fmt.Errorf("values of map %s have %d bytes, not %d", name, got, size)
		}
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
		bpfVarBucketBounds:   nanoseconds,
		bpfVarCodeColumns:    columns,
		bpfVarExcludedPorts:  o.Ports.excluded(),
		bpfVarCpus:           uint32(cpus),
		bpfVarMaxConnections: uint32(o.MaxConnections),
		bpfVarClients:        o.Clients,
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("setting %s: %w", name, err)
		}
	}
	return spec, nil
}

// mapMemory maps the arrays that a gather reads.
func (k *kernel) mapMemory(slots int) error {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return err
	}
	processes, err := k.mapArray(bpfMapProcesses, slots*int(unsafe.Sizeof(process{})))
	if err != nil {
		return err
	}
	all, err := k.mapArray(bpfMapCounters, slots*cpus*int(unsafe.Sizeof(counters{})))
	if err != nil {
		return err
	}
	k.processes = unsafe.Slice((*process)(unsafe.Pointer(&processes[0])), slots)
	k.counters = unsafe.Slice((*counters)(unsafe.Pointer(&all[0])), slots*cpus)
	return nil
}

func (k *kernel) mapArray(name string, size int) ([]byte, error) {
	memory, err := unix.Mmap(k.collection.Maps[name].FD(), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping %s: %w", name, err)
	}
	k.mappings = append(k.mappings, memory)
	return memory, nil
}

// adopt gives the connections that are open already their state. The hooks run by now: what
// opens meanwhile is seen by them.
func (k *kernel) adopt() (err error) {
	iter, err := link.AttachIter(link.IterOptions{Program: k.collection.Programs[bpfProgAdopt]})
	if err != nil {
		return fmt.Errorf("attaching %s: %w", bpfProgAdopt, err)
	}
	defer func() { err = errors.Join(err, iter.Close()) }()
	files, err := iter.Open()
	if err != nil {
		return fmt.Errorf("opening the iterator of files: %w", err)
	}
	defer func() { err = errors.Join(err, files.Close()) }()
	if _, err := io.Copy(io.Discard, files); err != nil {
		return fmt.Errorf("iterating files: %w", err)
	}
	return k.collection.Variables[bpfVarAdopted].Set(true)
}

// counter returns one of the object's global counters.
func (k *kernel) counter(name string) (uint64, error) {
	var n uint64
	if err := k.collection.Variables[name].Get(&n); err != nil {
		return 0, fmt.Errorf("reading %s: %w", name, err)
	}
	return n, nil
}

func (k *kernel) release(o owner) error {
	if err := k.collection.Maps[bpfMapSlots].Delete(o); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("releasing the slot of process %d: %w", o.TGID, err)
	}
	return nil
}

func (k *kernel) free(slot uint32) error {
	if err := k.collection.Maps[bpfMapFreeSlots].Put(nil, slot); err != nil {
		return fmt.Errorf("freeing slot %d: %w", slot, err)
	}
	return nil
}

func (k *kernel) rareCodes(each func(rareCode, uint64)) error {
	var (
		key   rareCode
		count uint64
	)
	entries := k.collection.Maps[bpfMapRareCodes].Iterate()
	for entries.Next(&key, &count) {
		each(key, count)
	}
	// One that is deleted meanwhile makes the iteration begin anew, or end early: the next
	// gather has them all.
	if err := entries.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return fmt.Errorf("reading rare codes: %w", err)
	}
	return nil
}

func (k *kernel) dropRareCodes(slot uint32) error {
	var gone []rareCode
	err := k.rareCodes(func(code rareCode, _ uint64) {
		if code.Slot == slot {
			gone = append(gone, code)
		}
	})
	for _, code := range gone {
		if e := k.collection.Maps[bpfMapRareCodes].Delete(code); e != nil && !errors.Is(e, ebpf.ErrKeyNotExist) {
			err = errors.Join(err, fmt.Errorf("dropping rare codes: %w", e))
		}
	}
	return err
}

// Close detaches the programs and frees everything.
func (k *kernel) Close() error {
	var errs []error
	for _, l := range k.links {
		errs = append(errs, l.Close())
	}
	for _, memory := range k.mappings {
		errs = append(errs, unix.Munmap(memory))
	}
	k.links, k.mappings, k.processes, k.counters = nil, nil, nil, nil
	k.collection.Close()
	return errors.Join(errs...)
}

// now returns the clock of bpf_ktime_get_ns.
func now() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0 // cannot happen: the clock always exists
	}
	return time.Duration(t.Nano())
}
