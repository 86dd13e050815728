package host

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// BorrowSocket returns a descriptor of ours for the socket that a process has under one of
// its descriptors; the inode number tells that it is the one that is meant. The caller
// closes it soon: until then the process cannot end its connection. It takes Linux 5.6,
// the right to trace the process (pidfd_getfd(2)), and pids of our own pid namespace.
func (m *Machine) BorrowSocket(pid int, fd string, inode uint64) (int, error) {
	if !m.self.native {
		return 0, fmt.Errorf("borrowing a socket of process %d: %w", pid, ErrNotPermitted)
	}
	number, err := strconv.Atoi(fd)
	if err != nil {
		return 0, err
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return 0, processError(pid, err)
	}
	defer unix.Close(pidfd)
	borrowed, err := unix.PidfdGetfd(pidfd, number, 0)
	if err != nil {
		return 0, processError(pid, err)
	}
	var stat unix.Stat_t
	if err := unix.Fstat(borrowed, &stat); err != nil || stat.Ino != inode {
		unix.Close(borrowed)
		return 0, fmt.Errorf("process %d: descriptor %d is another file by now", pid, number)
	}
	return borrowed, nil
}
