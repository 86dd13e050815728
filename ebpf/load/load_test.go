package load

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
	libcap "kernel.org/pub/linux/libs/security/libcap/cap"

	"github.com/promscope/promscope/ebpf/collector"
)

func kernelTypes(t *testing.T) *btf.Spec {
	t.Helper()
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		t.Skip(err)
	}
	types, err := KernelTypes(btf.NewCache())
	if err != nil {
		t.Fatal(err)
	}
	return types
}

func spec() *ebpf.CollectionSpec {
	return &ebpf.CollectionSpec{Programs: map[string]*ebpf.ProgramSpec{
		"switch":   {Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: "sched_switch"},
		"nowhere":  {Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: "no_such"},
		"enter":    {Type: ebpf.Tracing, AttachType: ebpf.AttachTraceFEntry, AttachTo: "tcp_recvmsg"},
		"probe":    {Type: ebpf.Kprobe, AttachTo: "tcp_recvmsg"},
		"no probe": {Type: ebpf.Kprobe, AttachTo: "tcp_no_such"},
		"iterate":  {Type: ebpf.Tracing, AttachType: ebpf.AttachTraceIter, AttachTo: "task"},
	}}
}

func TestMissing(t *testing.T) {
	k := &Kernel{btf: kernelTypes(t)}
	for _, tt := range []struct {
		set  collector.HookSet
		want []string
	}{
		{collector.HookSet{Programs: []string{"switch", "enter", "probe", "iterate"}}, nil},
		{collector.HookSet{Programs: []string{"nowhere", "no probe"}, Kfuncs: []string{"bpf_no_such"}},
			[]string{"tracepoint no_such", "function tcp_no_such", "kfunc bpf_no_such"}},
	} {
		if got := k.missing(spec(), tt.set); !slices.Equal(got, tt.want) {
			t.Errorf("%+v: %q", tt.set, got)
		}
	}
}

func TestParameter(t *testing.T) {
	k := &Kernel{btf: kernelTypes(t)}
	for _, tt := range []struct {
		function, name string
		want           int
	}{{"tcp_recvmsg", "msg", 2}, {"tcp_recvmsg", "no_such", 0}, {"no_such", "msg", 0}} {
		if place := k.Parameter(tt.function, tt.name); place != tt.want {
			t.Errorf("%s is parameter %d of %s, not %d", tt.name, place, tt.function, tt.want)
		}
	}
}

func TestArgument(t *testing.T) {
	k := &Kernel{btf: kernelTypes(t)}
	for _, tt := range []struct {
		tracepoint, structure string
		want                  int
	}{{"sched_switch", "task_struct", 1}, {"block_rq_complete", "request", 0}, {"sched_switch", "no_such", -2}, {"no_such", "task_struct", -1}} {
		if place := k.Argument(tt.tracepoint, tt.structure); place != tt.want {
			t.Errorf("%s is argument %d of %s, not %d", tt.structure, place, tt.tracepoint, tt.want)
		}
	}
}

