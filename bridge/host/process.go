package host

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"
)

// errNoProcess is what reading an open file of a process that ended returns.
const errNoProcess = syscall.ESRCH

// ErrNoProcess is returned for a pid that no living process has.
var ErrNoProcess = errors.New("no such process")

// Process is a process as it was when it was looked at.
type Process struct {
	PID  int
	PPID int
	Comm string // the name that ps shows, at most 15 bytes
	Exe  string // path of the executable; "" for kernel threads and without the right to read it

	StartTicks uint64    // since boot; with the pid, the identity of the process
	Start      time.Time // the same in wall time, to 20 ms

	Container string // id in 64 hex digits; "" outside containers
	Pod       string // UID of the Kubernetes pod; "" outside pods

	NetNS uint64 // inode number of its network namespace; 0 without the right to read it
}

// ProcessID tells a process from all others, those before and after it with the
// same pid included.
type ProcessID struct {
	pid   int
	ticks uint64 // start time
}

// ID returns the identity of the process.
func (p Process) ID() ProcessID { return ProcessID{p.PID, p.StartTicks} }

// Lives reports whether a process lives. One that cannot be looked at, for want of a file
// descriptor, is not taken to have ended.
func (m *Machine) Lives(id ProcessID) bool {
	p, err := m.Stat(id.pid)
	if err != nil {
		return !errors.Is(err, ErrNoProcess)
	}
	return p.ID() == id
}

// Process returns the process with that pid, or an error that wraps
// ErrNoProcess. What may not be read for lack of rights is left empty: only
// another user's Exe and NetNS ever need CAP_SYS_PTRACE.
func (m *Machine) Process(pid int) (Process, error) {
	p, err := m.Stat(pid)
	if err != nil {
		return Process{}, err
	}
	if p.Start, err = m.startTime(p.StartTicks); err != nil {
		return Process{}, processError(pid, err)
	}
	p.Container, p.Pod, err = m.ContainerOf(pid)
	if err != nil {
		return Process{}, err
	}
	if proc, err := m.fs.Proc(pid); err == nil {
		if exe, err := proc.Executable(); err == nil {
			p.Exe = strings.TrimSuffix(exe, " (deleted)")
		}
	}
	p.NetNS, _ = m.Namespace(pid, "net")
	return p, nil
}

// NSPIDs returns the pids of a process from the namespace of the procfs down to
// its own.
func (m *Machine) NSPIDs(pid int) ([]int, error) {
	proc, err := m.fs.Proc(pid)
	if err != nil {
		return nil, processError(pid, err)
	}
	status, err := proc.NewStatus()
	if err != nil {
		return nil, processError(pid, err)
	}
	ids := make([]int, len(status.NSpids))
	for i, id := range status.NSpids {
		ids[i] = int(id)
	}
	return ids, nil
}

// processError says what is wrong with a process. One that has ended is always
// an ErrNoProcess, whatever the file said.
func processError(pid int, err error) error {
	if gone(err) {
		return fmt.Errorf("process %d: %w", pid, ErrNoProcess)
	}
	return fmt.Errorf("process %d: %w", pid, err)
}

// CmdLine returns the command line of a process; none for a kernel thread.
func (m *Machine) CmdLine(pid int) ([]string, error) {
	proc, err := m.fs.Proc(pid)
	if err != nil {
		return nil, processError(pid, err)
	}
	args, err := proc.CmdLine()
	if err != nil {
		return nil, processError(pid, err)
	}
	return args, nil
}
