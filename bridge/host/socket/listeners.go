package socket

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/promscope/promscope/bridge/host"
)

// Listener is a listening stream socket.
type Listener struct {
	NetNS uint64         // network namespace, as the inode number of /proc/PID/ns/net; 0 if unknown
	Addr  netip.AddrPort // of a TCP listener; an IPv4 address is never IPv6-mapped
	Path  string         // of a unix listener in the file system; Addr is not valid then
	Inode uint64         // of the socket: its identity for as long as it listens

	// Owner is the process that Scope's user would name: the master of a server that
	// forks workers, the service for which a service manager opened the socket. Its PID
	// is 0 if no process was found to hold the socket: it is the kernel's, or another
	// user's and CAP_SYS_PTRACE is missing.
	Owner host.Process

	// Dormant says that only a service manager holds the socket. A connection would
	// start the service.
	Dormant bool
}

// The owner of a socket that was not found is looked for again after missedFirst, then
// after twice that time, and so on up to missedMost. The socket may be the kernel's, and
// each look goes through all processes.
const (
	missedFirst = 10 * time.Second
	missedMost  = 10 * time.Minute
)

// miss is a search in vain.
type miss struct {
	at   time.Time
	wait time.Duration // until the next one
}

// listenerTable knows the listening sockets and their owners. A known owner is only
// verified. For sockets that are new the file descriptors of all processes are looked
// through, for all that are new at once. Nothing is read under the lock: what a target
// waits for is at most a search under way, which has its listener, too.
type listenerTable struct {
	machine   *host.Machine
	searching chan struct{} // holds a value while file descriptors are looked through

	mu         sync.Mutex
	namespaces map[uint64][]int // network namespace to some processes in it
	tcp        map[uint64][]socket
	owners     map[uint64]holder // by inode
	missed     map[uint64]miss   // sockets that no process was found to hold, or only a service manager
	searched   map[int]bool      // pids that were looked through for services; see searchFresh
	room       int               // with so many of both, those that are gone are dropped
}

// socket is a row of a namespace's table of listening sockets.
type socket struct {
	addr  netip.AddrPort
	path  string
	inode uint64
}

// holder is a process that holds a socket, and where.
type holder struct {
	process host.Process
	fd      string
}

func newListenerTable(m *host.Machine) *listenerTable {
	return &listenerTable{
		machine:   m,
		searching: make(chan struct{}, 1),
		tcp:       map[uint64][]socket{},
		owners:    map[uint64]holder{},
		missed:    map[uint64]miss{},
	}
}

// Wanted says which listeners to return, before anything is spent on finding
// their owners. A function that is nil wants none.
type Wanted struct {
	TCP  func(netns uint64, addr netip.AddrPort) bool
	Unix func(netns uint64, path string) bool
}

// Listeners returns the listening TCP and unix stream sockets of all network
// namespaces that have a process and can be seen, with their owners.
func (t *Table) Listeners(ctx context.Context, want Wanted) ([]Listener, error) {
	return t.listeners.list(ctx, want)
}

func (t *listenerTable) list(ctx context.Context, want Wanted) ([]Listener, error) {
	namespaces, err := t.listNamespaces()
	if err != nil {
		return nil, err
	}
	var wanted []Listener
	listening := map[uint64]bool{}
	for ns, pids := range namespaces {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		sockets := t.knownTCP(ns)
		if want.TCP != nil {
			sockets = t.listTCP(ns, pids)
		}
		for _, s := range sockets {
			listening[s.inode] = true
			if want.TCP != nil && want.TCP(ns, s.addr) {
				wanted = append(wanted, Listener{NetNS: ns, Addr: s.addr, Inode: s.inode})
			}
		}
		if want.Unix == nil {
			continue
		}
		for _, s := range listUnix(t.machine, ns, pids) {
			if want.Unix(ns, s.path) {
				listening[s.inode] = true
				wanted = append(wanted, Listener{NetNS: ns, Path: s.path, Inode: s.inode})
			}
		}
	}
	t.forget(listening)

	inodes := make([]uint64, len(wanted))
	for i, l := range wanted {
		inodes[i] = l.Inode
	}
	owners := t.resolve(ctx, inodes, nil)
	for i := range wanted {
		wanted[i].Owner = owners[wanted[i].Inode].process
		wanted[i].Dormant = isServiceManager(wanted[i].Owner)
	}
	slices.SortFunc(wanted, compareListeners)
	return wanted, nil
}

// forget drops what is known of sockets that listen no more.
func (t *listenerTable) forget(listening map[uint64]bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for inode := range t.owners {
		if !listening[inode] {
			delete(t.owners, inode)
		}
	}
	for inode := range t.missed {
		if !listening[inode] {
			delete(t.missed, inode)
		}
	}
}

// listNamespaces finds the network namespaces, and a few processes in each: one
// may end before its tables are read. The map is replaced as a whole, never changed.
func (t *listenerTable) listNamespaces() (map[uint64][]int, error) {
	pids, err := t.machine.PIDs()
	if err != nil {
		return nil, err
	}
	slices.Sort(pids)
	namespaces := map[uint64][]int{}
	for _, pid := range pids {
		ns, err := t.machine.Namespace(pid, "net")
		if err == nil && len(namespaces[ns]) < 3 {
			namespaces[ns] = append(namespaces[ns], pid)
		}
	}
	// Ours is always readable, through ourselves.
	if self, own := t.machine.PID(), t.machine.NetNS(); self > 0 && namespaces[own] == nil {
		namespaces[own] = []int{self}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.namespaces = namespaces
	for ns := range t.tcp {
		if namespaces[ns] == nil {
			delete(t.tcp, ns)
		}
	}
	return namespaces, nil
}

// membersOf returns some processes that were in a network namespace when it was looked at
// last; it looks if that one is new.
func (t *listenerTable) membersOf(ns uint64) []int {
	t.mu.Lock()
	pids := t.namespaces[ns]
	t.mu.Unlock()
	if pids != nil {
		return pids
	}
	namespaces, err := t.listNamespaces()
	if err != nil {
		return nil
	}
	return namespaces[ns]
}

// knownTCP returns the listening TCP sockets of a namespace as they were listed last.
func (t *listenerTable) knownTCP(ns uint64) []socket {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.tcp[ns] // replaced as a whole, never changed
}

// listTCP returns the listening TCP sockets of a namespace through one of the
// processes in it.
func (t *listenerTable) listTCP(ns uint64, pids []int) []socket {
	var sockets []socket
	for _, pid := range pids {
		listeners, err := tcpSockets(t.machine, ns, pid, tcpListening)
		if err != nil {
			continue
		}
		sockets = make([]socket, len(listeners))
		for i, l := range listeners {
			sockets[i] = socket{addr: l.local, inode: l.inode}
		}
		break
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tcp[ns] = sockets
	return sockets
}

func compareListeners(a, b Listener) int {
	switch {
	case a.NetNS != b.NetNS:
		return cmp.Compare(a.NetNS, b.NetNS)
	case a.Addr != b.Addr:
		return a.Addr.Compare(b.Addr)
	case a.Path != b.Path:
		return cmp.Compare(a.Path, b.Path)
	default:
		return cmp.Compare(a.Inode, b.Inode)
	}
}
