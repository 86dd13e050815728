package socket

import (
	"context"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/promscope/promscope/bridge/host"
)

// An exporter without a server is looked at again after firstLook, and then ever less
// often: for each look the kernel walks through all connections.
const (
	firstLook = 5 * time.Second
	lastLook  = time.Minute
)

// upstreamTable remembers which processes are exporters, and to which server each of
// them is connected.
type upstreamTable struct {
	mu    sync.Mutex
	known map[host.ProcessID]*upstream
	room  int // with so many, those that have ended are dropped
}

// upstream is what is known of a process.
type upstream struct {
	exporter host.Process   // zero if it is none
	server   netip.AddrPort // as seen from its network namespace; not valid if none is known
	wait     time.Duration  // between two looks for a server
	next     time.Time      // when the next look is due
}

// Upstream returns the server that an exporter speaks of: the owner of the
// listener that it is connected to by TCP, if there is exactly one such process on
// this host. As long as nothing changes it takes some microseconds.
func (t *Table) Upstream(ctx context.Context, pid int) (host.Process, bool) {
	p, err := t.machine.Stat(pid)
	if err != nil {
		return host.Process{}, false
	}
	t.upstreams.mu.Lock()
	defer t.upstreams.mu.Unlock()
	now := t.machine.Now()
	u := t.upstreams.of(t.machine, p)
	if u.exporter.NetNS == 0 { // none, or not to be seen into
		return host.Process{}, false
	}
	if u.server.IsValid() {
		if owner, ok := t.tcpOwner(ctx, u.exporter.NetNS, u.server, netip.AddrPort{}); ok {
			return owner, true
		}
		u.server, u.wait, u.next = netip.AddrPort{}, firstLook, now // it may be back elsewhere
	}
	if now.Before(u.next) {
		return host.Process{}, false
	}
	owner, server, ok := t.onlyServer(ctx, u.exporter)
	if !ok {
		u.next, u.wait = now.Add(u.wait), min(2*u.wait, lastLook)
		return host.Process{}, false
	}
	u.server = server
	return owner, true
}

// of returns what is known of a process; the lock is held.
func (t *upstreamTable) of(m *host.Machine, p host.Process) *upstream {
	u := t.known[p.ID()]
	if u != nil {
		return u
	}
	if len(t.known) >= t.room {
		for id := range t.known {
			if !m.Lives(id) {
				delete(t.known, id)
			}
		}
		t.room = 2*len(t.known) + 64
	}
	u = &upstream{wait: firstLook}
	if p, err := m.Process(p.PID); err == nil && isExporter(p) {
		u.exporter = p
	}
	t.known[p.ID()] = u
	return u
}

// isExporter goes by the name of the program: exporters are called so.
// https://prometheus.io/docs/instrumenting/writing_exporters/
func isExporter(p host.Process) bool { return strings.Contains(filepath.Base(p.Exe), "exporter") }

// onlyServer returns the one process on this host to which p is connected, and the
// address of its listener. It is not ok if there is none or more than one.
func (t *Table) onlyServer(ctx context.Context, p host.Process) (owner host.Process, server netip.AddrPort, ok bool) {
	sockets, err := tcpSockets(t.machine, p.NetNS, p.PID, tcpEstablished|tcpListening)
	if err != nil {
		return host.Process{}, netip.AddrPort{}, false
	}
	connections, inodes := map[uint64]tcpSocket{}, map[uint64]bool{}
	listening := map[uint16]bool{}
	for _, s := range sockets {
		if s.state == tcpListening {
			listening[s.local.Port()] = true
		} else {
			connections[s.inode], inodes[s.inode] = s, true
		}
	}
	for inode := range socketsOf(t.machine, p.PID, inodes) {
		c := connections[inode]
		if listening[c.local.Port()] {
			continue // somebody is connected to it
		}
		found, here := t.tcpOwner(ctx, p.NetNS, c.remote, c.local)
		switch {
		case !here || found.ID() == p.ID():
		case ok && found.ID() != owner.ID():
			return host.Process{}, netip.AddrPort{}, false
		default:
			owner, server, ok = found, c.remote, true
		}
	}
	return owner, server, ok
}
