package host

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// SplitRoot splits a path below a process's root directory, /proc/PID/root/…, into the
// pid and the path that the process has for it. It is not ok for any other path.
func (m *Machine) SplitRoot(path string) (pid int, inside string, ok bool) {
	rest, ok := strings.CutPrefix(path, m.root+"/")
	if !ok {
		return 0, "", false
	}
	first, rest, _ := strings.Cut(rest, "/")
	pid, err := strconv.Atoi(first)
	if inside, ok = strings.CutPrefix(rest, "root/"); !ok || err != nil || pid <= 0 {
		return 0, "", false
	}
	return pid, "/" + inside, true
}

// OpenInRoot opens a file of a process's root directory as the process would: symbolic
// links, absolute ones too, stay below that root. Otherwise a link in a container's file
// system would lead to a file of the host. The flags are those of open(2). Linux before
// 5.6, and containers whose seccomp profile does not know openat2, follow no link that is
// absolute.
func (m *Machine) OpenInRoot(pid int, path string, flags int) (*os.File, error) {
	file, err := openInRoot(m.Path(pid, "root"), path, flags)
	if err != nil {
		return nil, fmt.Errorf("opening %s of process %d: %w", path, pid, err)
	}
	return file, nil
}

func openInRoot(root, path string, flags int) (*os.File, error) {
	dir, err := os.OpenFile(root, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	fd, err := unix.Openat2(int(dir.Fd()), path, &unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC),
		Resolve: unix.RESOLVE_IN_ROOT,
	})
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		return openBelow(root, path, flags)
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

// openBelow is openInRoot where there is no openat2.
func openBelow(root, path string, flags int) (*os.File, error) {
	dir, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return dir.OpenFile(strings.TrimLeft(path, "/"), flags, 0)
}
