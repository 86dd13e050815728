package socket

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/promscope/promscope/bridge/host"
)

// OwnerOf returns the process that answers at the other end of a connection of ours. The
// connection is one of a unix socket, of TCP on this host, or of TCP to an address of a
// container on this host. It is not ok if the listener is on another machine, or its owner
// cannot be told. A known owner takes some microseconds, and about 20 for each of its
// children (see maxChildren). For one that is not known the file descriptors of all
// processes are looked through.
//
// A service manager does not answer: the service does, or nobody. Nor does a forwarder, as
// docker-proxy is one for a published port: the process behind it does, if it is on this
// host. What a tunnel leads to is not known.
func (t *Table) OwnerOf(ctx context.Context, conn net.Conn) (p host.Process, ok bool) {
	netns := t.machine.NetNS()
	for {
		if c, ok := conn.(namespaceConn); ok {
			netns = c.netns
		}
		inner, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		conn = inner.NetConn()
	}
	switch remote := conn.RemoteAddr().(type) {
	case *net.UnixAddr:
		return t.unixOwner(ctx, conn, netns, remote.Name)
	case *net.TCPAddr:
		local, _ := conn.LocalAddr().(*net.TCPAddr)
		server, client := unmapped(remote.AddrPort()), unmapped(local.AddrPort())
		if !t.endsHere(netns, server, client) {
			return host.Process{}, false
		}
		p, _ = t.tcpOwner(ctx, netns, server, client, maxHops)
		return p, p.PID != 0
	}
	return host.Process{}, false
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// endsHere reports whether a connection ends in the network namespace of this host that has
// the server's address; both ends are seen from the namespace netns. A container that cannot
// be reached may have the address of another machine, and then has no such connection.
func (t *Table) endsHere(netns uint64, server, client netip.AddrPort) bool {
	ns, ok := t.addresses.lookup(netns, server.Addr())
	if !ok || ns == netns || ns == t.machine.NetNS() {
		return ok
	}
	pid, err := t.listeners.member(ns)
	if err != nil {
		return false
	}
	if s, err := diagConnection(t.machine, ns, pid, server, client); err == nil && s.remote == client {
		return true
	}
	// The namespace may redirect the port, as for a sidecar. The client's end stays the same.
	sockets, err := tcpSockets(t.machine, ns, pid, anyTCPState)
	return err == nil && slices.ContainsFunc(sockets, func(s tcpSocket) bool { return s.remote == client })
}

// maxHops is how many forwarders may stand in front of each other.
const maxHops = 3

// tcpOwner returns the process that answers at server, to which client is connected; both
// are seen from the namespace netns. A client that is not valid is not known. The PID is 0
// if that process is not known; here says whether the listener is on this host at all.
func (t *Table) tcpOwner(ctx context.Context, netns uint64, server, client netip.AddrPort, hops int) (p host.Process, here bool) {
	ns, ok := t.addresses.lookup(netns, server.Addr())
	if !ok {
		return host.Process{}, false
	}
	connection := func() uint64 { return t.accepted(ctx, ns, server, client) }
	owners := t.listenerOwners(ctx, ns, server)
	switch {
	case len(owners) == 0:
		return host.Process{}, true
	case len(owners) > 1 && client.IsValid(): // SO_REUSEPORT
		p = t.acceptor(connection(), owners)
	default:
		p = owners[0]
	}
	return t.answers(ctx, ns, p, connection, hops)
}

// answers returns who answers a connection that reaches the listener of a process. The
// function connection returns the inode of its other end, as acceptors have it.
func (t *Table) answers(ctx context.Context, ns uint64, p host.Process, connection func() uint64, hops int) (host.Process, bool) {
	if isServiceManager(p) {
		// It may start a service for each connection, which has nothing but that.
		if p = t.holderOf(connection()); isServiceManager(p) {
			return host.Process{}, true
		}
	}
	switch {
	case forwards(p) == noForwarder:
		return p, true
	case forwards(p) == carried || hops == 0:
		return host.Process{}, false
	}
	target, ok := proxyTarget(t.machine, p)
	if !ok {
		target, ok = upstreamFlag(t.machine, p)
	}
	if ok {
		return t.tcpOwner(ctx, ns, target, netip.AddrPort{}, hops-1)
	}
	if accepted := t.holderOf(connection()); accepted.PID != 0 {
		p = accepted // a child for each connection
	}
	return t.behind(ctx, p, hops-1)
}

// acceptTries and acceptPause bound how long OwnerOf waits for the server to accept the
// connection.
const (
	acceptTries = 20
	acceptPause = time.Millisecond
)

// accepted returns the inode of the socket of a namespace that a connection from client to
// server has at the server's end; 0 if no process accepts it in time.
func (t *Table) accepted(ctx context.Context, ns uint64, server, client netip.AddrPort) (inode uint64) {
	pid, err := t.listeners.member(ns)
	if err != nil || !client.IsValid() {
		return 0
	}
	for range acceptTries {
		s, err := diagConnection(t.machine, ns, pid, server, client)
		if err != nil {
			s.inode, err = procConnection(t.machine, pid, server, client)
		}
		if err == nil && s.inode != 0 {
			return s.inode
		}
		select {
		case <-ctx.Done():
			return 0
		case <-time.After(acceptPause):
		}
	}
	return 0
}

// holderOf returns the process that holds a socket; the PID is 0 if none is known to.
func (t *Table) holderOf(inode uint64) host.Process {
	if inode == 0 {
		return host.Process{}
	}
	return findHolders(t.machine, map[uint64]bool{inode: true})[inode].process
}

// acceptor returns which of the owners of a port has accepted the connection that has this
// inode, itself or by one of its workers. The PID is 0 if it was none of them, as for a
// connection that was passed to another process.
func (t *Table) acceptor(inode uint64, owners []host.Process) host.Process {
	for p := t.holderOf(inode); p.PID > 1; {
		if i := slices.IndexFunc(owners, func(o host.Process) bool { return o.ID() == p.ID() }); i >= 0 {
			return owners[i]
		}
		var err error
		if p, err = t.machine.Stat(p.PPID); err != nil {
			break
		}
	}
	return host.Process{}
}

// listenerOwners returns the owners of the listeners at an address in a
// namespace, the oldest first.
func (t *Table) listenerOwners(ctx context.Context, ns uint64, server netip.AddrPort) []host.Process {
	l := t.listeners
	inodes := inodesOf(reachable(l.knownTCP(ns), server))
	// A service may have come for a socket that a service manager holds.
	if known, _, managed := l.known(inodes); len(known) == len(inodes) && len(known) > 0 && len(managed) == 0 {
		return oldestFirst(inodes, known)
	}
	sockets := l.listTCP(ns, l.membersOf(ns))
	inodes = inodesOf(reachable(sockets, server))
	return oldestFirst(inodes, l.resolve(ctx, inodes, inodesOf(sockets)))
}

func inodesOf(sockets []socket) []uint64 {
	inodes := make([]uint64, len(sockets))
	for i, s := range sockets {
		inodes[i] = s.inode
	}
	return inodes
}

// oldestFirst returns the owners of some sockets, each once.
func oldestFirst(inodes []uint64, owners map[uint64]holder) (processes []host.Process) {
	for _, inode := range inodes {
		h, ok := owners[inode]
		if ok && !slices.ContainsFunc(processes, func(p host.Process) bool { return p.ID() == h.process.ID() }) {
			processes = append(processes, h.process)
		}
	}
	slices.SortFunc(processes, func(a, b host.Process) int { return cmp.Compare(a.StartTicks, b.StartTicks) })
	return processes
}

// reachable returns the sockets that a connection to the address may reach. The
// kernel prefers those that are bound to that very address.
func reachable(sockets []socket, server netip.AddrPort) []socket {
	bound := []netip.Addr{server.Addr(), netip.IPv6Unspecified()}
	if server.Addr().Is4() {
		bound = []netip.Addr{server.Addr(), netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	}
	for _, addr := range bound {
		var found []socket
		for _, s := range sockets {
			if s.addr == netip.AddrPortFrom(addr, server.Port()) {
				found = append(found, s)
			}
		}
		if len(found) > 0 {
			return found
		}
	}
	return nil
}

// unixOwner returns who answers at the unix listener at path. The peer's credentials are
// those of the process that called listen. It is the owner, unless it has gone or opens
// sockets for others.
func (t *Table) unixOwner(ctx context.Context, conn net.Conn, netns uint64, path string) (host.Process, bool) {
	var p host.Process
	if pid, err := t.machine.PeerPID(conn); err == nil {
		p, _ = t.unixListener(pid)
	}
	if p.PID == 0 {
		p, _ = t.listeners.unixOwner(ctx, netns, path)
	}
	if p.PID == 0 {
		return p, false
	}
	connection := func() uint64 {
		inode, err := socketInode(conn)
		if err != nil {
			return 0
		}
		own, err := diagUnix(t.machine, netns, t.machine.PID(), inode)
		if err != nil {
			return 0
		}
		return own.peer
	}
	p, _ = t.answers(ctx, netns, p, connection, maxHops)
	return p, p.PID != 0
}

// unixListener returns the process that has called listen for a unix socket. It is not ok if
// that listens no more, or opens sockets for others. One that gave a service any of its
// sockets does.
func (t *Table) unixListener(pid int) (host.Process, bool) {
	p, err := t.machine.Process(pid)
	if err != nil || isServiceManager(p) {
		return host.Process{}, false
	}
	listeners := map[uint64]bool{}
	for _, s := range listUnix(t.machine, p.NetNS, []int{pid}) {
		listeners[s.inode] = true
	}
	held, services := socketsOf(t.machine, pid, listeners), newServices(t.machine)
	for inode, fd := range held {
		if _, given := services.of(holder{p, fd}, inode); given {
			return host.Process{}, false
		}
	}
	return p, len(held) > 0
}

// unixOwner returns the owner of the unix listener that was bound to the path by
// a process in the namespace. It is not ok if several processes listen at it, each in its
// own file system or at a file that another one has replaced.
func (t *listenerTable) unixOwner(ctx context.Context, netns uint64, path string) (owner host.Process, ok bool) {
	var inodes []uint64
	for _, s := range listUnix(t.machine, netns, t.membersOf(netns)) {
		if s.path == path {
			inodes = append(inodes, s.inode)
		}
	}
	owners := oldestFirst(inodes, t.resolve(ctx, inodes, nil))
	if len(owners) != 1 {
		return host.Process{}, false
	}
	return owners[0], true
}
