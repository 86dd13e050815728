package doctor

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
	libcap "kernel.org/pub/linux/libs/security/libcap/cap"

	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/rights"
	"github.com/promscope/promscope/ebpf/collector"
	"github.com/promscope/promscope/ebpf/load"
)

// kernel looks at what the kernel allows. Its fields are the ways to ask.
type kernel struct {
	uname        func(*unix.Utsname) error
	spec         func() error
	lockdownFile string
	missingBPF   func() ([]string, error)                // of what eBPF collectors need
	missing      func(...libcap.Value) ([]string, error) // of those
	enter        func(*host.Machine) error               // whether other namespaces may be entered
}

// newKernel returns the check of the kernel that this process runs on.
func newKernel() kernel {
	return kernel{
		uname: unix.Uname,
		spec: func() error {
			_, err := load.KernelTypes(btf.NewCache())
			return err
		},
		lockdownFile: "/sys/kernel/security/lockdown",
		missingBPF:   load.MissingCapabilities,
		missing:      rights.Missing,
		enter:        (*host.Machine).CanEnterNamespaces,
	}
}

// release names the kernel.
func (k kernel) release() Finding {
	var name unix.Utsname
	if err := k.uname(&name); err != nil {
		return warning("kernel", "", "%s", err)
	}
	text := func(field [65]byte) string { return unix.ByteSliceToString(field[:]) }
	return good("kernel", "%s %s on %s", text(name.Sysname), text(name.Release), text(name.Machine))
}

// grant is the remedy for capabilities that are missing.
func grant(missing []string) string {
	return "grant " + strings.Join(missing, " and ") + " (systemd: AmbientCapabilities=, Docker: --cap-add, Kubernetes: securityContext.capabilities.add)"
}

// btf tells whether the kernel describes its types, which eBPF collectors need.
func (k kernel) btf() Finding {
	err := k.spec()
	var known *collector.Error
	switch {
	case err == nil:
		return good("BTF", "the kernel describes its types")
	case errors.As(err, &known):
		return warning("BTF", known.Remedy, "%s", known.Reason)
	}
	return warning("BTF", "", "%s", err)
}

// lockdown tells whether the kernel keeps eBPF from reading its memory.
func (k kernel) lockdown() Finding {
	const check = "lockdown"
	content, err := os.ReadFile(k.lockdownFile)
	if errors.Is(err, fs.ErrNotExist) {
		return good(check, "none, as far as can be seen from here")
	}
	if err != nil {
		return good(check, "may not be looked at: %s", err)
	}
	_, rest, _ := strings.Cut(string(content), "[")
	mode, _, _ := strings.Cut(rest, "]")
	if mode == "confidentiality" {
		return warning(check, "boot with lockdown=integrity: eBPF collectors read kernel memory, which confidentiality forbids", "%s", mode)
	}
	return good(check, "%s", mode)
}

// capabilities tells whether this process has what eBPF collectors need.
func (k kernel) capabilities() Finding {
	const check = "capabilities"
	missing, err := k.missingBPF()
	switch {
	case err != nil:
		return warning(check, "", "%s", err)
	case len(missing) > 0:
		return warning(check, grant(missing), "%s missing: eBPF collectors stay off", strings.Join(missing, " and "))
	}
	return good(check, "those of eBPF collectors are there")
}

// namespaces tells whether exporters in containers can be reached. Entering promscope's own
// namespace takes CAP_SYS_ADMIN alone, those of others CAP_SYS_PTRACE too.
func (k kernel) namespaces(m *host.Machine) Finding {
	const (
		check = "namespaces"
		text  = "exporters that listen only in a container's network cannot be found: "
	)
	missing, err := k.missing(libcap.SYS_ADMIN, libcap.SYS_PTRACE)
	switch {
	case err != nil:
		return warning(check, "", "%s", err)
	case len(missing) > 0:
		return warning(check, grant(missing), text+"%s missing", strings.Join(missing, " and "))
	}
	if err := k.enter(m); err != nil {
		return warning(check, "let promscope see the host's processes (Docker: --pid=host, Kubernetes: hostPID); "+
			"look for a seccomp profile that forbids setns(2)", text+"%s", err)
	}
	return good(check, "those of containers may be entered")
}

// processes tells whether all processes of the machine can be seen.
func (k kernel) processes(m *host.Machine) Finding {
	const check = "processes"
	first, err := m.Process(1)
	if err != nil {
		return warning(check, "mount /proc without hidepid, or run as root", "process 1 may not be looked at: %s", err)
	}
	self, err := m.Process(m.PID())
	if err != nil || m.PID() == 0 {
		return warning(check, "let promscope see the host's processes (Docker: --pid=host, Kubernetes: hostPID)", "/proc does not show promscope itself")
	}
	if first.Container != "" && first.Container == self.Container {
		return warning(check, "let promscope see the host's processes (Docker: --pid=host, Kubernetes: hostPID)",
			"only those of promscope's own container are to be seen: pids would be taken for those of other processes")
	}
	missing, err := k.lacking()
	switch {
	case err != nil:
		return warning(check, "", "%s", err)
	case len(missing) > 0:
		return warning(check, grant(missing),
			"cannot look into other users' processes: no target_pid for what they serve: %s missing", strings.Join(missing, " and "))
	}
	return good(check, "process 1 is %s, promscope %d", first.Comm, m.PID())
}

// lacking names what this process lacks to find the process of any socket: the
// descriptors of other users' processes are listed with one right, and followed with
// another. The capabilities are asked, and no process: there are some that not even
// root may look into, and process 1 can be one.
func (k kernel) lacking() ([]string, error) {
	missing, err := k.missing(libcap.SYS_PTRACE, libcap.DAC_READ_SEARCH, libcap.DAC_OVERRIDE)
	// Either of these lists them.
	reads, overrides := rights.Name(libcap.DAC_READ_SEARCH), rights.Name(libcap.DAC_OVERRIDE)
	if !slices.Contains(missing, reads) || !slices.Contains(missing, overrides) {
		missing = slices.DeleteFunc(missing, func(name string) bool { return name == reads })
	}
	return slices.DeleteFunc(missing, func(name string) bool { return name == overrides }), err
}
