package socket

import (
	"os"
	"path/filepath"
	"slices"

	"github.com/promscope/promscope/bridge/host"
)

// search looks through the file descriptors of processes for some sockets. It reads those
// of each process once.
type search struct {
	machine *host.Machine
	inodes  map[uint64]bool
	read    map[int]map[uint64]string // by pid: the sockets among inodes, and their descriptors

	services *services
	managers map[int]bool // pids of the service managers that hold some of them
}

func newSearch(m *host.Machine, inodes map[uint64]bool) *search {
	return &search{machine: m, inodes: inodes, read: map[int]map[uint64]string{}, services: newServices(m), managers: map[int]bool{}}
}

// findHolders looks through the file descriptors of all processes until each of the
// sockets has been found, and returns their owners. The sockets that are looked for are
// new, so the highest pids come first.
func findHolders(m *host.Machine, inodes map[uint64]bool) map[uint64]holder {
	pids, err := m.PIDs()
	if err != nil {
		return nil
	}
	return newSearch(m, inodes).owners(pids)
}

// owners returns the owners of the sockets, as far as one of the processes holds them. A
// service manager is the owner only of what no other process holds.
func (s *search) owners(pids []int) map[uint64]holder {
	found, managed := map[uint64]holder{}, map[uint64]holder{}
	pids = slices.SortedFunc(slices.Values(pids), func(a, b int) int { return b - a })
	for _, pid := range pids {
		for inode, fd := range s.socketsOf(pid) {
			if _, ok := found[inode]; ok {
				continue
			}
			switch h, ok := s.ownerOf(pid, fd, inode); {
			case ok && isServiceManager(h.process):
				managed[inode] = h // unless the service comes yet
				s.managers[h.process.PID] = true
			case ok:
				found[inode] = h
			}
		}
		if len(found) == len(s.inodes) {
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
// the socket that it opened, and what starts a forwarder is none. A shell opens none, and
// passes on what it was given. A child that was given the socket is the owner, not its parent.
func (s *search) ownerOf(pid int, fd string, inode uint64) (holder, bool) {
	p, err := s.machine.Process(pid)
	if err != nil {
		return holder{}, false
	}
	oldest := holder{p, fd}
	for ppid := p.PPID; ppid > 0; ppid = p.PPID {
		if p, err = s.machine.Stat(ppid); err != nil || isServiceManager(p) {
			break
		}
		fd, ok := s.socketsOf(ppid)[inode]
		if !ok || isShell(p) {
			continue
		}
		p, err = s.machine.Process(ppid)
		if err != nil || p.NetNS != oldest.process.NetNS || forwards(oldest.process) != noForwarder && forwards(p) == noForwarder {
			break
		}
		oldest = holder{p, fd}
	}
	if service, ok := s.services.of(oldest, inode); ok {
		return service, true
	}
	return oldest, true
}

// socketsOf returns which of the sockets a process holds, and under which file
// descriptors.
func (s *search) socketsOf(pid int) map[uint64]string {
	found, ok := s.read[pid]
	if !ok {
		found = socketsOf(s.machine, pid, s.inodes)
		s.read[pid] = found
	}
	return found
}

// isServiceManager reports whether a process opens sockets for others.
func isServiceManager(p host.Process) bool {
	switch p.Comm {
	case "systemd", "systemd-executo", "(sd-executor)", "xinetd", "inetd", "openbsd-inetd", "inetutils-inetd", "circusd", "start_server", "supervisord":
		return true
	case "systemd-socket-": // systemd-socket-activate, or systemd-socket-proxyd
		return p.Exe == "" || filepath.Base(p.Exe) == "systemd-socket-activate"
	}
	return false
}

func isShell(p host.Process) bool {
	switch p.Comm {
	case "sh", "ash", "bash", "dash", "ksh", "zsh":
		return true
	}
	return false
}

// verify returns what a process that held a socket is now; it is not ok if that process
// has ended or holds the socket no more. Its name may be another one: it has executed
// another program. What is read of processes is kept in stats, for one look at all
// sockets: some processes hold hundreds, and to read the stat file of one the kernel
// walks through its threads.
func verify(m *host.Machine, h holder, inode uint64, stats map[int]host.Process) (holder, bool) {
	if held, ok := m.SocketAt(h.process.PID, h.fd); !ok || held != inode {
		return holder{}, false
	}
	// A socket's inode number may come again some day, in a process of the same
	// pid, under the same descriptor.
	now, known := stats[h.process.PID]
	if !known {
		now, _ = m.Stat(h.process.PID)
		stats[h.process.PID] = now
	}
	if now.StartTicks == 0 || now.StartTicks != h.process.StartTicks {
		return holder{}, false
	}
	if now.Comm != h.process.Comm {
		p, err := m.Process(h.process.PID)
		if err != nil || p.ID() != h.process.ID() {
			return holder{}, false
		}
		h.process = p
	}
	return h, true
}

// socketsOf returns which of the sockets a process holds, and under which file
// descriptors; all of them if inodes is nil.
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
		if inode, ok := m.SocketAt(pid, fd); ok && (inodes == nil || inodes[inode]) {
			if found == nil {
				found = map[uint64]string{}
			}
			found[inode] = fd
		}
	}
	return found
}
