package host

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/promscope/promscope/bridge/host/hosttest"
)

const containerNS = 4026532000

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// all wants every listener.
func all() Wanted {
	return Wanted{
		TCP:  func(uint64, netip.AddrPort) bool { return true },
		Unix: func(uint64, string) bool { return true },
	}
}

// owners lists the listeners that are wanted, as address or path → pid.
func owners(t *testing.T, m *Machine, want Wanted) map[string]int {
	t.Helper()
	listeners, err := m.Listeners(context.Background(), want)
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]int{}
	for _, l := range listeners {
		name := l.Path
		if name == "" {
			name = l.Addr.String()
		}
		if l.NetNS != m.NetNS() {
			name += " in " + strconv.FormatUint(l.NetNS, 10)
		}
		byName[name] = l.Owner.PID
	}
	return byName
}

func TestListeners(t *testing.T) {
	tree, m, _ := fixture(t)
	tree.Net(hosttest.InitNetNS, []hosttest.Socket{
		{Local: addr("127.0.0.1:9100"), Inode: 11},
		{Local: addr("[::]:9200"), Inode: 12},
		{Local: addr("10.0.0.1:9300"), V6: true, Inode: 13},
		{Local: addr("0.0.0.0:2049"), Inode: 14}, // the kernel's NFS server
		{Local: addr("127.0.0.1:9100"), Remote: addr("127.0.0.1:51000"), Inode: 15},
		{Path: "/run/exporter.sock", Inode: 16},
		{Path: "@abstract", Inode: 17},
	}, nil)
	tree.Net(containerNS, []hosttest.Socket{{Local: addr("127.0.0.1:9100"), Inode: 21}}, nil)
	tree.Add(hosttest.Process{PID: 100, PPID: 1, Comm: "a", Sockets: []uint64{11, 15, 16}})
	tree.Add(hosttest.Process{PID: 101, PPID: 1, Comm: "b", Sockets: []uint64{12, 13, 17}})
	tree.Add(hosttest.Process{PID: 102, PPID: 1, Comm: "c", NetNS: containerNS, Sockets: []uint64{21}})

	want := map[string]int{
		"127.0.0.1:9100": 100, "[::]:9200": 101, "10.0.0.1:9300": 101, "0.0.0.0:2049": 0, "/run/exporter.sock": 100,
		"127.0.0.1:9100 in " + strconv.Itoa(containerNS): 102,
	}
	if diff := cmp.Diff(want, owners(t, m, all())); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	only := Wanted{TCP: func(_ uint64, a netip.AddrPort) bool { return a.Port() == 9200 }}
	if diff := cmp.Diff(map[string]int{"[::]:9200": 101}, owners(t, m, only)); diff != "" {
		t.Errorf("only one: -want +got:\n%s", diff)
	}

	tree.Remove(101)
	tree.Remove(102)
	tree.Net(hosttest.InitNetNS, []hosttest.Socket{{Local: addr("127.0.0.1:9100"), Inode: 31}}, nil)
	tree.Add(hosttest.Process{PID: 100, PPID: 1, Comm: "a", StartTicks: 9000, Sockets: []uint64{31}})
	if diff := cmp.Diff(map[string]int{"127.0.0.1:9100": 100}, owners(t, m, all())); diff != "" {
		t.Errorf("later: -want +got:\n%s", diff)
	}
	if n := len(m.sockets.owners) + len(m.sockets.missed); n != 1 {
		t.Errorf("%d sockets remembered of one", n)
	}
}

func TestListenersDormant(t *testing.T) {
	tree, m, _ := fixture(t)
	tree.Net(hosttest.InitNetNS, []hosttest.Socket{{Local: addr("127.0.0.1:9100"), Inode: 11}, {Local: addr("127.0.0.1:9101"), Inode: 12}}, nil)
	tree.Add(hosttest.Process{PID: 1, Comm: "systemd", Sockets: []uint64{11, 12}})
	tree.Add(hosttest.Process{PID: 100, PPID: 1, Comm: "service", Sockets: []uint64{12}})
	listeners, err := m.Listeners(context.Background(), all())
	if err != nil || len(listeners) != 2 || !listeners[0].Dormant || listeners[1].Dormant {
		t.Errorf("%+v, %v", listeners, err)
	}
}

