package load

import (
	"os"
	"runtime"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// The kernel notes for each program and CPU that it runs, and skips it there until that run is over. A
// task that is preempted within a program so keeps the program off that CPU until it runs again. Kprobes
// disable preemption. Trampolines never do. Tracepoints did until 7.0.

// preemption finds out in which kinds of programs tasks can be preempted.
func preemption(types *btf.Spec) map[kind]bool {
	return preemptibleKinds(kernelVersion(), preemptionMode("/sys/kernel/debug/sched/preempt"), func() bool {
		found, err := tracepointsPreempted(types)
		return err == nil && found
	})
}

func preemptibleKinds(version, mode string, tracepoints func() bool) map[kind]bool {
	// The version names PREEMPT, PREEMPT_DYNAMIC, PREEMPT_LAZY or PREEMPT_RT. Without, nothing that runs
	// in the kernel is preempted, and there is no count of what forbids it.
	if !strings.Contains(version, "PREEMPT") || mode == "none" || mode == "voluntary" {
		return nil
	}
	return map[kind]bool{trampoline: true, tracepoint: tracepoints()}
}

// kernelVersion returns what `uname -v` prints: the build and its main options, not the release.
func kernelVersion() string {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return ""
	}
	return unix.ByteSliceToString(name.Version[:])
}

// preemptionMode returns the mode that a kernel with PREEMPT_DYNAMIC is in: "none", "voluntary", "full"
// or "lazy"; or "" if debugfs does not tell.
func preemptionMode(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(content), "(") // none (voluntary) full
	mode, _, _ := strings.Cut(rest, ")")
	return mode
}

// tracepointsPreempted runs a program at a tracepoint and returns whether its task could be preempted
// there: whether the task's count of what forbids it was 0.
func tracepointsPreempted(types *btf.Spec) (bool, error) {
	load, err := loadPreemptCount(types)
	if err != nil {
		return false, err
	}
	seen, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return false, err
	}
	defer seen.Close()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type:       ebpf.Tracing,
		AttachType: ebpf.AttachTraceRawTp,
		AttachTo:   "skb_copy_datagram_iovec",
		License:    "GPL",
		Instructions: append(load,
			// R0 is the count. The lowest byte is that of preempt_disable.
			asm.And.Imm(asm.R0, 0xff),
			asm.Mov.Reg(asm.R6, asm.R0),
			asm.JNE.Imm(asm.R6, 0, "exit"),
			asm.StoreImm(asm.RFP, -4, 0, asm.Word),
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, -4),
			asm.LoadMapPtr(asm.R1, seen.FD()),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "exit"),
			asm.Mov.Imm(asm.R1, 1),
			asm.StoreMem(asm.R0, 0, asm.R1, asm.DWord),
			asm.Mov.Imm(asm.R0, 0).WithSymbol("exit"),
			asm.Return(),
		),
	})
	if err != nil {
		return false, err
	}
	defer program.Close()
	attached, err := link.AttachTracing(link.TracingOptions{Program: program})
	if err != nil {
		return false, err
	}
	defer attached.Close()
	if err := passDatagram(); err != nil {
		return false, err
	}
	var preempted uint64
	err = seen.Lookup(uint32(0), &preempted)
	return preempted != 0, err
}

// loadPreemptCount returns the instructions that put the current task's preempt count into R0.
func loadPreemptCount(types *btf.Spec) (asm.Instructions, error) {
	if runtime.GOARCH == "arm64" {
		var task *btf.Struct
		if err := types.TypeByName("task_struct", &task); err != nil {
			return nil, err
		}
		offset, err := offsetOf(task, "thread_info", "preempt_count")
		if err != nil {
			return nil, err
		}
		return asm.Instructions{
			asm.FnGetCurrentTaskBtf.Call(),
			asm.LoadMem(asm.R0, asm.R0, offset, asm.Word),
		}, nil
	}
	// On x86 a variable of each CPU. The kernel finds it if it was built with CONFIG_KALLSYMS_ALL.
	var count *btf.Var
	if err := types.TypeByName("__preempt_count", &count); err != nil {
		return nil, err
	}
	id, err := types.TypeID(count)
	if err != nil {
		return nil, err
	}
	const pseudoBTFID = 3 // BPF_PSEUDO_BTF_ID: the address of the variable with that type id
	address := asm.LoadImm(asm.R1, int64(id), asm.DWord)
	address.Src = pseudoBTFID
	return asm.Instructions{
		address,
		asm.FnThisCpuPtr.Call(),
		asm.LoadMem(asm.R0, asm.R0, 0, asm.Word),
	}, nil
}

// offsetOf returns the offset in bytes of a member of members, also of those without a name.
func offsetOf(t btf.Type, path ...string) (int16, error) {
	if len(path) == 0 {
		return 0, nil
	}
	var members []btf.Member
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		members = t.Members
	case *btf.Union:
		members = t.Members
	}
	for _, m := range members {
		rest := path
		switch m.Name {
		case path[0]:
			rest = path[1:]
		case "":
		default:
			continue
		}
		if offset, err := offsetOf(m.Type, rest...); err == nil {
			return int16(m.Offset.Bytes()) + offset, nil
		}
	}
	return 0, os.ErrNotExist
}

// passDatagram passes the tracepoint of the above program.
func passDatagram() error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	if _, err := unix.Write(pair[0], []byte{0}); err != nil {
		return err
	}
	_, err = unix.Read(pair[1], make([]byte, 1))
	return err
}
