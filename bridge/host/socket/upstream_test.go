package socket

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
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

// Exporters that connect to their server for as long as they are asked: the server is
// found while the answer is under way, by TCP and by a unix socket.
func TestUpstreamPerScrapeReal(t *testing.T) {
	exporter := startExporter(t)
	tcp := hosttest.Start(t, "listen", 0, "PAUSE=100ms", "ADDRESS=127.0.0.1:0")
	path := filepath.Join(t.TempDir(), "server.sock")
	unixSocket := hosttest.Start(t, "listen", 0, "PAUSE=100ms", "ADDRESS="+path)
	for name, server := range map[string]hosttest.Helper{"TCP": tcp, "a unix socket": unixSocket} {
		table := realTable(t)
		// A starved machine may miss it in one scrape.
		eventually(t, "the server by "+name, func() bool {
			got := askFor(t, table, exporter, server.Address)
			if got.Process.PID != 0 && got.Process.PID != server.PID || (got.Process.PID != 0) != strings.Contains(got.Note, "process "+strconv.Itoa(server.PID)+" (") {
				t.Fatalf("by %s: %+v, want %d", name, got, server.PID)
			}
			return got.Process.PID == server.PID
		})
	}
	// It is told why there is none.
	if got := askFor(t, realTable(t), exporter, ""); got.Process.PID != 0 || got.Note != noteNone {
		t.Errorf("asks nobody: %+v", got)
	}
}

// An exporter with two targets is not taken to speak of the one of the other.
func TestUpstreamOfTwoTargetsReal(t *testing.T) {
	exporter, table := startExporter(t), realTable(t)
	var servers [2]hosttest.Helper
	for i := range servers {
		servers[i] = hosttest.Start(t, "listen", 0, "PAUSE=100ms", "ADDRESS=127.0.0.1:0")
	}
	askFor(t, table, exporter, servers[0].Address)
	for range 5 {
		for _, server := range servers {
			if got := askFor(t, table, exporter, server.Address); got.Process.PID != server.PID && got.Process.PID != 0 {
				t.Errorf("of %d: %+v", server.PID, got)
			}
		}
	}
	for i := range 5 {
		var asked sync.WaitGroup
		for _, server := range servers {
			asked.Go(func() {
				if got := askFor(t, table, exporter, server.Address); got.Process.PID != server.PID && got.Process.PID != 0 {
					t.Errorf("at the same time, %d: of %d: %+v", i, server.PID, got)
				}
			})
		}
		asked.Wait()
	}
	for _, server := range servers {
		eventually(t, "the server of one of two targets", func() bool {
			return askFor(t, table, exporter, server.Address).Process.PID == server.PID
		})
	}
}

// startExporter starts the helper under a name that exporters have.
func startExporter(t *testing.T) hosttest.Helper {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test_exporter")
	if err := os.Link(executable(t), path); err != nil {
		t.Skip(err)
	}
	return hosttest.StartProgram(t, path, "exporter")
}

// askFor asks an exporter for a target, and looks meanwhile at whom it asks.
func askFor(t *testing.T, table *Table, exporter hosttest.Helper, target string) Subject {
	t.Helper()
	request := "/probe?target=" + url.QueryEscape(target)
	var look *Look
	trace := &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { look = table.Upstream(t.Context(), exporter.PID, request) }}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), http.MethodGet, "http://"+exporter.Address+request, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("the exporter: %s", response.Status)
	}
	return look.Result()
}
