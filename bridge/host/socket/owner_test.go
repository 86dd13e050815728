package socket

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/host/hosttest"
)

func TestOwner(t *testing.T) {
	listener := hosttest.Socket{Local: addr("0.0.0.0:9100"), Inode: 11}
	for _, tc := range []struct {
		name      string
		processes []hosttest.Process
		want      int
	}{
		{"prefork: the master", []hosttest.Process{
			{PID: 100, PPID: 1, Comm: "nginx", Sockets: []uint64{11}},
			{PID: 101, PPID: 100, Comm: "nginx", Sockets: []uint64{11}},
			{PID: 102, PPID: 100, Comm: "nginx", Sockets: []uint64{11}},
		}, 100},
		{"a worker with a lower pid than its master", []hosttest.Process{
			{PID: 300, PPID: 1, Comm: "apache2", Sockets: []uint64{11}},
			{PID: 90, PPID: 300, Comm: "apache2", Sockets: []uint64{11}},
		}, 300},
		{"a generation in between does not hold it", []hosttest.Process{
			{PID: 100, PPID: 1, Comm: "master", Sockets: []uint64{11}},
			{PID: 101, PPID: 100, Comm: "sh"},
			{PID: 102, PPID: 101, Comm: "worker", Sockets: []uint64{11}},
		}, 100},
		{"started by a shell", []hosttest.Process{
			{PID: 100, PPID: 1, Comm: "bash", Sockets: []uint64{99}},
			{PID: 101, PPID: 100, Comm: "exporter", Sockets: []uint64{11}},
		}, 101},
		{"the master has gone", []hosttest.Process{
			{PID: 101, PPID: 1, Comm: "worker", Sockets: []uint64{11}},
		}, 101},
		{"opened by systemd for a service", []hosttest.Process{
			{PID: 1, Comm: "systemd", Sockets: []uint64{11}},
			{PID: 101, PPID: 1, Comm: "service", Sockets: []uint64{11}},
		}, 101},
		{"opened by a user's systemd with a higher pid", []hosttest.Process{
			{PID: 200, PPID: 1, Comm: "systemd", Sockets: []uint64{11}},
			{PID: 101, PPID: 200, Comm: "service", Sockets: []uint64{11}},
		}, 101},
		{"opened by supervisord, started by a shell", []hosttest.Process{
			{PID: 100, PPID: 1, Comm: "supervisord", Sockets: []uint64{11}},
			{PID: 101, PPID: 100, Comm: "sh", Sockets: []uint64{11}},
			{PID: 102, PPID: 101, Comm: "php-cgi", Sockets: []uint64{11}},
			{PID: 103, PPID: 102, Comm: "php-cgi", Sockets: []uint64{11}},
		}, 102},
		{"opened by systemd, not taken yet", []hosttest.Process{
			{PID: 1, Comm: "systemd", Sockets: []uint64{11}},
		}, 1},
		{"an ancestor in another network namespace", []hosttest.Process{
			{PID: 100, PPID: 1, Comm: "runtime", NetNS: containerNS, Sockets: []uint64{11}},
			{PID: 101, PPID: 100, Comm: "exporter", Sockets: []uint64{11}},
		}, 101},
		{"nobody", nil, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tree, table := fixture(t)
			tree.Net(hosttest.InitNetNS, []hosttest.Socket{listener}, nil)
			for _, p := range tc.processes {
				tree.Add(p)
			}
			if diff := cmp.Diff(map[string]int{"0.0.0.0:9100": tc.want}, owners(t, table, all())); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// What was found is verified, not looked for again; what was not found is looked
// for again after a while.
func TestOwnersAreRemembered(t *testing.T) {
	tree, table := fixture(t)
	tree.Net(hosttest.InitNetNS, []hosttest.Socket{{Local: addr("0.0.0.0:9100"), Inode: 11}}, nil)
	expect := func(what string, want int) {
		t.Helper()
		if got := owners(t, table, all())["0.0.0.0:9100"]; got != want {
			t.Errorf("%s: owner %d, want %d", what, got, want)
		}
	}
	expect("nobody holds it", 0)
	tree.Advance(missedFirst)
	expect("still nobody", 0)
	tree.Add(hosttest.Process{PID: 100, PPID: 1, Comm: "late", Sockets: []uint64{11}})
	expect("too early to look again", 0)
	tree.Advance(missedFirst)
	expect("too early now, too", 0)
	tree.Advance(missedFirst)
	expect("looked again", 100)
	// One that would be found first, were it looked for.
	tree.Add(hosttest.Process{PID: 200, PPID: 1, Comm: "other", Sockets: []uint64{11}})
	expect("verified", 100)
	tree.Add(hosttest.Process{PID: 100, PPID: 1, Comm: "reused", StartTicks: 7777, Sockets: []uint64{11}})
	expect("the pid is another's", 200)
	tree.Add(hosttest.Process{PID: 200, PPID: 1, Comm: "other", Sockets: []uint64{12}})
	expect("the descriptor is another's", 100)
}

// The child of a service manager that executes the service is found then, also if it was
// seen before that.
func TestExecutorBecomesService(t *testing.T) {
	tree, table := fixture(t)
	listening := []hosttest.Socket{{Local: addr("0.0.0.0:9100"), Inode: 11}}
	tree.Net(hosttest.InitNetNS, listening, nil)
	tree.Add(hosttest.Process{PID: 1, Comm: "systemd", Sockets: []uint64{11}})
	expect := func(what string, want int) {
		t.Helper()
		if got := owners(t, table, all())["0.0.0.0:9100"]; got != want {
			t.Errorf("%s: owner %d, want %d", what, got, want)
		}
	}
	expect("no service", 1)
	expect("no service yet", 1)
	tree.Add(hosttest.Process{PID: 100, PPID: 1, Comm: "systemd-executo", Sockets: []uint64{11}})
	expect("before it executes", 1)
	tree.Add(hosttest.Process{PID: 100, PPID: 1, Comm: "service", Sockets: []uint64{11}})
	expect("when it has executed", 100)

	tree.Remove(100)
	expect("the service has ended", 1)
	// All processes are looked through for another socket, just when the service starts.
	tree.Net(hosttest.InitNetNS, append(listening, hosttest.Socket{Local: addr("0.0.0.0:9101"), Inode: 12}), nil)
	tree.Add(hosttest.Process{PID: 101, PPID: 1, Comm: "service", Sockets: []uint64{11}})
	expect("together with another socket", 101)

	tree.Remove(101)
	expect("no service again", 1)
	// Only another socket of a service manager is asked for, just when the service starts.
	tree.Net(hosttest.InitNetNS, append(listening, hosttest.Socket{Local: addr("0.0.0.0:9102"), Inode: 13}), nil)
	tree.Add(hosttest.Process{PID: 1, Comm: "systemd", Sockets: []uint64{11, 13}})
	expect("beside another socket", 1)
	tree.Add(hosttest.Process{PID: 102, PPID: 1, Comm: "service", Sockets: []uint64{11}})
	if got := owners(t, table, only("0.0.0.0:9102"))["0.0.0.0:9102"]; got != 1 {
		t.Errorf("the other socket: owner %d", got)
	}
	expect("after another socket", 102)
}

// One search finds the owners of all listeners of a namespace: many targets that are dialed
// at once do not go through all processes one after another.
func TestOwnersAreFoundTogether(t *testing.T) {
	tree, table := fixture(t)
	var sockets []hosttest.Socket
	const targets = 20
	for i := range uint64(targets) {
		sockets = append(sockets, hosttest.Socket{Local: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(9100+i)), Inode: 100 + i})
		tree.Add(hosttest.Process{PID: 100 + int(i), PPID: 1, Comm: "exporter", Sockets: []uint64{100 + i}})
	}
	tree.Net(hosttest.InitNetNS, sockets, nil)
	owner := func(i int) int {
		p, _ := table.OwnerOf(t.Context(), fakeConn{local: "127.0.0.1:50000", remote: sockets[i].Local.String()})
		return p.PID
	}
	if got := owner(0); got != 100 {
		t.Fatalf("owner %d", got)
	}
	table.listeners.searching <- struct{}{} // whoever searched would wait
	for i := range targets {
		if got := owner(i); got != 100+i {
			t.Errorf("owner %d, want %d", got, 100+i)
		}
	}
}

// Nobody waits for a search longer than for the target.
func TestSearchIsNotWaitedFor(t *testing.T) {
	tree, table := fixture(t)
	tree.Net(hosttest.InitNetNS, []hosttest.Socket{{Local: addr("127.0.0.1:9100"), Inode: 11}}, nil)
	tree.Add(hosttest.Process{PID: 100, PPID: 1, Comm: "exporter", Sockets: []uint64{11}})
	table.listeners.searching <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if p, ok := table.OwnerOf(ctx, fakeConn{local: "127.0.0.1:50000", remote: "127.0.0.1:9100"}); ok {
		t.Errorf("owner %d", p.PID)
	}
	<-table.listeners.searching
	if p, ok := table.OwnerOf(t.Context(), fakeConn{local: "127.0.0.1:50000", remote: "127.0.0.1:9100"}); !ok || p.PID != 100 {
		t.Errorf("owner %d", p.PID)
	}
}

// Where nobody lists all listeners, those that are gone are forgotten all the same.
func TestOwnersAreForgotten(t *testing.T) {
	tree, table := fixture(t)
	ctx := context.Background()
	const restarts = 50
	for i := range restarts {
		inode, ns := uint64(1000+10*i), uint64(containerNS+i)
		tree.Net(hosttest.InitNetNS, []hosttest.Socket{
			{Local: addr("127.0.0.1:9100"), Inode: inode}, {Local: addr("127.0.0.1:9101"), Inode: inode + 1}, // nobody's
			{Path: "/run/exporter.sock", Inode: inode + 2},
		}, nil)
		tree.Net(ns, []hosttest.Socket{{Local: addr("127.0.0.1:9100"), Inode: inode + 3}}, nil)
		tree.Add(hosttest.Process{PID: 100, PPID: 1, Comm: "exporter", StartTicks: inode, Sockets: []uint64{inode, inode + 2}})
		tree.Add(hosttest.Process{PID: 101, PPID: 1, Comm: "web", StartTicks: inode, NetNS: ns, Sockets: []uint64{inode + 3}})
		tree.Advance(missedMost)
		conn := fakeConn{local: "127.0.0.1:50000", remote: "127.0.0.1:9100"}
		if p, _ := table.OwnerOf(ctx, conn); p.PID != 100 {
			t.Fatalf("owner %d", p.PID)
		}
		if p, _ := table.OwnerOf(ctx, namespaceConn{conn, ns}); p.PID != 101 {
			t.Fatalf("owner in the namespace %d", p.PID)
		}
		if p, _ := table.listeners.unixOwner(ctx, hosttest.InitNetNS, "/run/exporter.sock"); p.PID != 100 {
			t.Fatalf("owner of the unix socket %d", p.PID)
		}
		table.OwnerOf(ctx, fakeConn{local: "127.0.0.1:50000", remote: "127.0.0.1:9101"})
	}
	if n := len(table.listeners.owners) + len(table.listeners.missed); n > 2*restarts {
		t.Errorf("%d sockets remembered, of which 4 are there", n)
	}
	if n := len(table.listeners.tcp); n != 2 {
		t.Errorf("%d namespaces remembered of 2", n)
	}
}

// A connection that was passed to a process which has nothing to do with the owners of
// the port is none of theirs; one that was not accepted yet may become so.
func TestAcceptor(t *testing.T) {
	tree, table := fixture(t)
	ctx, server := context.Background(), addr("127.0.0.1:9300")
	tree.Net(hosttest.InitNetNS, []hosttest.Socket{
		{Local: server, Inode: 11}, {Local: server, Inode: 12},
		{Local: server, Remote: addr("127.0.0.1:50000"), Inode: 13},
		{Local: server, Remote: addr("127.0.0.1:50001"), Inode: 14},
		{Local: server, Remote: addr("127.0.0.1:50002"), Inode: 0},
	}, nil)
	tree.Add(hosttest.Process{PID: 100, PPID: 1, Comm: "first", Sockets: []uint64{11}})
	tree.Add(hosttest.Process{PID: 101, PPID: 1, Comm: "second", Sockets: []uint64{12, 13}})
	tree.Add(hosttest.Process{PID: 102, PPID: 1, Comm: "other", Sockets: []uint64{14}})
	owners := table.listenerOwners(ctx, hosttest.InitNetNS, server)
	if len(owners) != 2 {
		t.Fatalf("%d owners", len(owners))
	}
	for client, want := range map[string]struct {
		pid   int
		inode uint64
	}{
		"127.0.0.1:50000": {101, 13}, "127.0.0.1:50001": {0, 14}, "127.0.0.1:50002": {0, 0}, "127.0.0.1:50003": {0, 0},
	} {
		inode := table.accepted(ctx, hosttest.InitNetNS, server, addr(client))
		if p := table.acceptor(inode, owners); p.PID != want.pid || inode != want.inode {
			t.Errorf("%s: %d (%d), want %+v", client, p.PID, inode, want)
		}
	}
}

func TestReachable(t *testing.T) {
	sockets := []socket{
		{addr: addr("[::]:80"), inode: 1}, {addr: addr("0.0.0.0:80"), inode: 2}, {addr: addr("10.0.0.1:80"), inode: 3},
		{addr: addr("[::]:81"), inode: 4}, {addr: addr("127.0.0.1:82"), inode: 5}, {addr: addr("0.0.0.0:83"), inode: 6},
		{addr: addr("0.0.0.0:83"), inode: 7},
	}
	for server, want := range map[string][]uint64{
		"10.0.0.1:80": {3}, "10.0.0.2:80": {2}, "[::1]:80": {1}, "10.0.0.1:81": {4}, "10.0.0.1:82": nil,
		"127.0.0.1:82": {5}, "127.0.0.1:83": {6, 7}, "[::1]:83": nil, "127.0.0.1:84": nil,
	} {
		var got []uint64
		for _, s := range reachable(sockets, addr(server)) {
			got = append(got, s.inode)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", server, diff)
		}
	}
}

// fakeConn is a connection that has these two ends.
type fakeConn struct {
	net.Conn
	local, remote string
}

func (c fakeConn) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(addr(c.local)) }
func (c fakeConn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(addr(c.remote)) }

func TestOwnerOfFixture(t *testing.T) {
	tree, table := fixture(t)
	tree.Net(hosttest.InitNetNS, []hosttest.Socket{
		{Local: addr("0.0.0.0:9100"), Inode: 11},
		{Local: addr("127.0.0.1:8080"), Inode: 12},
		{Local: addr("127.0.0.1:9300"), Inode: 13}, {Local: addr("127.0.0.1:9300"), Inode: 14},
		{Local: addr("127.0.0.1:9300"), Remote: addr("127.0.0.1:50000"), Inode: 15},
		{Local: addr("127.0.0.1:8443"), Inode: 16},
		{Local: addr("192.168.1.2:50001"), Remote: addr("192.168.1.3:6443"), Inode: 17},
		{Local: addr("127.0.0.1:9401"), Inode: 18}, {Local: addr("127.0.0.1:9402"), Inode: 19},
	}, []string{"192.168.1.2"})
	tree.Net(containerNS, []hosttest.Socket{
		{Local: addr("[::]:80"), Inode: 21},
		{Local: addr("172.17.0.2:80"), Remote: addr("127.0.0.1:50000"), Inode: 22},
	}, []string{"172.17.0.2", "172.18.0.9"})
	tree.Net(containerNS+1, nil, []string{"172.18.0.9"})
	tree.Add(hosttest.Process{PID: 100, PPID: 1, Comm: "exporter", Sockets: []uint64{11}})
	tree.Add(hosttest.Process{PID: 101, PPID: 1, Comm: "docker-proxy", Sockets: []uint64{12}, Cmdline: []string{
		"/usr/bin/docker-proxy", "-proto", "tcp", "-host-ip", "127.0.0.1", "-host-port", "8080",
		"-container-ip", "172.17.0.2", "-container-port", "80",
	}})
	tree.Add(hosttest.Process{PID: 102, PPID: 1, Comm: "web", NetNS: containerNS, Sockets: []uint64{21}})
	tree.Add(hosttest.Process{PID: 103, PPID: 1, Comm: "other", NetNS: containerNS + 1})
	tree.Add(hosttest.Process{PID: 104, PPID: 1, Comm: "first", Sockets: []uint64{13}})
	tree.Add(hosttest.Process{PID: 105, PPID: 1, Comm: "second", Sockets: []uint64{14}})
	tree.Add(hosttest.Process{PID: 106, PPID: 105, Comm: "worker", Sockets: []uint64{15}})
	tree.Add(hosttest.Process{PID: 107, PPID: 1, Comm: "kube-rbac-proxy", Sockets: []uint64{16, 17}, Cmdline: []string{
		"/usr/local/bin/kube-rbac-proxy", "--secure-listen-address=127.0.0.1:8443", "--upstream=http://localhost:9100/",
	}})
	for i, comm := range []string{"k9s", "qemu-system-x86"} {
		tree.Add(hosttest.Process{PID: 108 + i, PPID: 1, Comm: comm, Sockets: []uint64{uint64(18 + i)}})
	}

	for _, tc := range []struct {
		name, remote string
		want         int
	}{
		{"loopback", "127.0.0.1:9100", 100},
		{"mapped", "[::ffff:127.0.0.1]:9100", 100},
		{"an address of this host", "192.168.1.2:9100", 100},
		{"nobody listens", "127.0.0.1:9101", 0},
		{"another machine", "192.168.1.3:9100", 0},
		{"a container", "172.17.0.2:80", 102},
		{"a container, through docker-proxy", "127.0.0.1:8080", 102},
		{"an exporter, through kube-rbac-proxy", "127.0.0.1:8443", 100},
		{"a tunnel", "127.0.0.1:9401", 0},
		{"a virtual machine", "127.0.0.1:9402", 0},
		{"an address that two containers have", "172.18.0.9:80", 0},
		{"a shared port: who accepted", "127.0.0.1:9300", 105},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tree.Advance(addressInterval)
			p, ok := table.OwnerOf(context.Background(), fakeConn{local: "127.0.0.1:50000", remote: tc.remote})
			if p.PID != tc.want || ok != (tc.want != 0) {
				t.Errorf("owner %d (%v), want %d", p.PID, ok, tc.want)
			}
		})
	}

	// From within the container's namespace its loopback is another one.
	inside := namespaceConn{fakeConn{local: "127.0.0.1:50000", remote: "127.0.0.1:80"}, containerNS}
	if p, _ := table.OwnerOf(context.Background(), inside); p.PID != 102 {
		t.Errorf("on the container's loopback: %d", p.PID)
	}

	// The exporter is restarted.
	tree.Remove(100)
	tree.Net(hosttest.InitNetNS, []hosttest.Socket{{Local: addr("0.0.0.0:9100"), Inode: 51}}, nil)
	tree.Add(hosttest.Process{PID: 110, PPID: 1, Comm: "exporter", Sockets: []uint64{51}})
	if p, _ := table.OwnerOf(context.Background(), fakeConn{local: "127.0.0.1:50000", remote: "127.0.0.1:9100"}); p.PID != 110 {
		t.Errorf("after a restart: %d", p.PID)
	}
}

