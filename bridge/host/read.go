package host

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// What is read for each of some thousand processes is read by these functions
// and parsed here, and not by procfs and package os: that is some five times
// cheaper, which is what keeps looking through all processes below one percent
// of a CPU. Everything else is left to procfs.

// scratch is the buffer for a file of a process. They are small: the longest, a
// cgroup file of version 1, has a dozen lines.
type scratch [4096]byte

// readFile reads a file of a process. The kernel makes the content of stat and cgroup
// in one piece (single_open in fs/proc/base.c), so that one read returns it.
func (m *Machine) readFile(pid int, name string, buf *scratch) ([]byte, error) {
	fd, err := unix.Open(m.Path(pid, name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		return nil, err
	}
	return buf[:n], nil
}

// SocketAt returns the inode number of the socket that a process has under a file
// descriptor; it is not ok if there is none.
func (m *Machine) SocketAt(pid int, fd string) (inode uint64, ok bool) {
	// Not stat: on a file of a hung network file system that would hang, too.
	inode, ok, err := readLink(m.Path(pid, "fd/"+fd), "socket")
	return inode, ok && err == nil
}

// readLink returns the inode number in a link of procfs, kind:[123]; ok says
// whether it is one of that kind.
func readLink(path, kind string) (inode uint64, ok bool, err error) {
	var buf [64]byte // what is longer is the path of a file
	n, err := unix.Readlink(path, buf[:])
	if err != nil {
		return 0, false, err
	}
	inode, ok = parseLink(buf[:n], kind)
	return inode, ok, nil
}

// parseLink parses kind:[123]. It is not ok if the target is of another kind.
func parseLink(target []byte, kind string) (inode uint64, ok bool) {
	n := len(target)
	if n < len(kind)+len(":[0]") || string(target[:len(kind)]) != kind ||
		string(target[len(kind):len(kind)+2]) != ":[" || target[n-1] != ']' {
		return 0, false
	}
	inode, err := strconv.ParseUint(string(target[len(kind)+2:n-1]), 10, 64)
	return inode, err == nil
}
