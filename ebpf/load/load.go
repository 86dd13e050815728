// Package load puts a collector's eBPF programs to work: it finds out what the kernel has, chooses the
// first hook set that serves, loads and attaches its programs, and says in plain words why others do not.
//
// Nothing is derived from the kernel's release. A tracepoint, a function or a kfunc is there when the
// kernel's own BTF has it. A program works when the kernel has loaded and attached it.
package load

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"

	"github.com/promscope/promscope/ebpf/collector"
)

// Object is what a collector has the kernel load.
type Object struct {
	// File is the object, as clang made it.
	File []byte
	// HookSets to choose from, best first.
	HookSets []collector.HookSet
	// Configure sizes the maps and sets the constants for a hook set; nil if there is nothing to set.
	Configure func(*ebpf.CollectionSpec, collector.HookSet, *Kernel) error
}

// Programs are the programs of a hook set at work. They must be closed.
type Programs struct {
	HookSet    collector.HookSet
	Refused    []collector.Refusal
	Warnings   []collector.Warning
	Collection *ebpf.Collection
	hooks      map[string]hook // by program
	fillable   []string        // maps
	// A link detaches its program when it is collected as garbage: they live here.
	links map[string]link.Link
}

// hook is where a program is attached.
type hook struct {
	kind kind
	name string
}

// Open loads and attaches the first hook set that works here. Sets whose programs can be preempted, and
// so lose events, come after all others. The error is a *collector.Error.
func Open(o Object, types *btf.Cache) (*Programs, error) {
	k, err := thisKernel(types)
	if err != nil {
		return nil, err
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(o.File))
	if err != nil {
		return nil, fmt.Errorf("reading the object: %w", err)
	}
	return o.choose(k, spec)
}

// thisKernel looks at the kernel that runs. It is an error if promscope lacks the capabilities
// to load programs.
func thisKernel(cache *btf.Cache) (*Kernel, error) {
	missing, err := MissingCapabilities()
	if err == nil && len(missing) > 0 {
		return nil, noCapabilities(missing)
	}
	types, err := KernelTypes(cache)
	if err != nil {
		return nil, err
	}
	k := &Kernel{
		btf:          types,
		cache:        cache,
		architecture: runtime.GOARCH,
		kprobes:      exists("/sys/bus/event_source/devices/kprobe/type"),
		lockdown:     readLockdown("/sys/kernel/security/lockdown"),
		memlockErr:   rlimit.RemoveMemlock(),
	}
	k.preemptible = preemption(types) // for which it loads a program: the limit is raised before
	return k, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// choose tries the hook sets in order.
func (o Object) choose(k *Kernel, spec *ebpf.CollectionSpec) (*Programs, error) {
	order := slices.Clone(o.HookSets)
	slices.SortStableFunc(order, func(a, b collector.HookSet) int {
		return cmp.Compare(k.loses(spec, a), k.loses(spec, b))
	})
	var (
		refused []collector.Refusal
		causes  []error
	)
	for _, set := range order {
		p, err := o.attach(k, spec.Copy(), set)
		if err != nil {
			e := k.explain(set, err)
			refused, causes = append(refused, collector.Refusal{HookSet: set.Name, Reason: e.Reason, Remedy: e.Remedy}), append(causes, e)
			continue
		}
		p.Refused = slices.Concat(refused, passedOver(o.HookSets, set, refused))
		if k.loses(spec, set) > 0 {
			p.Warnings = []collector.Warning{{Reason: preempted, Remedy: watchMissed}}
		}
		return p, nil
	}
	return nil, noneServes(refused, errors.Join(causes...))
}

// loses returns 1 if events of the set's programs can be lost because a task is preempted, else 0.
func (k *Kernel) loses(spec *ebpf.CollectionSpec, set collector.HookSet) int {
	if set.Unpreempted {
		return 0
	}
	for _, name := range set.Programs {
		if k.preemptible[kindOf(spec.Programs[name])] {
			return 1
		}
	}
	return 0
}

// passedOver returns the sets before the one that serves that were not tried.
func passedOver(sets []collector.HookSet, serves collector.HookSet, refused []collector.Refusal) []collector.Refusal {
	var passed []collector.Refusal
	for _, set := range sets {
		if set.Name == serves.Name {
			break
		}
		if !slices.ContainsFunc(refused, func(r collector.Refusal) bool { return r.HookSet == set.Name }) {
			passed = append(passed, collector.Refusal{HookSet: set.Name, Reason: preempted, Remedy: noRemedyNeeded})
		}
	}
	return passed
}

// attach loads the programs of the set, and no others, and puts them on their hooks.
func (o Object) attach(k *Kernel, spec *ebpf.CollectionSpec, set collector.HookSet) (_ *Programs, err error) {
	if len(set.Architectures) > 0 && !slices.Contains(set.Architectures, k.architecture) {
		return nil, unsupported(set, k.architecture)
	}
	if missing := k.missing(spec, set); len(missing) > 0 {
		return nil, lacking(set, missing)
	}
	if o.Configure != nil {
		if err := o.Configure(spec, set, k); err != nil {
			return nil, err
		}
	}
	for name := range spec.Programs {
		if !slices.Contains(set.Programs, name) {
			delete(spec.Programs, name)
		}
	}
	collection, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Cache: k.cache})
	if err != nil {
		return nil, err
	}
	p := &Programs{HookSet: set, Collection: collection, hooks: map[string]hook{}, fillable: fillable(spec), links: map[string]link.Link{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	for _, name := range set.Programs {
		p.hooks[name] = hook{kindOf(spec.Programs[name]), spec.Programs[name].AttachTo}
		if p.hooks[name].kind == iterator {
			err = p.Iterate(name, io.Discard)
		} else {
			err = p.Attach(name)
		}
		if err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Attach puts a program on its hook.
func (p *Programs) Attach(name string) error {
	var (
		program = p.Collection.Programs[name]
		hook    = p.hooks[name]
		l       link.Link
		err     error
	)
	if hook.kind == kprobe {
		l, err = link.Kprobe(hook.name, program, nil)
	} else {
		l, err = link.AttachTracing(link.TracingOptions{Program: program})
	}
	if err != nil {
		return &attachError{hook, err}
	}
	p.links[name] = l
	return nil
}

// Detach takes a program off its hook.
func (p *Programs) Detach(name string) error {
	err := p.links[name].Close()
	delete(p.links, name)
	return err
}

// Iterate runs an iterator over everything once, and copies what it writes. Open has run each of them once.
func (p *Programs) Iterate(name string, to io.Writer) (err error) {
	iter, err := link.AttachIter(link.IterOptions{Program: p.Collection.Programs[name]})
	if err != nil {
		return fmt.Errorf("attaching %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, iter.Close()) }()
	all, err := iter.Open()
	if err != nil {
		return fmt.Errorf("opening the iterator %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, all.Close()) }()
	if _, err := io.Copy(to, all); err != nil {
		return fmt.Errorf("running the iterator %s: %w", name, err)
	}
	return nil
}

// Counter returns a global variable of the object, of 64 bits.
func (p *Programs) Counter(name string) (uint64, error) {
	var n uint64
	if err := p.Collection.Variables[name].Get(&n); err != nil {
		return 0, fmt.Errorf("reading %s: %w", name, err)
	}
	return n, nil
}

// Close detaches the programs and frees everything.
func (p *Programs) Close() error {
	var errs []error
	for name := range p.links {
		errs = append(errs, p.Detach(name))
	}
	p.Collection.Close()
	return errors.Join(errs...)
}