// TestExplain has each way in which a kernel refuses, with its own words and remedy.
func TestExplain(t *testing.T) {
	var (
		denied   = fmt.Errorf("map create: %w (MEMLOCK may be too low, consider rlimit.RemoveMemlock)", unix.EPERM)
		verifier = fmt.Errorf("loading: %w", &ebpf.VerifierError{Cause: unix.EACCES, Log: []string{"0: exit", "R2 max value is outside of the allowed memory range"}})
		onProbe  = func(err error) error { return &attachError{hook{kprobe, "tcp_recvmsg"}, err} }
		onEntry  = func(err error) error { return &attachError{hook{trampoline, "tcp_recvmsg"}, err} }
	)
	for _, tt := range []struct {
		name           string
		kernel         Kernel
		err            error
		reason, remedy string
	}{
		{"verifier", Kernel{kprobes: true}, verifier, "the kernel's verifier refuses the programs: ", "report this"},
		{"lockdown", Kernel{lockdown: "confidentiality"}, verifier, "locked down for confidentiality", "lockdown=integrity"},
		{"lockdown does not matter", Kernel{lockdown: "integrity"}, verifier, "verifier refuses", "report this"},
		{"no kfunc", Kernel{}, lacking(collector.HookSet{Kernel: "9.9"}, []string{"kfunc bpf_x"}), "this kernel has no kfunc bpf_x", "run Linux 9.9 or later"},
		{"no tracepoint", Kernel{}, lacking(collector.HookSet{Kernel: "9.9"}, []string{"tracepoint x", "function y"}), "this kernel has no tracepoint x, no function y", "run Linux 9.9"},
		{"capability", Kernel{}, noCapabilities([]string{"CAP_BPF", "CAP_PERFMON"}), "not permitted to load BPF programs: CAP_BPF and CAP_PERFMON missing", "grant CAP_BPF and CAP_PERFMON"},
		{"memlock", Kernel{memlockErr: unix.EPERM}, denied, "RLIMIT_MEMLOCK is too low", "LimitMEMLOCK=infinity"},
		{"policy", Kernel{}, denied, "refuses these programs although CAP_BPF and CAP_PERFMON are effective", "seccomp"},
		{"architecture", Kernel{}, unsupported(collector.HookSet{Architectures: []string{"amd64", "arm64"}}, "riscv64"), "the programs are for amd64 and arm64, and this machine is riscv64", "another hook set"},
		{"no kprobes", Kernel{}, onProbe(errors.New("neither debugfs nor tracefs are mounted")), "this kernel has no kprobes", "CONFIG_KPROBES"},
		{"kprobe on the blacklist", Kernel{kprobes: true}, onProbe(os.ErrNotExist), "allows no kprobe on tcp_recvmsg", "blacklist"},
		{"kprobes forbidden", Kernel{kprobes: true}, onProbe(unix.EACCES), "forbids kprobes", "perf_event_open(2)"},
		{"no trampolines", Kernel{architecture: "arm64"}, onEntry(unix.Errno(524)), "cannot attach programs to tcp_recvmsg on arm64", "run Linux 9.9"},
		{"not supported", Kernel{}, fmt.Errorf("map type: %w", ebpf.ErrNotSupported), "map type", "run Linux 9.9"},
		{"unknown", Kernel{}, errors.New("something else"), "something else", "report this"},
	} {
		got := tt.kernel.explain(collector.HookSet{Kernel: "9.9"}, tt.err)
		if !strings.Contains(got.Reason, tt.reason) || !strings.Contains(got.Remedy, tt.remedy) {
			t.Errorf("%s: %+v", tt.name, got)
		}
		if strings.Contains(got.Reason, "MEMLOCK may") {
			t.Errorf("%s: the library's hint, which is wrong since 5.11: %s", tt.name, got.Reason)
		}
		if !errors.Is(got, tt.err) {
			t.Errorf("%s: the cause is not wrapped", tt.name)
		}
	}
}

func TestMissingFrom(t *testing.T) {
	for _, tt := range []struct {
		has  []libcap.Value
		want string
	}{
		{[]libcap.Value{libcap.SYS_ADMIN}, ""},
		{[]libcap.Value{libcap.BPF, libcap.PERFMON}, ""},
		{[]libcap.Value{libcap.BPF}, "CAP_PERFMON"},
		{[]libcap.Value{libcap.PERFMON, libcap.NET_ADMIN}, "CAP_BPF"},
		{nil, "CAP_BPF CAP_PERFMON"},
	} {
		have := libcap.NewSet()
		if err := have.SetFlag(libcap.Effective, true, tt.has...); err != nil {
			t.Fatal(err)
		}
		if missing, err := missingFrom(have); err != nil || strings.Join(missing, " ") != tt.want {
			t.Errorf("%v: %q missing, %v", tt.has, missing, err)
		}
	}
}

