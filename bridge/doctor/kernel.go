package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/ebpf/collector"
	"github.com/promscope/promscope/ebpf/load"
)

// kernel looks at what the kernel allows. Its fields are the ways to ask.
type kernel struct {
	uname        func(*unix.Utsname) error
	spec         func() error
	lockdownFile string
	missing      func() ([]string, error)
	capget       func(*unix.CapUserHeader, *unix.CapUserData) error
}

// newKernel returns the check of the kernel that this process runs on.
func newKernel() kernel {
	return kernel{
		uname: unix.Uname,
		spec: func() error {
			_, err := load.KernelTypes()
			return err
		},
		lockdownFile: "/sys/kernel/security/lockdown",
		missing:      load.MissingCapabilities,
		capget:       unix.Capget,
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
	missing, err := k.missing()
	switch {
	case err != nil:
		return warning(check, "", "%s", err)
	case len(missing) > 0:
		names := strings.Join(missing, " and ")
		return warning(check, "grant "+names+", or run as root (systemd: AmbientCapabilities=, Docker: --cap-add, Kubernetes: securityContext.capabilities.add)",
			"%s missing: eBPF collectors stay off", names)
	}
	return good(check, "those of eBPF collectors are there")
}

// namespaces tells whether exporters in containers can be reached.
func (k kernel) namespaces(m *host.Machine) Finding {
	const check = "namespaces"
	if err := m.CanEnterNamespaces(); err != nil {
		return warning(check, "grant CAP_SYS_ADMIN and CAP_SYS_PTRACE, and let promscope see the host's processes (Docker: --pid=host, Kubernetes: hostPID)",
			"exporters that listen only in a container's network cannot be found: %s", err)
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
		return warning(check, "run as root, or with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH",
			"cannot look into other users' processes: no target_pid for what they serve: %s missing", strings.Join(missing, " and "))
	}
	return good(check, "process 1 is %s, promscope %d", first.Comm, m.PID())
}

// lacking names what this process lacks to find the process of any socket: the
// descriptors of other users' processes are listed with one right, and followed with
// another. The capabilities are asked, and no process: there are some that not even
// root may look into, and process 1 can be one.
func (k kernel) lacking() ([]string, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := k.capget(&header, &data[0]); err != nil {
		return nil, fmt.Errorf("reading capabilities: %w", err)
	}
	has := func(bit uint) bool { return data[0].Effective&(1<<bit) != 0 }
	var missing []string
	if !has(unix.CAP_SYS_PTRACE) {
		missing = append(missing, "CAP_SYS_PTRACE")
	}
	if !has(unix.CAP_DAC_READ_SEARCH) && !has(unix.CAP_DAC_OVERRIDE) {
		missing = append(missing, "CAP_DAC_READ_SEARCH")
	}
	return missing, nil
}
