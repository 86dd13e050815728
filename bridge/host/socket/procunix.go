package socket

import (
	"bufio"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/bridge/host"
)

// unixAccepts is the flag __SO_ACCEPTCON of a listening socket in the table
// (include/uapi/linux/net.h).
const unixAccepts = 1 << 16

// listUnix returns the listening unix stream sockets of a network namespace that are bound
// to a file, through the first of the processes in it that still lives. A path is as it was
// bound, in the owner's file system.
func listUnix(m *host.Machine, ns uint64, pids []int) []socket {
	for _, pid := range pids {
		sockets, err := diagUnixListeners(m, ns, pid)
		if err != nil {
			sockets, err = procUnix(m, pid)
		}
		if err == nil {
			return sockets
		}
	}
	return nil
}

// procUnix is listUnix by /proc/PID/net/unix, which needs no rights. The kernel writes
// names there as they are. One with a newline takes several lines, of which the first has a
// part of it, and the others may say anything.
func procUnix(m *host.Machine, pid int) ([]socket, error) {
	table, err := os.Open(m.Path(pid, "net/unix"))
	if err != nil {
		return nil, err
	}
	defer table.Close()
	var sockets []socket
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		if s, ok := parseUnixLine(lines.Text()); ok {
			sockets = append(sockets, s)
		}
	}
	return sockets, lines.Err()
}

// parseUnixLine parses a line of /proc/net/unix. It is ok if that is of a listening stream
// socket that is bound to a file.
func parseUnixLine(line string) (s socket, ok bool) {
	var fields [7]string // Num RefCount Protocol Flags Type St Inode
	for i := range fields {
		fields[i], line, _ = strings.Cut(strings.TrimLeft(line, " "), " ")
	}
	flags, flagsErr := strconv.ParseUint(fields[3], 16, 32)
	kind, kindErr := strconv.ParseUint(fields[4], 16, 16)
	inode, inodeErr := strconv.ParseUint(fields[6], 10, 64)
	ok = flagsErr == nil && flags&unixAccepts != 0 && kindErr == nil && kind == unix.SOCK_STREAM && inodeErr == nil
	return socket{path: line, inode: inode}, ok && strings.HasPrefix(line, "/")
}
