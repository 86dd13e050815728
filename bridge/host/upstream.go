package host

import (
	"context"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// An exporter without an upstream is looked at again after firstLook, and then
// ever less often: to look takes the kernel a walk through all connections.
const (
	firstLook = 5 * time.Second
	lastLook  = time.Minute
)

// upstreamTable remembers which of the processes that were asked about are
// exporters, and what they are connected to.
type upstreamTable struct {
	machine *Machine

	mu    sync.Mutex
	known map[processID]*upstream
	room  int // for so many, until those that have ended are dropped
}

// upstream is what is known of a process.
type upstream struct {
	exporter Process        // zero if it is none
	server   netip.AddrPort // that it is connected to, seen from its network namespace
	wait     time.Duration
	next     time.Time // when to look, as long as there is no server
}

func newUpstreamTable(m *Machine) *upstreamTable {
	return &upstreamTable{machine: m, known: map[processID]*upstream{}}
}

// Upstream returns the server that an exporter speaks of: the owner of the
// listener that it is connected to by TCP, if there is exactly one such process on
// this host. As long as nothing changes it takes some microseconds.
func (m *Machine) Upstream(ctx context.Context, pid int) (Process, bool) {
	p, err := m.stat(pid)
	if err != nil {
		return Process{}, false
	}
	return m.upstreams.of(ctx, p.id())
}

func (t *upstreamTable) of(ctx context.Context, id processID) (Process, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.machine.now()
	u := t.known[id]
	if u == nil {
		if len(t.known) >= t.room {
			t.forget()
			t.room = 2*len(t.known) + 64
		}
		u = &upstream{wait: firstLook}
		if p, err := t.machine.Process(id.pid); err == nil && isExporter(p) {
			u.exporter = p
		}
		t.known[id] = u
	}
	if u.exporter.NetNS == 0 { // none, or not to be seen into
		return Process{}, false
	}
	if u.server.IsValid() {
		if owner, ok := t.machine.tcpOwner(ctx, u.exporter.NetNS, u.server, netip.AddrPort{}); ok {
			return owner, true
		}
		u.server, u.wait, u.next = netip.AddrPort{}, firstLook, now // it may be back elsewhere
	}
	if now.Before(u.next) {
		return Process{}, false
	}
	owner, server, ok := t.machine.onlyServer(ctx, u.exporter)
	if !ok {
		u.next, u.wait = now.Add(u.wait), min(2*u.wait, lastLook)
		return Process{}, false
	}
	u.server = server
	return owner, true
}

// isExporter goes by the name of the program: exporters are called so.
// https://prometheus.io/docs/instrumenting/writing_exporters/
func isExporter(p Process) bool { return strings.Contains(filepath.Base(p.Exe), "exporter") }

// forget drops what is known of processes that have ended.
func (t *upstreamTable) forget() {
	for id := range t.known {
		if !t.machine.lives(id) {
			delete(t.known, id)
		}
	}
}

// onlyServer returns the process on this host that another one is connected to,
// and at which address; it is not ok if there is none or more than one.
func (m *Machine) onlyServer(ctx context.Context, p Process) (owner Process, server netip.AddrPort, ok bool) {
	sockets, err := m.tcpSockets(p.NetNS, p.PID, tcpEstablished|tcpListening)
	if err != nil {
		return Process{}, netip.AddrPort{}, false
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
	for inode := range m.socketsOf(p.PID, inodes) {
		c := connections[inode]
		if listening[c.local.Port()] {
			continue // somebody is connected to it
		}
		found, here := m.tcpOwner(ctx, p.NetNS, c.remote, c.local)
		switch {
		case !here || found.id() == p.id():
		case ok && found.id() != owner.id():
			return Process{}, netip.AddrPort{}, false
		default:
			owner, server, ok = found, c.remote, true
		}
	}
	return owner, server, ok
}