func TestListenersCanceled(t *testing.T) {
	_, m, _ := fixture(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := m.Listeners(ctx, all()); err == nil {
		t.Error("no error")
	}
}

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
			tree, m, _ := fixture(t)
			tree.Net(hosttest.InitNetNS, []hosttest.Socket{listener}, nil)
			for _, p := range tc.processes {
				tree.Add(p)
			}
			if diff := cmp.Diff(map[string]int{"0.0.0.0:9100": tc.want}, owners(t, m, all())); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// What was found is verified, not looked for again; what was not found is looked
// for again after a while.
func TestOwnersAreRemembered(t *testing.T) {
	tree, m, clock := fixture(t)
	tree.Net(hosttest.InitNetNS, []hosttest.Socket{{Local: addr("0.0.0.0:9100"), Inode: 11}}, nil)
	expect := func(what string, want int) {
		t.Helper()
		if got := owners(t, m, all())["0.0.0.0:9100"]; got != want {
			t.Errorf("%s: owner %d, want %d", what, got, want)
		}
	}
	expect("nobody holds it", 0)
	clock.advance(missedFirst)
	expect("still nobody", 0)
	tree.Add(hosttest.Process{PID: 100, PPID: 1, Comm: "late", Sockets: []uint64{11}})
	expect("too early to look again", 0)
	clock.advance(missedFirst)
	expect("too early now, too", 0)
	clock.advance(missedFirst)
	expect("looked again", 100)
	// One that would be found first, were it looked for.
	tree.Add(hosttest.Process{PID: 200, PPID: 1, Comm: "other", Sockets: []uint64{11}})
	expect("verified", 100)
	tree.Add(hosttest.Process{PID: 100, PPID: 1, Comm: "reused", StartTicks: 7777, Sockets: []uint64{11}})
	expect("the pid is another's", 200)
	tree.Add(hosttest.Process{PID: 200, PPID: 1, Comm: "other", Sockets: []uint64{12}})
	expect("the descriptor is another's", 100)
}

// Where nobody lists all listeners, those that are gone are forgotten all the same.
func TestOwnersAreForgotten(t *testing.T) {
	tree, m, clock := fixture(t)
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
		clock.advance(missedMost)
		conn := fakeConn{local: "127.0.0.1:50000", remote: "127.0.0.1:9100"}
		if p, _ := m.OwnerOf(ctx, conn); p.PID != 100 {
			t.Fatalf("owner %d", p.PID)
		}
		if p, _ := m.OwnerOf(ctx, Conn{conn, ns}); p.PID != 101 {
			t.Fatalf("owner in the namespace %d", p.PID)
		}
		if p, _ := m.sockets.unixOwner(hosttest.InitNetNS, "/run/exporter.sock"); p.PID != 100 {
			t.Fatalf("owner of the unix socket %d", p.PID)
		}
		m.OwnerOf(ctx, fakeConn{local: "127.0.0.1:50000", remote: "127.0.0.1:9101"})
	}
	if n := len(m.sockets.owners) + len(m.sockets.missed); n > 2*restarts {
		t.Errorf("%d sockets remembered, of which 4 are there", n)
	}
	if n := len(m.sockets.tcp); n != 2 {
		t.Errorf("%d namespaces remembered of 2", n)
	}
}

