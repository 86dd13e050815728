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

// OwnerOf returns the process that owns the listener at the other end of a
// connection of ours. The connection is one of a unix socket, of TCP on this host, or
// of TCP to an address of a container on this host. It is not ok if the listener is on
// another machine, or its owner cannot be told. A known owner takes some
// microseconds; for one that is not known the file descriptors of all processes are
// looked through.
//
// Behind a docker-proxy, which forwards a published port, the owner is the
// process in the container.
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
		return t.unixOwner(conn, netns, remote.Name)
	case *net.TCPAddr:
		local, _ := conn.LocalAddr().(*net.TCPAddr)
		return t.tcpOwner(ctx, netns, unmapped(remote.AddrPort()), unmapped(local.AddrPort()))
	}
	return host.Process{}, false
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// tcpOwner returns the owner of the listener at server, to which client is
// connected; both are seen from the namespace netns.
func (t *Table) tcpOwner(ctx context.Context, netns uint64, server, client netip.AddrPort) (host.Process, bool) {
	ns, ok := t.addresses.lookup(netns, server.Addr())
	if !ok {
		return host.Process{}, false
	}
	p, ok := t.listenerOwner(ctx, ns, server, client)
	if !ok {
		return host.Process{}, false
	}
	target, proxied := proxyTarget(t.machine, p)
	if !proxied {
		return p, true
	}
	if ns, ok = t.addresses.lookup(ns, target.Addr()); !ok {
		return host.Process{}, false
	}
	return t.listenerOwner(ctx, ns, target, netip.AddrPort{})
}

// acceptTries and acceptPause bound how long OwnerOf waits for the server to accept the
// connection.
const (
	acceptTries = 20
	acceptPause = time.Millisecond
)

// listenerOwner returns the owner of the listener at an address in a namespace. If
// processes share the port (SO_REUSEPORT), it is the one that accepted the connection
// from client.
func (t *Table) listenerOwner(ctx context.Context, ns uint64, server, client netip.AddrPort) (host.Process, bool) {
	owners := t.listeners.listenerOwners(ns, server)
	switch {
	case len(owners) == 0:
		return host.Process{}, false
	case len(owners) == 1 || !client.IsValid():
		return owners[0], true
	}
	for range acceptTries {
		if p, accepted := t.acceptor(ns, server, client, owners); accepted {
			return p, p.PID != 0
		}
		select {
		case <-ctx.Done():
			return host.Process{}, false
		case <-time.After(acceptPause):
		}
	}
	return host.Process{}, false
}

// listenerOwners returns the owners of the listeners at an address in a
// namespace, the oldest first.
func (t *listenerTable) listenerOwners(ns uint64, server netip.AddrPort) []host.Process {
	t.mu.Lock()
	defer t.mu.Unlock()
	owners, complete := t.knownOwners(ns, server)
	if complete {
		return owners
	}
	if t.namespaces[ns] == nil {
		if err := t.listNamespaces(); err != nil {
			return nil
		}
	}
	t.tcp[ns] = t.listTCP(ns, t.namespaces[ns])
	var inodes []uint64
	for _, s := range reachable(t.tcp[ns], server) {
		inodes = append(inodes, s.inode)
	}
	t.resolve(inodes)
	owners, _ = t.knownOwners(ns, server)
	return owners
}

// knownOwners returns the owners of the listeners at an address that are known
// already and still hold them, the oldest first; complete says whether there is
// one for each listener.
func (t *listenerTable) knownOwners(ns uint64, server netip.AddrPort) (owners []host.Process, complete bool) {
	sockets := reachable(t.tcp[ns], server)
	complete = len(sockets) > 0
	for _, s := range sockets {
		h, ok := t.owners[s.inode]
		if !ok || !holds(t.machine, h, s.inode, nil) {
			complete = false
			continue
		}
		if !containsProcess(owners, h.process) {
			owners = append(owners, h.process)
		}
	}
	slices.SortFunc(owners, func(a, b host.Process) int { return cmp.Compare(a.StartTicks, b.StartTicks) })
	return owners, complete
}

func containsProcess(processes []host.Process, p host.Process) bool {
	return slices.ContainsFunc(processes, func(o host.Process) bool { return o.ID() == p.ID() })
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

// acceptor returns which of the owners of a port has accepted the connection, itself
// or by one of its workers. It is accepted by none of them (the PID is 0) if it was
// passed to another process.
func (t *Table) acceptor(ns uint64, server, client netip.AddrPort, owners []host.Process) (p host.Process, accepted bool) {
	pid, err := t.listeners.member(ns)
	if err != nil {
		return host.Process{}, false
	}
	inode, err := diagConnection(t.machine, ns, pid, server, client)
	if err != nil {
		inode, err = procConnection(t.machine, pid, server, client)
	}
	if err != nil || inode == 0 {
		return host.Process{}, false
	}
	h, accepted := findHolders(t.machine, map[uint64]bool{inode: true})[inode]
	for p := h.process; p.PID > 1; {
		if i := slices.IndexFunc(owners, func(o host.Process) bool { return o.ID() == p.ID() }); i >= 0 {
			return owners[i], true
		}
		if p, err = t.machine.Stat(p.PPID); err != nil {
			break
		}
	}
	return host.Process{}, accepted
}

// unixOwner returns the owner of the unix listener at path. The peer's credentials are
// those of the process that called listen. It is the owner, unless it has gone or opens
// sockets for others.
func (t *Table) unixOwner(conn net.Conn, netns uint64, path string) (host.Process, bool) {
	if pid, err := t.machine.PeerPID(conn); err == nil {
		listeners := map[uint64]bool{}
		for _, s := range listUnix(t.machine, []int{pid}) {
			listeners[s.inode] = true
		}
		if p, err := t.machine.Process(pid); err == nil && !isServiceManager(p) && len(socketsOf(t.machine, pid, listeners)) > 0 {
			return p, true
		}
	}
	return t.listeners.unixOwner(netns, path)
}

// unixOwner returns the owner of the unix listener that was bound to the path by
// a process in the namespace.
func (t *listenerTable) unixOwner(netns uint64, path string) (host.Process, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.namespaces[netns] == nil {
		if err := t.listNamespaces(); err != nil {
			return host.Process{}, false
		}
	}
	for _, s := range listUnix(t.machine, t.namespaces[netns]) {
		if s.path != path {
			continue
		}
		t.resolve([]uint64{s.inode})
		if h, ok := t.owners[s.inode]; ok {
			return h.process, true
		}
	}
	return host.Process{}, false
}
