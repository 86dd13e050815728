package socket

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/promscope/promscope/bridge/host"
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

// Exporters are called so, by their program or by the script that an interpreter runs. The
// proxy before a server is spoken of by its own exporter only.
func TestExporters(t *testing.T) {
	tree, table := fixture(t)
	tree.Net(hosttest.InitNetNS, []hosttest.Socket{
		{Local: addr("127.0.0.1:6432"), Inode: 11}, {Local: addr("127.0.0.1:5432"), Inode: 12},
		{Local: addr("127.0.0.1:50001"), Remote: addr("127.0.0.1:6432"), Inode: 21},
		{Local: addr("127.0.0.1:50002"), Remote: addr("127.0.0.1:5432"), Inode: 22},
	}, nil)
	tree.Add(hosttest.Process{PID: 100, PPID: 1, Comm: "pgbouncer", Sockets: []uint64{11}})
	tree.Add(hosttest.Process{PID: 101, PPID: 1, Comm: "postgres", Sockets: []uint64{12}})
	const python = "/usr/bin/python3.11"
	for i, tc := range []struct {
		comm, exe string
		cmdline   []string
		proxy     bool // connected to that, not to the server
		want      int
	}{
		{"postgres_export", "/bin/postgres_exporter", nil, false, 101},
		{"my_exporter", python, nil, false, 101},
		{"python3", python, []string{"python3", "-u", "/opt/my_exporter.py", "--port=9131"}, false, 101},
		{"python3", python, []string{"python3", "-m", "my_exporter"}, false, 101},
		{"python3", python, []string{"python3", "/opt/app.py", "exporter.yml"}, false, 0},
		{"python3", python, []string{"python3"}, false, 0},
		{"otelcol", "/bin/otelcol", []string{"otelcol", "exporter.yml"}, false, 0},
		{"prometheus-pgbo", python, []string{"/usr/bin/python3", "/usr/bin/prometheus-pgbouncer-exporter"}, true, 100},
		{"postgres_export", "/bin/postgres_exporter", nil, true, 0},
	} {
		pid, connection := 110+i, uint64(22)
		if tc.proxy {
			connection = 21
		}
		tree.Add(hosttest.Process{PID: pid, PPID: 1, Comm: tc.comm, Exe: tc.exe, Cmdline: tc.cmdline, Sockets: []uint64{connection}})
		got := table.Upstream(t.Context(), pid, "/metrics").Result()
		if got.Process.PID != tc.want || (got.Note == noteProxy) != (tc.proxy && tc.want == 0) {
			t.Errorf("%s %q: %+v, want %d", tc.exe, tc.cmdline, got, tc.want)
		}
	}
}

// An exporter keeps the connection of each scrape for a while. That of a target whose server
// is known, so that it is not looked for, is not taken for one of another target.
func TestUpstreamKeptConnections(t *testing.T) {
	tree, table := fixture(t)
	tree.Add(hosttest.Process{PID: 100, PPID: 1, Comm: "redis-server", Sockets: []uint64{11}})
	inode := uint64(30)
	var kept []hosttest.Socket
	// ask asks for a target, for which the exporter connects to the server.
	ask := func(target, server string, want int) {
		t.Helper()
		inode++
		var opened []hosttest.Socket
		if server != "" {
			opened = []hosttest.Socket{{Local: addr("127.0.0.1:" + strconv.FormatUint(50000+inode, 10)), Remote: addr(server), Inode: inode}}
		}
		sockets := []hosttest.Socket{{Local: addr("127.0.0.1:8080"), Inode: 11}, {Local: addr("0.0.0.0:9113"), Inode: 21}}
		held := []uint64{21}
		for _, s := range slices.Concat(kept, opened) {
			sockets, held = append(sockets, s), append(held, s.Inode)
		}
		tree.Net(hosttest.InitNetNS, sockets, nil)
		tree.Add(hosttest.Process{PID: 110, PPID: 1, Comm: "multi_exporter", Sockets: held})
		if got := table.Upstream(t.Context(), 110, "/probe?target="+target).Result(); got.Process.PID != want {
			t.Errorf("%s at %v: %d (%s), want %d", target, tree.Now(), got.Process.PID, got.Note, want)
		}
		kept = opened
		tree.Advance(5 * time.Second)
	}
	const here, elsewhere, byUDP = "127.0.0.1:8080", "192.168.1.3:8080", ""
	for range 3 {
		ask("here", here, 100)
	}
	ask("switch", byUDP, 0) // nobody has looked which connection is not its own
	ask("here", here, 100)
	for range 8 {
		ask("here", here, 100)
		ask("elsewhere", elsewhere, 0)
		ask("here", here, 100)
		ask("switch", byUDP, 0)
	}
}

