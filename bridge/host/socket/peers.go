package socket

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/bridge/host"
)

// peer is the other end of a connection that a process has opened.
type peer struct {
	server, client netip.AddrPort // of TCP, as seen from the process's network namespace; else not valid
	elsewhere      bool           // the server is on another host
	path           string         // of the unix listener, in its owner's file system
	inode          uint64         // of the server's end of a unix connection; 0 if it is not known
	listener       int            // pid of the process that listens there; 0 if it is not known
}

// peersOf returns the other ends of the connections that a process has opened, and by
// which of its sockets. Those that were opened to the process are left out. Only the given
// sockets are looked at; all if that is nil.
func (t *Table) peersOf(p host.Process, only map[uint64]bool) map[uint64]peer {
	held := socketsOf(t.machine, p.PID, only)
	if len(held) == 0 || p.NetNS == 0 {
		return nil
	}
	peers := map[uint64]peer{}
	sockets := maps.Clone(held)
	for _, s := range t.connections(p, held) {
		if c, ok := t.tcpPeer(p, sockets[s.inode], s); ok {
			peers[s.inode] = c
		}
	}
	for inode, fd := range held {
		// An error says mostly that it is no unix socket.
		if c, err := diagUnix(t.machine, p.NetNS, p.PID, inode); err == nil && c.peer != 0 && c.path == "" {
			if path, _ := diagUnixPath(t.machine, p.NetNS, p.PID, c.peer); !isSystemSocket(path) {
				peers[inode] = peer{path: path, inode: c.peer, listener: t.listenerPID(p, fd, inode)}
			}
		}
	}
	return peers
}

// tcpPeer returns the other end of a connection that a process has under a descriptor. It is
// not ok if the connection was closed before its other end was found in a container.
func (t *Table) tcpPeer(p host.Process, fd string, s tcpSocket) (c peer, ok bool) {
	c = peer{server: s.remote, client: s.local, elsewhere: !t.endsHere(p.NetNS, s.remote, s.local)}
	if !c.elsewhere {
		return c, true
	}
	inode, held := t.machine.SocketAt(p.PID, fd)
	_, contained := t.addresses.lookup(p.NetNS, s.remote.Addr())
	return c, held && inode == s.inode || !contained
}

// listenerPID returns the process that listens where a process has connected a unix socket;
// 0 if it cannot be told. It is in whatever network namespace.
func (t *Table) listenerPID(p host.Process, fd string, inode uint64) int {
	borrowed, err := t.machine.BorrowSocket(p.PID, fd, inode)
	if err != nil {
		return 0
	}
	defer unix.Close(borrowed)
	cred, err := unix.GetsockoptUcred(borrowed, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0
	}
	return int(cred.Pid)
}

// connections returns the TCP connections that a process has opened, and takes all TCP
// sockets out of those that it holds.
func (t *Table) connections(p host.Process, held map[uint64]string) []tcpSocket {
	listening := map[uint16]bool{}
	listeners, _ := tcpSockets(t.machine, p.NetNS, p.PID, tcpListening)
	for _, s := range listeners {
		listening[s.local.Port()] = true
		delete(held, s.inode)
	}
	sockets, others := t.borrow(p, held)
	if len(others) > 0 {
		// For that the kernel walks its table of all connections, for some milliseconds.
		listed, _ := tcpSockets(t.machine, p.NetNS, p.PID, tcpEstablished)
		for _, s := range listed {
			if others[s.inode] {
				sockets = append(sockets, s)
			}
		}
	}
	var opened []tcpSocket
	for _, s := range sockets {
		delete(held, s.inode)
		if !listening[s.local.Port()] && s.remote.Port() != dnsPort {
			opened = append(opened, s)
		}
	}
	return opened
}

