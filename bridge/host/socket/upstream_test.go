package socket

import (
	"context"
	"testing"

	"github.com/promscope/promscope/bridge/host/hosttest"
)

func TestUpstream(t *testing.T) {
	tree, table := fixture(t)
	tcp := []hosttest.Socket{
		{Local: addr("127.0.0.1:8080"), Inode: 11},
		{Local: addr("127.0.0.1:5432"), Inode: 12},
		{Local: addr("0.0.0.0:9113"), Inode: 21},
		{Local: addr("127.0.0.1:9113"), Remote: addr("127.0.0.1:50000"), Inode: 22}, // a scrape
		{Local: addr("127.0.0.1:50001"), Remote: addr("127.0.0.1:8080"), Inode: 23},
		{Local: addr("127.0.0.1:50002"), Remote: addr("127.0.0.1:8080"), Inode: 31},
		{Local: addr("127.0.0.1:50003"), Remote: addr("127.0.0.1:5432"), Inode: 32},
		{Local: addr("192.168.1.2:50004"), Remote: addr("192.168.1.3:8080"), Inode: 41},
		{Local: addr("127.0.0.1:50005"), Remote: addr("127.0.0.1:8080"), Inode: 51},
	}
	tree.Net(hosttest.InitNetNS, tcp, []string{"192.168.1.2"})
	tree.Add(hosttest.Process{PID: 100, PPID: 1, Comm: "nginx", Sockets: []uint64{11}})
	tree.Add(hosttest.Process{PID: 101, PPID: 100, Comm: "nginx", Sockets: []uint64{11}})
	tree.Add(hosttest.Process{PID: 102, PPID: 1, Comm: "postgres", Sockets: []uint64{12}})
	tree.Add(hosttest.Process{PID: 110, PPID: 1, Comm: "nginx-prometheu", Exe: "/usr/bin/nginx-prometheus-exporter", Sockets: []uint64{21, 22, 23}})
	tree.Add(hosttest.Process{PID: 111, PPID: 1, Comm: "two_exporter", Sockets: []uint64{31, 32}})
	tree.Add(hosttest.Process{PID: 112, PPID: 1, Comm: "remote_exporter", Sockets: []uint64{41}})
	tree.Add(hosttest.Process{PID: 113, PPID: 1, Comm: "application", Sockets: []uint64{51}})
	tree.Add(hosttest.Process{PID: 114, PPID: 1, Comm: "node_exporter"})

	upstream := func(name string, pid, want int) {
		t.Helper()
		if got := table.Upstream(context.Background(), pid, "/metrics").Result(); got.Process.PID != want {
			t.Errorf("%s: %d (%s), want %d", name, got.Process.PID, got.Note, want)
		}
	}
	upstream("an exporter and its server", 110, 100)
	upstream("two servers", 111, 0)
	upstream("a server elsewhere", 112, 0)
	upstream("no exporter", 113, 0)
	upstream("not connected", 114, 0)
	upstream("no such process", 4711, 0)

	// The connection closes, as it may between scrapes; the server stays.
	tree.Net(hosttest.InitNetNS, tcp[:4], nil)
	upstream("between two scrapes", 110, 100)

	// The server is restarted.
	tree.Remove(101)
	tree.Remove(100)
	upstream("while it is gone", 110, 0)
	tree.Net(hosttest.InitNetNS, []hosttest.Socket{
		{Local: addr("127.0.0.1:8080"), Inode: 61},
		{Local: addr("127.0.0.1:50009"), Remote: addr("127.0.0.1:8080"), Inode: 62},
	}, nil)
	tree.Add(hosttest.Process{PID: 120, PPID: 1, Comm: "nginx", Sockets: []uint64{61}})
	tree.Add(hosttest.Process{PID: 110, PPID: 1, Comm: "nginx-prometheu", Exe: "/usr/bin/nginx-prometheus-exporter", Sockets: []uint64{62}})
	upstream("too soon to look again", 110, 0)
	tree.Advance(firstLook)
	upstream("after it is back", 110, 120)
}
