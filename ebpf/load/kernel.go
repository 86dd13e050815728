package load

import (
	"os"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/promscope/promscope/ebpf/collector"
)

// Kernel is what the running kernel has, as its BTF and its files say.
type Kernel struct {
	btf          *btf.Spec
	cache        *btf.Cache
	architecture string
	kprobes      bool // as events of perf_event_open(2)
	// preemptible is whether a program can be preempted, by the kind of its hook.
	preemptible map[kind]bool
	lockdown    string // "none", "integrity", "confidentiality", or "" if it cannot be seen
	memlockErr  error  // of raising RLIMIT_MEMLOCK, where the kernel counts maps by it
}

// KernelTypes returns the running kernel's BTF. Nothing reads it again from the same cache.
func KernelTypes(cache *btf.Cache) (*btf.Spec, error) {
	spec, err := cache.Kernel()
	if err != nil {
		return nil, &collector.Error{
			Reason: "the kernel does not describe its types (no BTF in /sys/kernel/btf/vmlinux)",
			Remedy: "run a kernel built with CONFIG_DEBUG_INFO_BTF, and mount /sys where promscope runs",
			Err:    err,
		}
	}
	return spec, nil
}

// AllocatesOnDemand reports whether a hash map without preallocation is safe in any program:
// the kernel has an allocator for that (bpf_mem_alloc, since 6.1). Before, it warns.
func (k *Kernel) AllocatesOnDemand() bool {
	var s *btf.Struct
	return k.btf.TypeByName("bpf_mem_alloc", &s) == nil
}

// Parameter returns the place of a function's parameter, from 1 on. It is 0 when there is no
// such function, or when that has no such parameter.
func (k *Kernel) Parameter(function, name string) int {
	var f *btf.Func
	if k.btf.TypeByName(function, &f) != nil {
		return 0
	}
	proto, ok := f.Type.(*btf.FuncProto)
	if !ok {
		return 0
	}
	return 1 + slices.IndexFunc(proto.Params, func(p btf.FuncParam) bool { return p.Name == name })
}

// Argument returns the place of a tracepoint's argument that points to a struct of that name,
// from 0 on. It is negative when there is no such tracepoint, or when that has no such
// argument.
func (k *Kernel) Argument(tracepoint, structure string) int {
	var t *btf.Typedef
	if k.btf.TypeByName("btf_trace_"+tracepoint, &t) != nil {
		return -1
	}
	pointer, ok := t.Type.(*btf.Pointer)
	if !ok {
		return -1
	}
	proto, ok := pointer.Target.(*btf.FuncProto)
	if !ok {
		return -1
	}
	// The first parameter is the tracepoint's own.
	return slices.IndexFunc(proto.Params, func(p btf.FuncParam) bool {
		pointer, ok := p.Type.(*btf.Pointer)
		return ok && pointer.Target.TypeName() == structure
	}) - 1
}

// HasField reports whether a struct has a field, outside of structs within it.
func (k *Kernel) HasField(of, name string) bool {
	var s *btf.Struct
	return k.btf.TypeByName(of, &s) == nil && slices.ContainsFunc(s.Members, func(m btf.Member) bool { return m.Name == name })
}

// kind is how a program is attached.
type kind int

const (
	other kind = iota
	tracepoint
	trampoline
	kprobe
	iterator
)

func kindOf(p *ebpf.ProgramSpec) kind {
	switch {
	case p.Type == ebpf.Kprobe:
		return kprobe
	case p.Type == ebpf.Tracing && p.AttachType == ebpf.AttachTraceRawTp:
		return tracepoint
	case p.Type == ebpf.Tracing && p.AttachType == ebpf.AttachTraceIter:
		return iterator
	case p.Type == ebpf.Tracing:
		return trampoline
	}
	return other
}

// missing returns what a hook set needs and the kernel's BTF lacks, in words. That a kfunc is there
// does not say that a program may call it: only loading the program does.
func (k *Kernel) missing(spec *ebpf.CollectionSpec, set collector.HookSet) []string {
	var missing []string
	function := func(what, name string) {
		var f *btf.Func
		if k.btf.TypeByName(name, &f) != nil {
			missing = append(missing, what+" "+name)
		}
	}
	for _, name := range set.Programs {
		p := spec.Programs[name]
		switch kindOf(p) {
		case tracepoint:
			var t *btf.Typedef
			if k.btf.TypeByName("btf_trace_"+p.AttachTo, &t) != nil {
				missing = append(missing, "tracepoint "+p.AttachTo)
			}
		case kprobe, trampoline:
			function("function", p.AttachTo)
		default: // an iterator: loading it tells
		}
	}
	for _, name := range set.Kfuncs {
		function("kfunc", name)
	}
	return missing
}

func readLockdown(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(content), "[")
	mode, _, _ := strings.Cut(rest, "]")
	return mode
}
