package status

import (
	"slices"
	"sync"
	"time"

	"github.com/promscope/promscope/bridge/host"
)

const (
	// namesKept is for how long a process's name is taken for granted.
	namesKept = time.Minute

	// namesTime bounds how long a page waits for names. Those that are missing
	// come with the next one.
	namesTime = 50 * time.Millisecond
)

// processNames remembers the commands of processes: reading those of some
// thousand for every page would take longer than the page.
type processNames struct {
	machine *host.Machine

	mu    sync.Mutex
	known map[int]processName
}

type processName struct {
	comm string
	read time.Time
}

// ProcessName returns the command of a process, or "" if it has ended.
func (s *Source) ProcessName(pid int) string { return s.names.of(pid) }

// of returns one process's command, or "" if it has ended.
func (n *processNames) of(pid int) string {
	return n.all([]int{pid})[pid]
}

// all returns the commands of processes as far as there is time for it.
func (n *processNames) all(pids []int) map[int]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	names := make(map[int]string, len(pids))
	fresh := make(map[int]processName, len(pids))
	for _, pid := range pids {
		known, found := n.known[pid]
		if (!found || now.Sub(known.read) > namesKept) && time.Since(now) < namesTime {
			p, _ := n.machine.Process(pid) // one that has ended has no name
			known, found = processName{comm: p.Comm, read: now}, true
		}
		if found {
			names[pid], fresh[pid] = known.comm, known
		}
	}
	// Those that nobody asked about this time, a poller among the nodes, stay as
	// long as they are fresh.
	for pid, known := range n.known {
		if _, asked := fresh[pid]; !asked && now.Sub(known.read) <= namesKept && !slices.Contains(pids, pid) {
			fresh[pid] = known
		}
	}
	n.known = fresh
	return names
}