// A connection that was passed to a process which has nothing to do with the owners of
// the port is none of theirs; one that was not accepted yet may become so.
func TestAcceptor(t *testing.T) {
	tree, m, _ := fixture(t)
	server := addr("127.0.0.1:9300")
	tree.Net(hosttest.InitNetNS, []hosttest.Socket{
		{Local: server, Inode: 11}, {Local: server, Inode: 12},
		{Local: server, Remote: addr("127.0.0.1:50000"), Inode: 13},
		{Local: server, Remote: addr("127.0.0.1:50001"), Inode: 14},
		{Local: server, Remote: addr("127.0.0.1:50002"), Inode: 0},
	}, nil)
	tree.Add(hosttest.Process{PID: 100, PPID: 1, Comm: "first", Sockets: []uint64{11}})
	tree.Add(hosttest.Process{PID: 101, PPID: 1, Comm: "second", Sockets: []uint64{12, 13}})
	tree.Add(hosttest.Process{PID: 102, PPID: 1, Comm: "other", Sockets: []uint64{14}})
	owners := m.sockets.listenerOwners(hosttest.InitNetNS, server)
	if len(owners) != 2 {
		t.Fatalf("%d owners", len(owners))
	}
	for client, want := range map[string]struct {
		pid      int
		accepted bool
	}{
		"127.0.0.1:50000": {101, true}, "127.0.0.1:50001": {0, true}, "127.0.0.1:50002": {0, false}, "127.0.0.1:50003": {0, false},
	} {
		if p, accepted := m.acceptor(hosttest.InitNetNS, server, addr(client), owners); p.PID != want.pid || accepted != want.accepted {
			t.Errorf("%s: %d (%v), want %+v", client, p.PID, accepted, want)
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
	tree, m, clock := fixture(t)
	tree.Net(hosttest.InitNetNS, []hosttest.Socket{
		{Local: addr("0.0.0.0:9100"), Inode: 11},
		{Local: addr("127.0.0.1:8080"), Inode: 12},
		{Local: addr("127.0.0.1:9300"), Inode: 13}, {Local: addr("127.0.0.1:9300"), Inode: 14},
		{Local: addr("127.0.0.1:9300"), Remote: addr("127.0.0.1:50000"), Inode: 15},
	}, []string{"192.168.1.2"})
	tree.Net(containerNS, []hosttest.Socket{{Local: addr("[::]:80"), Inode: 21}}, []string{"172.17.0.2", "172.18.0.9"})
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
		{"an address that two containers have", "172.18.0.9:80", 0},
		{"a shared port: who accepted", "127.0.0.1:9300", 105},
	} {
		t.Run(tc.name, func(t *testing.T) {
			clock.advance(addressInterval)
			p, ok := m.OwnerOf(context.Background(), fakeConn{local: "127.0.0.1:50000", remote: tc.remote})
			if p.PID != tc.want || ok != (tc.want != 0) {
				t.Errorf("owner %d (%v), want %d", p.PID, ok, tc.want)
			}
		})
	}

	// From within the container's namespace its loopback is another one.
	inside := Conn{fakeConn{local: "127.0.0.1:50000", remote: "127.0.0.1:80"}, containerNS}
	if p, _ := m.OwnerOf(context.Background(), inside); p.PID != 102 {
		t.Errorf("on the container's loopback: %d", p.PID)
	}

	// The exporter is restarted.
	tree.Remove(100)
	tree.Net(hosttest.InitNetNS, []hosttest.Socket{{Local: addr("0.0.0.0:9100"), Inode: 51}}, nil)
	tree.Add(hosttest.Process{PID: 110, PPID: 1, Comm: "exporter", Sockets: []uint64{51}})
	if p, _ := m.OwnerOf(context.Background(), fakeConn{local: "127.0.0.1:50000", remote: "127.0.0.1:9100"}); p.PID != 110 {
		t.Errorf("after a restart: %d", p.PID)
	}
}

func TestTranslatePID(t *testing.T) {
	tree, m, clock := fixture(t)
	const ns = 4026531999
	tree.Add(hosttest.Process{PID: 100, Comm: "exporter", PIDNS: ns, NSPIDs: []int{100, 1}})
	tree.Add(hosttest.Process{PID: 101, Comm: "worker", PIDNS: ns, NSPIDs: []int{101, 7}})
	tree.Add(hosttest.Process{PID: 102, Comm: "elsewhere", PIDNS: ns + 1, NSPIDs: []int{102, 8}})
	tree.Add(hosttest.Process{PID: 103, Comm: "plain"})
	tree.Add(hosttest.Process{
		PID: 104, Comm: "process-export", PIDNS: ns + 2, NSPIDs: []int{104, 1},
		MountInfo: "25 1 0:5 / /proc rw - proc none rw\n26 25 0:5 /bus /proc/bus ro - proc none rw\n27 1 0:6 / /host/proc ro - proc none rw\n",
	})
	for _, tc := range []struct {
		name          string
		exporter, pid int
		want          int
	}{
		{"its own pid 1", 100, 1, 100},
		{"another process there", 101, 7, 101},
		{"one of another namespace", 100, 8, 0},
		{"one that is not there", 100, 103, 0},
		{"no namespace of its own", 103, 4711, 4711},
		{"it reads the host's /proc", 104, 103, 103},
		{"no such exporter", 4711, 1, 0},
	} {
		got, ok := m.TranslatePID(tc.exporter, tc.pid)
		if got != tc.want || ok != (tc.want != 0) {
			t.Errorf("%s: %d of %d is %d (%v), want %d", tc.name, tc.pid, tc.exporter, got, ok, tc.want)
		}
	}

	tree.Remove(101)
	tree.Add(hosttest.Process{PID: 120, Comm: "worker", PIDNS: ns, NSPIDs: []int{120, 7}})
	clock.advance(pidInterval)
	if got, _ := m.TranslatePID(100, 7); got != 120 {
		t.Errorf("after a restart: %d", got)
	}
}

func TestAddresses(t *testing.T) {
	const trie = `Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.1.0.0/16 2 0 2
        |-- 10.1.0.0
           /16 link UNICAST
        |-- 10.1.2.3
           /32 host LOCAL
        |-- 10.1.255.255
           /32 link BROADCAST
Local:
     |-- 127.0.0.0
        /32 link BROADCAST
        /8 host LOCAL
     |-- 127.0.0.1
        /32 host LOCAL
`
	want := []netip.Addr{netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("127.0.0.1")}
	if got := parseFibTrie(trie); !cmp.Equal(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })) {
		t.Errorf("fib_trie: %v", got)
	}
	const inet6 = `00000000000000000000000000000001 01 80 10 80       lo
fe80000000000000042acafffe000001 02 40 20 80     eth0
20010db8000000000000000000000002 02 40 00 80     eth0
garbage
`
	want = []netip.Addr{netip.MustParseAddr("::1"), netip.MustParseAddr("2001:db8::2")}
	if got := parseIfInet6(inet6); !cmp.Equal(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })) {
		t.Errorf("if_inet6: %v", got)
	}
}

