package socket

import (
	"os"
	"slices"

	"github.com/promscope/promscope/bridge/host"
)

// findHolders looks through the file descriptors of all processes until each of the
// sockets has been found, and returns their owners. The sockets that are looked for are
// new, so the highest pids come first.
func findHolders(m *host.Machine, inodes map[uint64]bool) map[uint64]holder {
	found, managed := map[uint64]holder{}, map[uint64]holder{}
	pids, err := m.PIDs()
	if err != nil {
		return found
	}
	slices.SortFunc(pids, func(a, b int) int { return b - a })
	for _, pid := range pids {
		for inode, fd := range socketsOf(m, pid, inodes) {
			if _, ok := found[inode]; ok {
				continue
			}
			switch h, ok := ownerOf(m, pid, fd, inode); {
			case ok && isServiceManager(h.process):
				managed[inode] = h // unless the service comes yet
			case ok:
				found[inode] = h
			}
		}
		if len(found) == len(inodes) {
			break
		}
	}
	for inode, h := range managed {
		if _, ok := found[inode]; !ok {
			found[inode] = h
		}
	}
	return found
}

// ownerOf returns the owner of a socket, given a process that holds it: the oldest
// ancestor that holds it too. Workers inherit the listener of the server that forked
// them, so that is the master. A service manager counts only as long as no service holds
// the socket that it opened.
func ownerOf(m *host.Machine, pid int, fd string, inode uint64) (holder, bool) {
	p, err := m.Process(pid)
	if err != nil {
		return holder{}, false
	}
	oldest := holder{p, fd}
	for ppid := p.PPID; ppid > 0; ppid = p.PPID {
		if p, err = m.Stat(ppid); err != nil || isServiceManager(p) {
			break
		}
		fd, ok := socketsOf(m, ppid, map[uint64]bool{inode: true})[inode]
		if !ok {
			continue
		}
		if p, err = m.Process(ppid); err != nil || p.NetNS != oldest.process.NetNS {
			break
		}
		oldest = holder{p, fd}
	}
	return oldest, true
}

// isServiceManager reports whether a process opens sockets for others.
func isServiceManager(p host.Process) bool {
	switch p.Comm {
	case "systemd", "xinetd", "inetd":
		return true
	}
	return false
}

// holds reports whether a process still is the one that it was, and still holds a
// socket. Start times that were read are kept in starts, if it is not nil, for one look
// at all sockets: some processes hold hundreds, and to read the stat file of one the
// kernel walks through its threads.
func holds(m *host.Machine, h holder, inode uint64, starts map[int]uint64) bool {
	if held, ok := m.SocketAt(h.process.PID, h.fd); !ok || held != inode {
		return false
	}
	// A socket's inode number may come again some day, in a process of the same
	// pid, under the same descriptor.
	ticks, known := starts[h.process.PID]
	if !known {
		if p, err := m.Stat(h.process.PID); err == nil {
			ticks = p.StartTicks
		}
		if starts != nil {
			starts[h.process.PID] = ticks
		}
	}
	return ticks != 0 && ticks == h.process.StartTicks
}

// socketsOf returns which of the sockets a process holds, and under which file
// descriptors.
func socketsOf(m *host.Machine, pid int, inodes map[uint64]bool) map[uint64]string {
	dir, err := os.Open(m.Path(pid, "fd"))
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil
	}
	var found map[uint64]string
	for _, fd := range names {
		if inode, ok := m.SocketAt(pid, fd); ok && inodes[inode] {
			if found == nil {
				found = map[uint64]string{}
			}
			found[inode] = fd
		}
	}
	return found
}
