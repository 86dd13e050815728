package load

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/ebpf/collector"
)

const (
	preempted      = "the kernel can preempt a task within these programs, and skips their next runs on that CPU until the task goes on"
	noRemedyNeeded = "none is needed: the set that serves sees the same"
	watchMissed    = "watch hook_runs_missed_total, or boot with preempt=voluntary where the kernel has it"
)

// attachError is a hook that a program could not be put on.
type attachError struct {
	hook hook
	err  error
}

func (e *attachError) Error() string { return fmt.Sprintf("attaching to %s: %s", e.hook.name, e.err) }

func (e *attachError) Unwrap() error { return e.err }

func noCapabilities(missing []string) *collector.Error {
	names := strings.Join(missing, " and ")
	return &collector.Error{
		Reason: "not permitted to load BPF programs: " + names + " missing",
		Remedy: "grant " + names + " (systemd: AmbientCapabilities=, Docker: --cap-add, Kubernetes: securityContext.capabilities.add)",
		Err:    unix.EPERM,
	}
}

func unsupported(set collector.HookSet, architecture string) *collector.Error {
	return &collector.Error{
		Reason: fmt.Sprintf("the programs are for %s, and this machine is %s", strings.Join(set.Architectures, " and "), architecture),
		Remedy: "another hook set must serve, or another machine",
		Err:    ebpf.ErrNotSupported,
	}
}

func lacking(set collector.HookSet, missing []string) *collector.Error {
	return &collector.Error{
		Reason: "this kernel has no " + strings.Join(missing, ", no "),
		Remedy: "run Linux " + set.Kernel + " or later for this hook set",
		Err:    ebpf.ErrNotSupported,
	}
}

// noneServes says of every hook set why it does not serve.
func noneServes(refused []collector.Refusal, causes error) *collector.Error {
	var reasons, remedies []string
	for _, r := range refused {
		reasons = append(reasons, fmt.Sprintf("%s: %s", r.HookSet, r.Reason))
		remedies = append(remedies, fmt.Sprintf("%s: %s", r.HookSet, r.Remedy))
	}
	return &collector.Error{
		Reason: "no hook set serves here (" + strings.Join(reasons, "; ") + ")",
		Remedy: "one of these (" + strings.Join(remedies, "; ") + ")",
		Err:    causes,
	}
}

// explain says why the kernel refuses a hook set, and what would help.
func (k *Kernel) explain(set collector.HookSet, err error) *collector.Error {
	var (
		known    *collector.Error
		verifier *ebpf.VerifierError
		attach   *attachError
	)
	explained := func(reason, remedy string) *collector.Error {
		return &collector.Error{Reason: reason, Remedy: remedy, Err: err}
	}
	denied := errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)
	switch isAttach := errors.As(err, &attach); {
	case errors.As(err, &known):
		return known
	// Lockdown first: the verifier refuses the functions that read memory then, as if there were none.
	case k.lockdown == "confidentiality":
		return explained("the kernel is locked down for confidentiality, and no BPF program may read its memory",
			"boot with lockdown=integrity or less")
	case errors.As(err, &verifier) && !errors.Is(err, unix.EPERM) && len(verifier.Log) > 0:
		return explained("the kernel's verifier refuses the programs: "+verifier.Error(),
			"report this with the kernel's release, which `uname -r` prints")
	case denied && !isAttach && k.memlockErr != nil:
		return explained("RLIMIT_MEMLOCK is too low for the maps, by which this kernel counts them, and may not be raised",
			"raise it (systemd: LimitMEMLOCK=infinity, Docker: --ulimit memlock=-1) or grant CAP_SYS_RESOURCE")
	case isAttach && attach.hook.kind == kprobe && !k.kprobes:
		return explained("this kernel has no kprobes",
			"run a kernel built with CONFIG_KPROBES and CONFIG_KPROBE_EVENTS, and mount /sys where promscope runs")
	case isAttach && attach.hook.kind == kprobe && errors.Is(err, os.ErrNotExist):
		return explained("this kernel allows no kprobe on "+attach.hook.name,
			"look for the function in /sys/kernel/debug/kprobes/blacklist")
	case isAttach && attach.hook.kind == kprobe && denied:
		return explained("the kernel forbids kprobes",
			"look for lockdown in /sys/kernel/security/lockdown, and for a seccomp profile that forbids perf_event_open(2)")
	case isAttach && errors.Is(err, ebpf.ErrNotSupported), isAttach && errors.Is(err, unix.Errno(524)): // ENOTSUPP
		return explained(fmt.Sprintf("this kernel cannot attach programs to %s on %s", attach.hook.name, k.architecture),
			"run Linux "+set.Kernel+" or later for this hook set")
	case denied:
		// Without the cause's text, which suggests a memory limit that kernels since 5.11 do not have.
		return explained("the kernel refuses these programs although CAP_BPF and CAP_PERFMON are effective",
			"look for a seccomp profile that forbids bpf(2), for a security policy, and for a user namespace (capabilities in one do not count)")
	case errors.Is(err, ebpf.ErrNotSupported):
		return explained(err.Error(), "run Linux "+set.Kernel+" or later for this hook set")
	}
	return explained(err.Error(), "report this with the kernel's release, which `uname -r` prints")
}
