package socket

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/promscope/promscope/bridge/host/hosttest"
)

const containerNS = 4026532000

// all wants every listener.
func all() Wanted {
	return Wanted{
		TCP:  func(uint64, netip.AddrPort) bool { return true },
		Unix: func(uint64, string) bool { return true },
	}
}

// owners lists the listeners that are wanted, as address or path → pid.
func owners(t *testing.T, table *Table, want Wanted) map[string]int {
	t.Helper()
	listeners, err := table.Listeners(context.Background(), want)
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]int{}
	for _, l := range listeners {
		name := l.Path
		if name == "" {
			name = l.Addr.String()
		}
		if l.NetNS != table.machine.NetNS() {
			name += " in " + strconv.FormatUint(l.NetNS, 10)
		}
		byName[name] = l.Owner.PID
	}
	return byName
}

func TestListeners(t *testing.T) {
	tree, table := fixture(t)
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
	if diff := cmp.Diff(want, owners(t, table, all())); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	only := Wanted{TCP: func(_ uint64, a netip.AddrPort) bool { return a.Port() == 9200 }}
	if diff := cmp.Diff(map[string]int{"[::]:9200": 101}, owners(t, table, only)); diff != "" {
		t.Errorf("only one: -want +got:\n%s", diff)
	}

	tree.Remove(101)
	tree.Remove(102)
	tree.Net(hosttest.InitNetNS, []hosttest.Socket{{Local: addr("127.0.0.1:9100"), Inode: 31}}, nil)
	tree.Add(hosttest.Process{PID: 100, PPID: 1, Comm: "a", StartTicks: 9000, Sockets: []uint64{31}})
	if diff := cmp.Diff(map[string]int{"127.0.0.1:9100": 100}, owners(t, table, all())); diff != "" {
		t.Errorf("later: -want +got:\n%s", diff)
	}
	if n := len(table.listeners.owners) + len(table.listeners.missed); n != 1 {
		t.Errorf("%d sockets remembered of one", n)
	}
}

// The name of a unix socket may hold anything. It does not hide the others.
func TestUnixNames(t *testing.T) {
	tree, table := fixture(t)
	tree.Net(hosttest.InitNetNS, []hosttest.Socket{
		{Path: "@one\ntwo", Inode: 11}, {Path: "/run/three\nfour", Inode: 12}, {Path: "/run/with space.sock", Inode: 13}, {Path: "/run/plain.sock", Inode: 14},
	}, nil)
	tree.Add(hosttest.Process{PID: 100, PPID: 1, Comm: "a", Sockets: []uint64{11, 12}})
	tree.Add(hosttest.Process{PID: 101, PPID: 1, Comm: "b", Sockets: []uint64{13, 14}})
	want := map[string]int{"/run/three": 100, "/run/with space.sock": 101, "/run/plain.sock": 101}
	if diff := cmp.Diff(want, owners(t, table, all())); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// The kernel tells a name whole when it is asked, and none that no socket has.
func TestUnixNamesReal(t *testing.T) {
	table := realTable(t)
	if _, err := diagUnixListeners(table.machine, table.machine.NetNS(), table.machine.PID()); err != nil {
		t.Skipf("needs unix_diag: %v", err)
	}
	dir := t.TempDir()
	const forged = "/forged.sock"
	for _, path := range []string{
		"@" + dir + "\n0: 2 0 10000 1 1 1 " + forged, dir + "/a\nb", dir + "/with space", dir + "/plain",
	} {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	names := func(sockets []socket) (names []string) {
		for _, s := range sockets {
			if name, ok := strings.CutPrefix(s.path, dir+"/"); ok || s.path == forged {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		return names
	}
	if got, want := names(listUnix(table.machine, table.machine.NetNS(), []int{table.machine.PID()})), []string{"a\nb", "plain", "with space"}; !slices.Equal(got, want) {
		t.Errorf("listening: %q, want %q", got, want)
	}
	// Where that is not allowed, the table tells most of it.
	sockets, err := procUnix(table.machine, table.machine.PID())
	if got, want := names(sockets), []string{"/forged.sock", "a", "plain", "with space"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("in the table: %q, %v, want %q", got, err, want)
	}
}

func TestListenersDormant(t *testing.T) {
	tree, table := fixture(t)
	tree.Net(hosttest.InitNetNS, []hosttest.Socket{{Local: addr("127.0.0.1:9100"), Inode: 11}, {Local: addr("127.0.0.1:9101"), Inode: 12}}, nil)
	tree.Add(hosttest.Process{PID: 1, Comm: "systemd", Sockets: []uint64{11, 12}})
	tree.Add(hosttest.Process{PID: 100, PPID: 1, Comm: "service", Sockets: []uint64{12}})
	listeners, err := table.Listeners(context.Background(), all())
	if err != nil || len(listeners) != 2 || !listeners[0].Dormant || listeners[1].Dormant {
		t.Errorf("%+v, %v", listeners, err)
	}
}

func TestListenersCanceled(t *testing.T) {
	_, table := fixture(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := table.Listeners(ctx, all()); err == nil {
		t.Error("no error")
	}
}
