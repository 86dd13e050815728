package socket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/host/hosttest"
)

// The size of the machine in the benchmarks.
const (
	benchProcesses  = 2000
	benchSockets    = 5000
	benchListeners  = 500 // of the sockets
	benchContainers = 100
)

// benchTree returns a machine of that size: its own network namespace has most
// of the sockets, each container has a namespace and a listener.
func benchTree(b *testing.B) *hosttest.Tree {
	b.Helper()
	tree := hosttest.New(b)
	sockets := map[uint64][]hosttest.Socket{}
	for i := range benchProcesses {
		p := hosttest.Process{PID: 1000 + i, PPID: 1, Comm: "process", NetNS: hosttest.InitNetNS}
		if i < benchContainers {
			p.NetNS, p.PIDNS, p.NSPIDs = 5000+uint64(i), 6000+uint64(i), []int{p.PID, 1}
			p.Cgroup = fmt.Sprintf("0::/system.slice/docker-%064x.scope\n", i)
		}
		for j := range benchSockets / benchProcesses {
			n := i*(benchSockets/benchProcesses) + j
			inode := uint64(100000 + n)
			p.Sockets = append(p.Sockets, inode)
			s := hosttest.Socket{Local: netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(9090+n%910)), Inode: inode}
			if n%(benchSockets/benchListeners) != 0 {
				s.Remote = netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), uint16(10000+n))
			}
			sockets[p.NetNS] = append(sockets[p.NetNS], s)
		}
		if i%2 == 0 { // the odd ones out: 2.5 a process on average
			n := benchSockets/benchProcesses*benchProcesses + i/2
			inode := uint64(100000 + n)
			p.Sockets = append(p.Sockets, inode)
			sockets[p.NetNS] = append(sockets[p.NetNS], hosttest.Socket{
				Local:  netip.AddrPortFrom(netip.IPv4Unspecified(), 20000),
				Remote: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), uint16(10000+n)), Inode: inode,
			})
		}
		tree.Add(p)
	}
	for ns, rows := range sockets {
		tree.Net(ns, rows, nil)
	}
	return tree
}

// What a machine of that size costs. Most of it is system calls, one or two a
// process.
func BenchmarkMachine(b *testing.B) {
	tree := benchTree(b)
	ctx := context.Background()
	list := func(b *testing.B, table *Table, want Wanted) {
		listeners, err := table.Listeners(ctx, want)
		if err != nil || len(listeners) == 0 {
			b.Fatal(len(listeners), err)
		}
	}
	// What discovery does at each interval when nothing changed: 50 of the
	// listeners are on its ports.
	b.Run("listeners known", func(b *testing.B) {
		table := newTestTable(b, host.Options{ProcRoot: tree.Root})
		some := Wanted{TCP: func(_ uint64, a netip.AddrPort) bool { return a.Port() < 9180 }}
		list(b, table, some)
		b.ReportAllocs()
		for b.Loop() {
			list(b, table, some)
		}
	})
	// What it does once: the owners of all are looked for.
	b.Run("listeners new", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			list(b, newTestTable(b, host.Options{ProcRoot: tree.Root}), all())
		}
	})
}

// What it costs to attribute a new connection.
func BenchmarkOwnerOf(b *testing.B) {
	tree := hosttest.New(b)
	tree.Net(hosttest.InitNetNS, []hosttest.Socket{{Local: addr("0.0.0.0:9100"), Inode: 11}}, nil)
	tree.Add(hosttest.Process{PID: 100, PPID: 1, Comm: "exporter", Sockets: []uint64{11}})
	table := newTestTable(b, host.Options{ProcRoot: tree.Root})
	conn := fakeConn{local: "127.0.0.1:50000", remote: "127.0.0.1:9100"}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := table.OwnerOf(context.Background(), conn); !ok {
			b.Fatal("no owner")
		}
	}
}

// The same on the machine that runs it, with that many processes and
// connections made for it.
func BenchmarkMachineReal(b *testing.B) {
	for range benchProcesses {
		cmd := exec.Command("sleep", "600")
		if err := cmd.Start(); err != nil {
			b.Skip(err)
		}
		defer func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	for range benchSockets / 2 {
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Skip(err)
		}
		defer client.Close()
		server, err := l.Accept()
		if err != nil {
			b.Fatal(err)
		}
		defer server.Close()
	}
	table := realTable(b)
	run := func(name string, fn func() error) {
		b.Run(name, func(b *testing.B) {
			if err := fn(); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			begin := cpuTime(b)
			for b.Loop() {
				if err := fn(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(cpuTime(b)-begin)/float64(b.N), "cpu-ns/op")
		})
	}
	wanted := Wanted{TCP: func(uint64, netip.AddrPort) bool { return true }}
	run("listeners known", func() error {
		_, err := table.Listeners(context.Background(), wanted)
		return err
	})
	run("listeners new", func() error {
		clear(table.listeners.owners)
		_, err := table.Listeners(context.Background(), wanted)
		return err
	})
	run("listeners by proc", func() error {
		_, err := procTCP(table.machine, table.machine.PID(), tcpListening)
		return err
	})
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	run("owner of a connection", func() error {
		if _, ok := table.OwnerOf(context.Background(), client); !ok {
			return errors.New("no owner")
		}
		return nil
	})
}

// cpuTime returns the CPU time that this process has used, which other load on
// the machine does not change as it does the time on the clock.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
