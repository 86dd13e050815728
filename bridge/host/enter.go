package host

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
	libcap "kernel.org/pub/linux/libs/security/libcap/cap"
)

// ErrNotPermitted is returned where a namespace may not be entered.
var ErrNotPermitted = errors.New("not permitted: needs CAP_SYS_ADMIN and CAP_SYS_PTRACE")

// namespaceKind is a kind of namespace that a single thread can be in.
type namespaceKind int

const (
	networkNamespace namespaceKind = unix.CLONE_NEWNET
	utsNamespace     namespaceKind = unix.CLONE_NEWUTS
)

// String returns the kind's name below /proc/PID/ns.
func (k namespaceKind) String() string {
	if k == utsNamespace {
		return "uts"
	}
	return "net"
}

// CanEnterNamespaces returns nil if this process may enter other network
// namespaces than its own, those of other users' processes too, or an error that says
// what is missing.
func (m *Machine) CanEnterNamespaces() error {
	if !m.self.kernel {
		return fmt.Errorf("entering namespaces: %s is no procfs that shows this process", m.root)
	}
	// CAP_SYS_ADMIN is enough to enter the namespace that one is in. That of another user's
	// process takes CAP_SYS_PTRACE too. The capability is asked for, and no process: not
	// even root may look into each, and process 1 can be one of those.
	if can, err := libcap.GetProc().GetFlag(libcap.Effective, libcap.SYS_PTRACE); err != nil || !can {
		return fmt.Errorf("entering namespaces: %w", ErrNotPermitted)
	}
	return m.enter(m.self.pid, networkNamespace, m.self.netns, func() error { return nil })
}

// InNetNS runs fn in a network namespace, of which pid is a process. Only what fn
// does on its own goroutine happens there. A socket made there stays in that
// namespace, wherever it is used later. The error wraps ErrNotPermitted without the
// right to enter the namespace, and ErrNoProcess if the process is not in it any more.
func (m *Machine) InNetNS(netns uint64, pid int, fn func() error) error {
	if m.self.kernel && netns == m.self.netns {
		return fn()
	}
	return m.enter(pid, networkNamespace, netns, fn)
}

// enter runs fn on a thread that is in a process's namespace of a kind, which
// must be the given one: the pid may be another process's by now.
func (m *Machine) enter(pid int, kind namespaceKind, inode uint64, fn func() error) error {
	target, err := os.Open(m.Path(pid, "ns/"+kind.String()))
	if err != nil {
		return enterError(pid, kind, err)
	}
	defer target.Close()
	var stat unix.Stat_t
	if err := unix.Fstat(int(target.Fd()), &stat); err != nil {
		return enterError(pid, kind, err)
	}
	if stat.Ino != inode {
		return enterError(pid, kind, ErrNoProcess)
	}
	result := make(chan error, 1)
	go func() { result <- m.onThread(pid, kind, int(target.Fd()), fn) }()
	return <-result
}

// onThread does the work of enter, on a goroutine of its own: if the thread
// cannot be brought back it stays locked to the goroutine, and ends with it.
func (m *Machine) onThread(pid int, kind namespaceKind, target int, fn func() error) error {
	runtime.LockOSThread()
	own, err := os.Open(m.path("thread-self/ns", kind.String()))
	if err != nil {
		runtime.UnlockOSThread()
		return enterError(pid, kind, err)
	}
	defer own.Close()
	if err := unix.Setns(target, int(kind)); err != nil {
		runtime.UnlockOSThread()
		return enterError(pid, kind, err)
	}
	err = fn()
	if back := unix.Setns(int(own.Fd()), int(kind)); back != nil {
		return errors.Join(err, enterError(pid, kind, back))
	}
	runtime.UnlockOSThread()
	return err
}

func enterError(pid int, kind namespaceKind, err error) error {
	switch {
	case errors.Is(err, os.ErrPermission):
		err = ErrNotPermitted
	case gone(err):
		err = ErrNoProcess
	}
	return fmt.Errorf("entering %s namespace of process %d: %w", kind, pid, err)
}