// TestOrder puts hook sets behind the others that lose events when tasks are preempted.
func TestOrder(t *testing.T) {
	sets := []collector.HookSet{
		{Name: "tracepoints", Programs: []string{"switch"}},
		{Name: "kprobes", Programs: []string{"probe", "iterate"}},
		{Name: "trampolines", Programs: []string{"enter", "switch"}},
	}
	for _, tt := range []struct {
		name                 string
		version, mode        string
		tracepointsPreempted bool
		loses                string
	}{
		{"no preemption", "#1 SMP Debian", "", true, ""},
		{"voluntary", "#1 SMP PREEMPT_DYNAMIC", "voluntary", true, ""},
		{"tracepoints disable preemption", "#1 SMP PREEMPT_DYNAMIC", "full", false, "trampolines"},
		{"tracepoints do not", "#1 SMP PREEMPT_DYNAMIC", "lazy", true, "tracepoints trampolines"},
		{"mode unknown", "#1 SMP PREEMPT_RT", "", true, "tracepoints trampolines"},
	} {
		k := &Kernel{preemptible: preemptibleKinds(tt.version, tt.mode, func() bool { return tt.tracepointsPreempted })}
		var loses []string
		for _, set := range sets {
			if k.loses(spec(), set) > 0 {
				loses = append(loses, set.Name)
			}
		}
		if got := strings.Join(loses, " "); got != tt.loses {
			t.Errorf("%s: %q lose events, want %q", tt.name, got, tt.loses)
		}
	}
	passed := passedOver(sets, sets[1], nil)
	if len(passed) != 1 || passed[0].HookSet != "tracepoints" || passed[0].Reason == "" || passed[0].Remedy == "" {
		t.Errorf("%+v", passed)
	}
	if passed := passedOver(sets, sets[1], []collector.Refusal{{HookSet: "tracepoints"}}); len(passed) != 0 {
		t.Errorf("one that was tried is passed over: %+v", passed)
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct{ content, lockdown, mode string }{
		{"none [integrity] confidentiality\n", "integrity", ""},
		{"none voluntary (full) lazy\n", "", "full"},
	} {
		path := filepath.Join(dir, "file")
		if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := readLockdown(path); got != tt.lockdown {
			t.Errorf("%q: lockdown %q", tt.content, got)
		}
		if got := preemptionMode(path); got != tt.mode {
			t.Errorf("%q: preemption %q", tt.content, got)
		}
	}
	if got := readLockdown(filepath.Join(dir, "none")) + preemptionMode(filepath.Join(dir, "none")); got != "" {
		t.Errorf("no file: %q", got)
	}
}

// TestPreemption runs the program that looks for preemption.
func TestPreemption(t *testing.T) {
	types := kernelTypes(t)
	if missing, err := MissingCapabilities(); err != nil || len(missing) > 0 {
		t.Skipf("needs capabilities: %v %v", missing, err)
	}
	preempted, err := tracepointsPreempted(types)
	if err != nil {
		if errors.Is(err, btf.ErrNotFound) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOENT) {
			t.Skip(err) // the kernel has the count elsewhere, or CONFIG_KALLSYMS_ALL not
		}
		t.Fatalf("%+v", err)
	}
	t.Logf("%s, mode %q: tracepoints preempted: %t", kernelVersion(), preemptionMode("/sys/kernel/debug/sched/preempt"), preempted)
}

// TestOpen opens a collector's object whose best hook set this kernel does not have.
func TestOpen(t *testing.T) {
	program := func(hook string) *ebpf.ProgramSpec {
		return &ebpf.ProgramSpec{
			Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: hook, License: "GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		}
	}
	programs := &ebpf.CollectionSpec{Programs: map[string]*ebpf.ProgramSpec{
		"best": program("no_such"), "second": program("sched_process_exit"), "third": program("no_such"),
	}}
	o := Object{
		HookSets: []collector.HookSet{
			{Name: "elsewhere", Programs: []string{"second"}, Architectures: []string{"pdp11"}, Kernel: "1.0"},
			{Name: "best", Programs: []string{"best"}, Kernel: "99.0"},
			{Name: "second", Programs: []string{"second"}, Kernel: "5.10"},
			{Name: "third", Programs: []string{"third"}},
		},
	}
	k, err := thisKernel(btf.NewCache())
	if err != nil {
		if os.Getenv("PROMSCOPE_REQUIRE_BPF") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	p, err := o.choose(k, programs)
	if err != nil {
		t.Fatal(err)
	}
	counts, err := p.counts()
	if err != nil {
		t.Fatal(err)
	}
	status := p.status(counts, nil)
	if status.HookSet != "second" || len(status.Programs) != 1 || status.Programs[0].Name != "second" {
		t.Errorf("%+v", status)
	}
	want := []string{"elsewhere: the programs are for pdp11", "best: this kernel has no tracepoint no_such"}
	if len(status.Refused) != len(want) {
		t.Fatalf("%+v", status.Refused)
	}
	for i, r := range status.Refused {
		if got := r.HookSet + ": " + r.Reason; !strings.HasPrefix(got, want[i]) || r.Remedy == "" {
			t.Errorf("%+v, want %q", r, want[i])
		}
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}

	o.HookSets = o.HookSets[:2]
	_, err = o.choose(k, programs)
	var known *collector.Error
	if !errors.As(err, &known) || !strings.Contains(known.Reason, "no_such") || !strings.Contains(known.Remedy, "Linux 99.0") || !errors.Is(err, ebpf.ErrNotSupported) {
		t.Errorf("%v", err)
	}
}