// A container that cannot be reached may have the address of another machine. Whoever listens
// there answers only what ends there. Where the container redirects its ports, as to a sidecar,
// the connection ends at another one.
func TestAddressOfAnotherMachine(t *testing.T) {
	const container, client = "10.98.0.2:80", "192.168.1.2:50000"
	conn := fakeConn{local: client, remote: container}
	for name, tc := range map[string]struct {
		there []hosttest.Socket // the connections in the container
		want  int
	}{
		"another machine":             {nil, 0},
		"another machine, two asking": {[]hosttest.Socket{{Local: addr(container), Remote: addr("192.168.1.3:50000"), Inode: 22}}, 0},
		"the container":               {[]hosttest.Socket{{Local: addr(container), Remote: addr(client), V6: true, Inode: 22}}, 101},
		"not accepted yet":            {[]hosttest.Socket{{Local: addr(container), Remote: addr(client), V6: true}}, 101},
		"a sidecar":                   {[]hosttest.Socket{{Local: addr("10.98.0.2:15006"), Remote: addr(client), Inode: 22}}, 101},
	} {
		t.Run(name, func(t *testing.T) {
			tree, table := fixture(t)
			tree.Net(hosttest.InitNetNS, []hosttest.Socket{{Local: addr(client), Remote: addr(container), Inode: 12}}, []string{"192.168.1.2"})
			tree.Net(containerNS, append(tc.there, hosttest.Socket{Local: addr("[::]:80"), Inode: 21}), []string{"10.98.0.2"})
			tree.Add(hosttest.Process{PID: 100, PPID: 1, Comm: "web_exporter", Sockets: []uint64{12}})
			tree.Add(hosttest.Process{PID: 101, PPID: 1, Comm: "web", NetNS: containerNS, Sockets: []uint64{21, 22}})
			if p, ok := table.OwnerOf(t.Context(), conn); p.PID != tc.want || ok != (tc.want != 0) {
				t.Errorf("owner %d (%v), want %d", p.PID, ok, tc.want)
			}
			got := table.Upstream(t.Context(), 100, "/metrics").Result()
			if got.Process.PID != tc.want || tc.want == 0 && got.Note != noteElsewhere {
				t.Errorf("an exporter: %+v, want %d", got, tc.want)
			}
			// One that was closed meanwhile says nothing of a container, but all of another address.
			exporter := host.Process{PID: 100, NetNS: hosttest.InitNetNS}
			for server, want := range map[string]bool{container: tc.want != 0, "192.168.1.3:80": true} {
				c, ok := table.tcpPeer(exporter, "99", tcpSocket{local: addr(client), remote: addr(server), inode: 12})
				if ok != want || c.elsewhere != (tc.want == 0 || server != container) {
					t.Errorf("closed, to %s: %+v (%v)", server, c, ok)
				}
			}
		})
	}
}

func TestOwnerOfRestartIsFast(t *testing.T) {
	table := realTable(t)
	h := hosttest.Start(t, "listen", 0, "ADDRESS=127.0.0.1:0")
	conn, err := net.Dial("tcp", h.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx := context.Background()
	if p, ok := table.OwnerOf(ctx, conn); !ok || p.PID != h.PID {
		t.Fatalf("owner %d (%v), want %d", p.PID, ok, h.PID)
	}
	best := time.Hour
	for range 100 {
		begin := time.Now()
		table.OwnerOf(ctx, conn)
		best = min(best, time.Since(begin))
	}
	if best > time.Millisecond {
		t.Errorf("a known owner takes %v", best)
	}
}