// A scrape without an answer leaves connections, too.
func TestUpstreamWithoutAnswer(t *testing.T) {
	tree, table := fixture(t)
	tree.Net(hosttest.InitNetNS, []hosttest.Socket{
		{Local: addr("127.0.0.1:8080"), Inode: 11},
		{Local: addr("127.0.0.1:50000"), Remote: addr("127.0.0.1:8080"), Inode: 22},
	}, nil)
	tree.Add(hosttest.Process{PID: 100, PPID: 1, Comm: "nginx", Sockets: []uint64{11}})
	multi := hosttest.Process{PID: 110, PPID: 1, Comm: "multi_exporter", Sockets: []uint64{21}}
	tree.Add(multi)
	for _, target := range []string{"first", "second", "first"} {
		table.Upstream(t.Context(), 110, target).Result()
	}
	ctx, cancel := context.WithCancel(t.Context())
	multi.Sockets = append(multi.Sockets, 22)
	tree.Add(multi)
	look := table.Upstream(ctx, 110, "first")
	cancel()
	eventually(t, "the end of the scrape", func() bool {
		table.upstreams.mu.Lock()
		defer table.upstreams.mu.Unlock()
		return len(look.exporter.looks) == 0
	})
	tree.Advance(firstLook)
	if got := table.Upstream(t.Context(), 110, "second").Result(); got.Process.PID != 0 {
		t.Errorf("%+v", got)
	}
}

// What a look comes to.
func TestUpstreamAfter(t *testing.T) {
	nginx, redis := host.Process{PID: 100, Comm: "nginx", StartTicks: 1}, host.Process{PID: 101, Comm: "redis", StartTicks: 2}
	for _, tc := range []struct {
		name  string
		known host.Process
		seen  servers
		alone bool
		want  host.Process
		note  string
	}{
		{"nothing", host.Process{}, servers{}, true, host.Process{}, noteNone},
		{"nothing this time", nginx, servers{}, true, nginx, noteFound(nginx)},
		{"a server", host.Process{}, servers{process: nginx}, true, nginx, noteFound(nginx)},
		{"another server", nginx, servers{process: redis}, true, redis, noteFound(redis)},
		{"several servers", nginx, servers{process: nginx, several: true}, true, host.Process{}, noteSeveral},
		{"one that is not known", host.Process{}, servers{process: nginx, unknown: true}, true, host.Process{}, noteUnknown},
		{"one that is not known this time", nginx, servers{unknown: true}, true, nginx, noteFound(nginx)},
		{"elsewhere", host.Process{}, servers{elsewhere: true}, true, host.Process{}, noteElsewhere},
		{"elsewhere this time", nginx, servers{elsewhere: true}, true, host.Process{}, noteElsewhere},
		{"a server, and elsewhere", host.Process{}, servers{process: nginx, elsewhere: true}, true, host.Process{}, noteElsewhere},
		{"a server known, and elsewhere", nginx, servers{process: nginx, elsewhere: true}, true, host.Process{}, noteElsewhere},
		{"a proxy", host.Process{}, servers{proxy: true}, true, host.Process{}, noteProxy},
		{"a proxy this time", nginx, servers{proxy: true}, true, host.Process{}, noteProxy},
		{"at the same time", host.Process{}, servers{}, false, host.Process{}, noteTogether},
		{"at the same time, this time", nginx, servers{}, false, nginx, noteFound(nginx)},
	} {
		u := upstream{server: tc.known, wait: firstLook}
		if tc.known.PID != 0 {
			u.note = noteFound(tc.known)
		}
		if got := u.after(tc.seen, tc.alone); got.server != tc.want || got.note != tc.note {
			t.Errorf("%s: %d, %q, want %d, %q", tc.name, got.server.PID, got.note, tc.want.PID, tc.note)
		}
	}
	// The connection to the other host is missed in the next scrape.
	u := upstream{wait: firstLook}.after(servers{process: nginx, elsewhere: true}, true)
	if u = u.after(servers{process: nginx}, true); u.server.PID != 0 || u.note != noteElsewhere {
		t.Errorf("after elsewhere: %d, %q", u.server.PID, u.note)
	}
}

