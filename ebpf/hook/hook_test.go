package hook

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

func TestCheck(t *testing.T) {
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		t.Skip(err)
	}
	spec, err := KernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	if err := (Requirements{Tracepoints: []string{"sched_switch"}, Kfuncs: []string{"bpf_rdonly_cast"}}).Check(spec); err != nil {
		t.Error(err)
	}
	err = Requirements{Tracepoints: []string{"sched_switch", "no_such"}, Kfuncs: []string{"bpf_no_such"}}.Check(spec)
	if !errors.Is(err, ebpf.ErrNotSupported) || !strings.Contains(err.Error(), "no tracepoint no_such, no kfunc bpf_no_such") {
		t.Errorf("%v", err)
	}
}

func TestExplain(t *testing.T) {
	if missing, err := MissingCapabilities(); err != nil || len(missing) > 0 {
		t.Skipf("needs capabilities: %v %v", missing, err)
	}
	known := &Error{Reason: "it rains", Remedy: "take an umbrella"}
	for _, tt := range []struct {
		err            error
		reason, remedy string
	}{
		{fmt.Errorf("loading: %w", known), "it rains", "take an umbrella"},
		{fmt.Errorf("loading: %w", unix.EPERM), "the kernel refuses BPF programs", "lockdown"},
		{fmt.Errorf("this kernel has no x: %w", ebpf.ErrNotSupported), "this kernel has no x", "run a kernel"},
		{errors.New("something else"), "something else", "report this"},
	} {
		got := Explain(tt.err)
		if !strings.Contains(got.Reason, tt.reason) || !strings.Contains(got.Remedy, tt.remedy) {
			t.Errorf("%v: %+v", tt.err, got)
		}
		if got != known && !errors.Is(got, tt.err) {
			t.Errorf("%v is not wrapped", tt.err)
		}
	}
}