// borrow asks the sockets of a process themselves for their ends. It returns those that
// are connections of TCP, and those that cannot be asked.
func (t *Table) borrow(p host.Process, held map[uint64]string) (connections []tcpSocket, others map[uint64]bool) {
	others = map[uint64]bool{}
	for inode, fd := range held {
		borrowed, err := t.machine.BorrowSocket(p.PID, fd, inode)
		if err != nil {
			others[inode] = true
			continue
		}
		if local, remote, err := endsOf(borrowed); err == nil {
			connections = append(connections, tcpSocket{local: local, remote: remote, state: tcpEstablished, inode: inode})
		}
		unix.Close(borrowed)
	}
	return connections, others
}

// endsOf returns the ends of a connection of TCP.
func endsOf(fd int) (local, remote netip.AddrPort, err error) {
	if protocol, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL); err != nil || protocol != unix.IPPROTO_TCP {
		return local, remote, unix.EPROTOTYPE
	}
	own, err := unix.Getsockname(fd)
	if err != nil {
		return local, remote, err
	}
	other, err := unix.Getpeername(fd)
	if err != nil {
		return local, remote, err
	}
	return addrPortOf(own), addrPortOf(other), nil
}

func addrPortOf(a unix.Sockaddr) netip.AddrPort {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}

const dnsPort = 53

// isSystemSocket reports whether a unix socket is one that any program may be connected
// to: that of the bus, of the service manager, of the log or of a name service.
func isSystemSocket(path string) bool {
	path = strings.TrimPrefix(path, "/var")
	for _, prefix := range []string{"/run/dbus/", "/run/systemd/", "/run/user/", "/run/nscd/", "/lib/sss/", "/dev/log"} {
		if strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return false
}

// servers are the processes that some connections of a process lead to.
type servers struct {
	process   host.Process // one of them
	peer      peer         // by which it is reached
	several   bool         // there are others
	unknown   bool         // there is one on this host that is not known
	elsewhere bool         // there is one on another host, or one that a tunnel leads to
	proxy     bool         // there is one that passes on what it is asked
}

// unixServer returns the process that a connection by a unix socket leads to; the PID is 0
// if it is not known. Without the listener, that is the worker that has accepted it.
func (t *Table) unixServer(ctx context.Context, netns uint64, c peer) host.Process {
	if p, ok := t.unixListener(c.listener); ok {
		return p
	}
	if p, ok := t.listeners.unixOwner(ctx, netns, c.path); ok {
		return p
	}
	return t.holderOf(c.inode)
}

// serversOf returns the processes that connections of a process lead to.
func (t *Table) serversOf(ctx context.Context, p host.Process, peers map[uint64]peer, hops int) (s servers) {
	for _, c := range peers {
		var found host.Process
		here := true
		switch {
		case c.elsewhere:
			here = false
		case c.server.IsValid():
			found, here = t.tcpOwner(ctx, p.NetNS, c.server, c.client, hops)
		default:
			found = t.unixServer(ctx, p.NetNS, c)
		}
		switch {
		case !here:
			s.elsewhere = true
		case found.PID == 0 || isServiceManager(found):
			s.unknown = true
		case found.ID() == p.ID():
		case s.process.PID != 0 && found.ID() != s.process.ID():
			s.several = true
		default:
			s.process, s.peer = found, c
		}
	}
	return s
}

// behind returns the process that a forwarder's connections lead to, if all lead to one.
func (t *Table) behind(ctx context.Context, p host.Process, hops int) (host.Process, bool) {
	s := t.serversOf(ctx, p, t.peersOf(p, nil), hops)
	if s.elsewhere || s.several || s.unknown {
		return host.Process{}, !s.elsewhere
	}
	return s.process, true
}

// socketInode returns the inode of the socket of a connection of ours.
func socketInode(conn net.Conn) (uint64, error) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return 0, syscall.EINVAL
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0, err
	}
	var stat unix.Stat_t
	var statErr error
	if err := raw.Control(func(fd uintptr) { statErr = unix.Fstat(int(fd), &stat) }); err != nil {
		return 0, err
	}
	return stat.Ino, statErr
}