// A server that is restarted is found where it was, by TCP and by a unix socket.
func TestFollow(t *testing.T) {
	tree, table := fixture(t)
	tree.Net(hosttest.InitNetNS, []hosttest.Socket{
		{Local: addr("127.0.0.1:8080"), Inode: 61}, {Path: "/run/server.sock", Inode: 62},
	}, nil)
	tree.Add(hosttest.Process{PID: 120, PPID: 1, Comm: "redis-server", Sockets: []uint64{61}})
	tree.Add(hosttest.Process{PID: 121, PPID: 1, Comm: "php-fpm", Sockets: []uint64{62}})
	exporter := host.Process{PID: 110, StartTicks: 1110, NetNS: hosttest.InitNetNS}
	gone := host.Process{PID: 100, StartTicks: 1100, NetNS: hosttest.InitNetNS}
	contained := host.Process{PID: 100, StartTicks: 1100, NetNS: containerNS}
	for _, tc := range []struct {
		name string
		gone host.Process
		at   peer
		want int
	}{
		{"TCP", gone, peer{server: addr("127.0.0.1:8080"), client: addr("127.0.0.1:50000")}, 120},
		{"a unix socket", gone, peer{path: "/run/server.sock", inode: 32, listener: 100}, 121},
		{"a unix socket in another network namespace", contained, peer{path: "/run/server.sock", inode: 33, listener: 100}, 0},
	} {
		u := upstream{server: tc.gone, socket: tc.at}
		if changed := table.follow(t.Context(), exporter, &u); !changed || u.server.PID != tc.want {
			t.Errorf("by %s: %d (%v), want %d", tc.name, u.server.PID, changed, tc.want)
		}
	}
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

// An exporter that is asked for two servers elsewhere, and for one here. What it says of the
// first two is not what it is itself, nor one server's.
func TestOneOfManyElsewhere(t *testing.T) {
	tree, table := fixture(t)
	tree.Net(hosttest.InitNetNS, []hosttest.Socket{{Local: addr("192.168.1.2:50004"), Remote: addr("192.168.1.3:6379"), Inode: 41}}, []string{"192.168.1.2"})
	tree.Add(hosttest.Process{PID: 112, PPID: 1, Comm: "remote_exporter", Sockets: []uint64{41}})
	for _, step := range []struct {
		request   string
		oneOfMany bool
	}{
		{"/scrape?target=a:6379", false}, // the only one
		{"/metrics", false},
		{"/scrape?target=a:6379&collect[]=x", false}, // the same one
		{"/scrape?target=b:6379", true},
		{"/scrape?target=a:6379", true},
		{"/metrics", false}, // of itself, or of the one that it was started for
		{"/probe?collect[]=y", false},
	} {
		if got := table.Upstream(t.Context(), 112, step.request).Result(); got.OneOfMany != step.oneOfMany || got.Process.PID != 0 {
			t.Errorf("%s: %+v", step.request, got)
		}
	}
}