func FuzzAddresses(f *testing.F) {
	f.Add("     |-- 10.1.2.3\n           /32 host LOCAL\n00000000000000000000000000000001 01 80 10 80       lo\n")
	f.Fuzz(func(t *testing.T, content string) {
		for _, a := range append(parseFibTrie(content), parseIfInet6(content)...) {
			if !a.IsValid() {
				t.Error("an address that is none")
			}
		}
	})
}

func FuzzDiagMessages(f *testing.F) {
	f.Add(diagRequest(2, tcpListening, 0))
	f.Add(append(diagExact(addr("127.0.0.1:80"), addr("127.0.0.1:81")), make([]byte, 100)...))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = diagMessages(b, func(tcpSocket) {}) // must not panic or loop
	})
}

// In a real namespace the two ways to list sockets agree.
func TestSockDiagAgreesWithProc(t *testing.T) {
	m := realMachine(t)
	if _, err := m.diagTCP(m.NetNS(), m.PID(), tcpListening); err != nil {
		t.Skipf("needs sock_diag: %v", err)
	}
	for _, a := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::]:0", "[::1]:0"} {
		l, err := net.Listen("tcp", a)
		if err != nil {
			t.Logf("not listening on %s: %v", a, err)
			continue
		}
		defer l.Close()
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
	}
	sorted := func(sockets []tcpSocket, err error) []tcpSocket {
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(sockets, func(a, b tcpSocket) int { return int(a.inode) - int(b.inode) })
		return slices.DeleteFunc(sockets, func(s tcpSocket) bool { return s.inode == 0 })
	}
	eventually(t, "agreement", func() bool { // other tests listen and connect meanwhile
		diag := sorted(m.diagTCP(m.NetNS(), m.PID(), tcpListening|tcpEstablished))
		proc := sorted(m.procTCP(m.PID(), tcpListening|tcpEstablished))
		return slices.Equal(diag, proc) && len(diag) >= 3*2
	})
}

func TestOwnerOfRestartIsFast(t *testing.T) {
	m := realMachine(t)
	h := startHelper(t, "listen", 0, "ADDRESS=127.0.0.1:0")
	conn, err := net.Dial("tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx := context.Background()
	if p, ok := m.OwnerOf(ctx, conn); !ok || p.PID != h.pid {
		t.Fatalf("owner %d (%v), want %d", p.PID, ok, h.pid)
	}
	best := time.Hour
	for range 100 {
		begin := time.Now()
		m.OwnerOf(ctx, conn)
		best = min(best, time.Since(begin))
	}
	if best > time.Millisecond {
		t.Errorf("a known owner takes %v", best)
	}
}
