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
// through.
type listenerTable struct {
	machine *host.Machine

	mu         sync.Mutex
	namespaces map[uint64][]int // network namespace to some processes in it
	tcp        map[uint64][]socket
	owners     map[uint64]holder // by inode
	missed     map[uint64]miss   // sockets that no process was found to hold
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
		machine: m,
		tcp:     map[uint64][]socket{},
		owners:  map[uint64]holder{},
		missed:  map[uint64]miss{},
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
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.listNamespaces(); err != nil {
		return nil, err
	}
	var wanted []Listener
	listening := map[uint64]bool{}
	for ns, pids := range t.namespaces {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if want.TCP != nil {
			t.tcp[ns] = t.listTCP(ns, pids)
		}
		for _, s := range t.tcp[ns] {
			listening[s.inode] = true
			if want.TCP != nil && want.TCP(ns, s.addr) {
				wanted = append(wanted, Listener{NetNS: ns, Addr: s.addr, Inode: s.inode})
			}
		}
		if want.Unix == nil {
			continue
		}
		for _, s := range listUnix(t.machine, pids) {
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
	t.resolve(inodes)
	for i := range wanted {
		wanted[i].Owner = t.owners[wanted[i].Inode].process
		wanted[i].Dormant = isServiceManager(wanted[i].Owner)
	}
	slices.SortFunc(wanted, compareListeners)
	return wanted, nil
}

// forget drops what is known of sockets that listen no more.
func (t *listenerTable) forget(listening map[uint64]bool) {
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

// sweep drops sockets that are not held as they were, and those without an owner that
// nobody has asked for lately. It does the work of forget where all listeners are never
// listed.
func (t *listenerTable) sweep(now time.Time) {
	starts := map[int]uint64{}
	for inode, h := range t.owners {
		if !holds(t.machine, h, inode, starts) {
			delete(t.owners, inode)
		}
	}
	for inode, m := range t.missed {
		if now.Sub(m.at) >= 2*missedMost {
			delete(t.missed, inode)
		}
	}
}

// resolve finds the owners of sockets, and verifies those that are known. Sockets that
// no process holds end up in missed.
func (t *listenerTable) resolve(inodes []uint64) {
	now := t.machine.Now()
	unknown, starts := map[uint64]bool{}, map[int]uint64{}
	for _, inode := range inodes {
		if h, ok := t.owners[inode]; ok {
			if holds(t.machine, h, inode, starts) {
				continue
			}
			delete(t.owners, inode)
		}
		if m, ok := t.missed[inode]; !ok || now.Sub(m.at) >= m.wait {
			unknown[inode] = true
		}
	}
	if len(unknown) == 0 {
		return
	}
	if len(t.owners)+len(t.missed) >= t.room {
		t.sweep(now)
		t.room = 2*(len(t.owners)+len(t.missed)) + 64
	}
	found := findHolders(t.machine, unknown)
	for inode := range unknown {
		if h, ok := found[inode]; ok {
			t.owners[inode] = h
			delete(t.missed, inode)
		} else {
			wait := min(max(2*t.missed[inode].wait, missedFirst), missedMost)
			t.missed[inode] = miss{now, wait}
		}
	}
}

// listNamespaces finds the network namespaces, and a few processes in each: one
// may end before its tables are read.
func (t *listenerTable) listNamespaces() error {
	pids, err := t.machine.PIDs()
	if err != nil {
		return err
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
	t.namespaces = namespaces
	for ns := range t.tcp {
		if namespaces[ns] == nil {
			delete(t.tcp, ns)
		}
	}
	return nil
}

// listTCP returns the listening TCP sockets of a namespace through one of the
// processes in it.
func (t *listenerTable) listTCP(ns uint64, pids []int) []socket {
	for _, pid := range pids {
		listeners, err := tcpSockets(t.machine, ns, pid, tcpListening)
		if err != nil {
			continue
		}
		sockets := make([]socket, len(listeners))
		for i, l := range listeners {
			sockets[i] = socket{addr: l.local, inode: l.inode}
		}
		return sockets
	}
	return nil
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
