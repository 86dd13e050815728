package socket

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/bridge/host"
)

// namespaceConn is a connection whose socket is in a known network namespace.
type namespaceConn struct {
	net.Conn
	netns uint64
}

// NetConn returns the connection as it was dialed.
func (c namespaceConn) NetConn() net.Conn { return c.Conn }

// DialContext connects to an address as a process in the network namespace would; 0 is
// the namespace of this process. Another namespace is entered for that, which needs
// CAP_SYS_ADMIN, and CAP_SYS_PTRACE for other users' processes. The error wraps
// host.ErrNotPermitted without these, and host.ErrNoProcess if no process is in the
// namespace any more. An address there has to be an IP address: the wrong resolver would
// resolve a name. The path of a unix socket below the root directory of a process,
// /proc/PID/root/…, is followed as that process would.
func (t *Table) DialContext(ctx context.Context, netns uint64, network, address string) (net.Conn, error) {
	var dialer net.Dialer
	if pid, path, ok := t.machine.SplitRoot(address); ok && network == "unix" {
		file, err := t.machine.OpenInRoot(pid, path, unix.O_PATH)
		if err != nil {
			return nil, fmt.Errorf("dialing a unix socket: %w", err)
		}
		defer file.Close()
		return dialer.DialContext(ctx, network, fmt.Sprintf("/proc/self/fd/%d", file.Fd()))
	}
	if netns == 0 || netns == t.machine.NetNS() {
		return dialer.DialContext(ctx, network, address)
	}
	if _, err := netip.ParseAddrPort(address); err != nil {
		return nil, fmt.Errorf("dialing %s in network namespace %d: %w", address, netns, err)
	}
	pid, err := t.listeners.member(netns)
	if err != nil {
		return nil, fmt.Errorf("dialing %s: %w", address, err)
	}
	var conn net.Conn
	err = t.machine.InNetNS(netns, pid, func() (err error) {
		conn, err = dialer.DialContext(ctx, network, address)
		return err
	})
	if err != nil {
		return nil, err
	}
	return namespaceConn{conn, netns}, nil
}

// member returns a process that is in a network namespace.
func (t *listenerTable) member(netns uint64) (int, error) {
	pids := t.membersOf(netns)
	for range 2 {
		for _, pid := range pids {
			if ns, err := t.machine.Namespace(pid, "net"); err == nil && ns == netns {
				return pid, nil
			}
		}
		namespaces, err := t.listNamespaces()
		if err != nil {
			return 0, err
		}
		pids = namespaces[netns]
	}
	return 0, fmt.Errorf("network namespace %d: %w", netns, host.ErrNoProcess)
}

// NetNamespaces returns how many network namespaces there were when listeners
// were looked for last.
func (t *Table) NetNamespaces() int {
	t.listeners.mu.Lock()
	defer t.listeners.mu.Unlock()
	return len(t.listeners.namespaces)
}
