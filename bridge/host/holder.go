package host

import (
	"os"
	"slices"
	"strconv"
)

// findHolders goes through the file descriptors of all processes until each of
// the sockets has been found, and returns their owners. What has to be looked
// for was opened last, so the highest pids come first.
func (m *Machine) findHolders(inodes map[uint64]bool) map[uint64]holder {
	found, managed := map[uint64]holder{}, map[uint64]holder{}
	pids, err := m.listPIDs()
	if err != nil {
		return found
	}
	slices.SortFunc(pids, func(a, b int) int { return b - a })
	for _, pid := range pids {
		for inode, fd := range m.socketsOf(pid, inodes) {
			if _, ok := found[inode]; ok {
				continue
			}
			switch h, ok := m.owner(pid, fd, inode); {
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

// owner returns the process that owns a socket in Scope's eyes, given one that
// holds it: the oldest ancestor that holds it too. A server that forks workers
// bequeaths its listener to them, so that is the master. A service manager that
// opened the socket for a service counts only as long as no service holds it.
func (m *Machine) owner(pid int, fd string, inode uint64) (holder, bool) {
	p, err := m.Process(pid)
	if err != nil {
		return holder{}, false
	}
	oldest := holder{p, fd}
	for ppid := p.PPID; ppid > 0; ppid = p.PPID {
		if p, err = m.stat(ppid); err != nil || isServiceManager(p) {
			break
		}
		fd, ok := m.socketsOf(ppid, map[uint64]bool{inode: true})[inode]
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
func isServiceManager(p Process) bool {
	switch p.Comm {
	case "systemd", "xinetd", "inetd":
		return true
	}
	return false
}

// holds reports whether a process still is the one that it was, and still holds
// a socket. What was read of processes goes through starts, which lasts for one
// look at all sockets: some hold hundreds, and to read the stat file of one takes the
// kernel a walk through its threads.
func (m *Machine) holds(h holder, inode uint64, starts map[int]uint64) bool {
	var buf scratch
	held, ok, err := readLink(m.pidPath(h.process.PID, "fd/"+h.fd), "socket", &buf)
	if err != nil || !ok || held != inode {
		return false
	}
	// A socket's inode number may come again some day, in a process of the same
	// pid, under the same descriptor.
	ticks, known := starts[h.process.PID]
	if !known {
		if p, err := m.stat(h.process.PID); err == nil {
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
func (m *Machine) socketsOf(pid int, inodes map[uint64]bool) map[uint64]string {
	dir := m.root + "/" + strconv.Itoa(pid) + "/fd"
	f, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil
	}
	var buf scratch
	var found map[uint64]string
	for _, fd := range names {
		// Not stat: on a file of a hung network file system that would hang, too.
		if inode, ok, err := readLink(dir+"/"+fd, "socket", &buf); err == nil && ok && inodes[inode] {
			if found == nil {
				found = map[uint64]string{}
			}
			found[inode] = fd
		}
	}
	return found
}
