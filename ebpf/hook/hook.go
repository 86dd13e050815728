// Package hook finds out which kernel hooks a collector can use here, and says in plain words
// what is in the way when it can use none.
//
// Nothing is derived from the kernel's version: a tracepoint or kfunc is there when the kernel's
// own BTF has its type, and a program works when the kernel has loaded it.
package hook

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// Requirements is what a set of hooks needs of the kernel, as data: for the choice at start,
// and for the documentation.
type Requirements struct {
	// Tracepoints by their kernel names, to be attached by BTF.
	Tracepoints []string
	// Kfuncs are kernel functions that the programs call.
	Kfuncs []string
	// Kernel is the release that first had all of it. Documentation only.
	Kernel string
}

// Description is what there is to know of a collector before it runs, for documentation and for
// `doctor`-like commands.
type Description struct {
	Name string
	Help string
	// Interval at which to gather when nothing else is asked for.
	Interval time.Duration
	// Capabilities that it needs, and no other rights.
	Capabilities []Capability
	// Alternatives are the sets of hooks it can use, best first.
	Alternatives []Alternative
}

// Alternative is one set of hooks.
type Alternative struct {
	Name  string
	Needs Requirements
}

// Check returns what of the requirements the BTF lacks, or nil. A kfunc's presence does not say
// that a program may call it: only loading the program does.
func (r Requirements) Check(spec *btf.Spec) error {
	var missing []string
	for _, name := range r.Tracepoints {
		var t *btf.Typedef
		if err := spec.TypeByName("btf_trace_"+name, &t); err != nil {
			missing = append(missing, "tracepoint "+name)
		}
	}
	for _, name := range r.Kfuncs {
		var f *btf.Func
		if err := spec.TypeByName(name, &f); err != nil {
			missing = append(missing, "kfunc "+name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("this kernel has no %s: %w", strings.Join(missing, ", no "), ebpf.ErrNotSupported)
	}
	return nil
}

// Error says why a collector cannot work here and what would help.
type Error struct {
	Reason string // in continuous form, without a full stop
	Remedy string // an instruction
	Err    error  // the cause
}

func (e *Error) Error() string { return e.Reason + "; " + e.Remedy }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Capability is one of the kernel's.
type Capability struct {
	Name string
	bit  uint
}

// Capabilities that BPF collectors ask for: to load programs and maps, and to trace with them.
func Capabilities() []Capability {
	return []Capability{{"CAP_BPF", unix.CAP_BPF}, {"CAP_PERFMON", unix.CAP_PERFMON}}
}

// MissingCapabilities returns which of Capabilities this thread does not have.
// CAP_SYS_ADMIN stands for all of them.
func MissingCapabilities() ([]string, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return nil, fmt.Errorf("reading capabilities: %w", err)
	}
	has := func(bit uint) bool { return data[bit/32].Effective&(1<<(bit%32)) != 0 }
	if has(unix.CAP_SYS_ADMIN) {
		return nil, nil
	}
	var missing []string
	for _, c := range Capabilities() {
		if !has(c.bit) {
			missing = append(missing, c.Name)
		}
	}
	return missing, nil
}

// Explain turns an error of loading into an *Error: what is missing, and the remedy.
func Explain(err error) *Error {
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	missing, capErr := MissingCapabilities()
	switch {
	case capErr == nil && len(missing) > 0:
		names := strings.Join(missing, " and ")
		return &Error{
			Reason: "not permitted to load BPF programs: " + names + " missing",
			Remedy: "grant " + names + " (systemd: AmbientCapabilities=, Docker: --cap-add, Kubernetes: securityContext.capabilities.add)",
			Err:    err,
		}
	case errors.Is(err, unix.EPERM):
		return &Error{
			// Without the cause's text, which suggests a memory limit that kernels since 5.11 do not have.
			Reason: "the kernel refuses BPF programs although CAP_BPF and CAP_PERFMON are effective",
			Remedy: "look for lockdown in /sys/kernel/security/lockdown, for a seccomp profile that forbids bpf(2), and for a user namespace (capabilities in one do not count)",
			Err:    err,
		}
	case errors.Is(err, ebpf.ErrNotSupported):
		return &Error{
			Reason: err.Error(),
			Remedy: "run a kernel that has them (the documentation lists which release did first)",
			Err:    err,
		}
	default:
		return &Error{Reason: err.Error(), Remedy: "report this with the kernel's version", Err: err}
	}
}

// KernelSpec loads the running kernel's BTF.
func KernelSpec() (*btf.Spec, error) {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, &Error{
			Reason: "the kernel does not describe its types (no BTF in /sys/kernel/btf/vmlinux)",
			Remedy: "run a kernel built with CONFIG_DEBUG_INFO_BTF, and mount /sys where promscope runs",
			Err:    err,
		}
	}
	return spec, nil
}
