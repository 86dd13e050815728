package host

import (
	"errors"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// watch notices the exit of a process by its pidfd (Linux 5.3).
type watch struct {
	pidfd  *os.File // in the runtime's poller, so that waiting holds no thread
	conn   syscall.RawConn
	exited atomic.Bool
}

// newWatch begins to watch the process that has that pid now. The pid is one of our
// own pid namespace, and of a process, not of one of its further threads. onExit, if
// not nil, is called when the process exits. The watch has to be closed, also after
// that.
func newWatch(pid int, onExit func()) (*watch, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, err
	}
	_ = unix.SetNonblock(fd, true) // os.NewFile hands only non-blocking files to the poller
	w := &watch{pidfd: os.NewFile(uintptr(fd), "pidfd")}
	w.conn, err = w.pidfd.SyscallConn()
	// Only what is in the poller has deadlines.
	if err := errors.Join(err, w.pidfd.SetReadDeadline(time.Time{})); err != nil {
		w.pidfd.Close()
		return nil, err
	}
	go func() {
		if err := w.conn.Read(ended); err != nil {
			return // closed
		}
		w.exited.Store(true)
		if onExit != nil {
			onExit()
		}
	}()
	return w, nil
}

// hasExited asks the kernel, which knows it before exited does.
func (w *watch) hasExited() bool {
	exited := false
	err := w.conn.Control(func(fd uintptr) { exited = ended(fd) })
	return err != nil || exited
}

// ended reports whether the process of a pidfd has ended, be it reaped or not.
func ended(pidfd uintptr) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 1
}

// Close ends the watch and frees its file descriptor.
func (w *watch) Close() error { return w.pidfd.Close() }
