package socket

import (
	"os"
	"strconv"
	"strings"

	"github.com/promscope/promscope/bridge/host"
)

// maxChildren is of how many children a holder may be asked whether they were given its
// listener. That takes about 20 microseconds for each, at each look and for each new
// connection. Who has more is a server with workers.
const maxChildren = 64

// services finds the services to which the holders of listeners gave them. It reads what it
// has to of the children of each holder once, since some hold hundreds of sockets.
type services struct {
	machine  *host.Machine
	children map[int][]child // by the pid of the holder
}

// child is what tells whether a process was given sockets.
type child struct {
	pid   int
	fds   int    // the number of sockets that LISTEN_FDS gives it; 0 if LISTEN_PID is not its pid
	stdin uint64 // the socket that is its standard input and not its parent's; 0 if none
}

func newServices(m *host.Machine) *services {
	return &services{machine: m, children: map[int][]child{}}
}

// of returns the child to which the holder of a listener has given it. So does a service
// manager that isServiceManager does not know; of those that it knows the services are found
// by searchFresh. It is not ok if there is no such child, or several: those are like workers.
func (s *services) of(h holder, inode uint64) (service holder, ok bool) {
	if isServiceManager(h.process) {
		return holder{}, false
	}
	children, read := s.children[h.process.PID]
	if !read {
		children = s.read(h.process.PID)
		s.children[h.process.PID] = children
	}
	for _, c := range children {
		fd, given := s.fdOf(c, inode)
		if !given {
			continue
		}
		p, err := s.machine.Process(c.pid)
		if err != nil || p.PPID != h.process.PID || p.NetNS != h.process.NetNS || isShell(p) {
			continue
		}
		if fd == "0" && (p.Exe == "" || p.Exe == h.process.Exe) {
			continue // a worker
		}
		if ok {
			return holder{}, false
		}
		service, ok = holder{p, fd}, true
	}
	return service, ok
}

// read returns the children of a process that were given something: by LISTEN_FDS
// (sd_listen_fds(3)), or as standard input (inetd, FastCGI). A child that only inherits a
// listener has the LISTEN_PID of its parent, or the standard input of its parent.
func (s *services) read(pid int) (given []child) {
	children := childrenOf(s.machine, pid)
	if len(children) > maxChildren {
		return nil
	}
	stdin, _ := s.machine.SocketAt(pid, "0")
	for _, pid := range children {
		c := child{pid: pid}
		if inode, ok := s.machine.SocketAt(pid, "0"); ok && inode != stdin {
			c.stdin = inode
		}
		if self := s.machine.Environ(pid, "LISTEN_PID"); self != "" {
			ids, err := s.machine.NSPIDs(pid)
			if err == nil && len(ids) > 0 && self == strconv.Itoa(ids[len(ids)-1]) {
				c.fds, _ = strconv.Atoi(s.machine.Environ(pid, "LISTEN_FDS"))
			}
		}
		if c.fds > 0 || c.stdin != 0 {
			given = append(given, c)
		}
	}
	return given
}

// fdOf returns the descriptor under which a child has a socket that it was given.
func (s *services) fdOf(c child, inode uint64) (fd string, ok bool) {
	if c.stdin == inode {
		return "0", true
	}
	if c.fds <= 0 {
		return "", false
	}
	fd, ok = socketsOf(s.machine, c.pid, map[uint64]bool{inode: true})[inode]
	number, err := strconv.Atoi(fd)
	if !ok || err != nil || number < 3 {
		return "", false
	}
	return fd, number < 3+c.fds || closedOnExec(s.machine, c.pid, fd)
}

// closedOnExec reports whether a descriptor has the flag FD_CLOEXEC, as the copies have
// that Go makes of what it was given. No program inherits such a one.
func closedOnExec(m *host.Machine, pid int, fd string) bool {
	info, err := os.ReadFile(m.Path(pid, "fdinfo/"+fd))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(info)) {
		if octal, ok := strings.CutPrefix(line, "flags:"); ok {
			flags, err := strconv.ParseUint(strings.TrimSpace(octal), 8, 64)
			return err == nil && flags&02000000 != 0
		}
	}
	return false
}

// childrenOf returns the children of all threads of a process; none where the kernel has
// no CONFIG_PROC_CHILDREN.
func childrenOf(m *host.Machine, pid int) (pids []int) {
	threads, err := os.ReadDir(m.Path(pid, "task"))
	if err != nil {
		return nil
	}
	for _, thread := range threads {
		content, err := os.ReadFile(m.Path(pid, "task/"+thread.Name()+"/children"))
		if err != nil {
			continue
		}
		for _, field := range strings.Fields(string(content)) {
			if child, err := strconv.Atoi(field); err == nil {
				pids = append(pids, child)
			}
		}
	}
	return pids
}
