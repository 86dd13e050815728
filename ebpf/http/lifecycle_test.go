package http

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/ebpf/collector"
	"github.com/promscope/promscope/ebpf/load"
)

// eventually waits until the condition holds.
func eventually(t testing.TB, within time.Duration, condition func() bool, format string, args ...any) {
	t.Helper()
	for end := time.Now().Add(patience(within)); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf(format, args...)
		}
	}
}

// only restricts a collector to the servers of a test: the machine may have others.
func only(t testing.TB, addresses ...string) Ports {
	t.Helper()
	var p Ports
	for _, address := range addresses {
		n, err := strconv.ParseUint(portOf(address), 10, 16)
		if err != nil {
			t.Fatal(err)
		}
		p.Include = append(p.Include, ports(uint16(n))...)
	}
	return p
}

func TestLatency(t *testing.T) {
	if os.Getenv("PROMSCOPE_TEST_SCALE") != "" {
		t.Skip("an emulated CPU wakes late from 20 ms of sleep")
	}
	eachHookSet(t, func(t *testing.T, hookSet string) {
		c := newCollector(t, Options{hookSet: hookSet})
		address := freeAddress(t)
		pid := startGo(t, address)
		if _, err := (mode{path: "/20ms"}).send(address, 200, 1); err != nil { // 120 of them sleep
			t.Fatal(err)
		}
		before := gather(t, c, servers)[pid].Latency
		conn := dial(t, address)
		began := time.Now()
		for range 100 {
			request(t, conn, "/20ms")
		}
		seen := time.Since(began).Seconds() / 100
		after := gather(t, c, servers)[pid].Latency
		n := after.GetSampleCount() - before.GetSampleCount()
		if n != 100 {
			t.Fatalf("%d observations", n)
		}
		mean := (after.GetSampleSum() - before.GetSampleSum()) / float64(n)
		if mean < 0.020 || mean > seen {
			t.Errorf("mean is %.4f s; the client saw %.4f s", mean, seen)
		}
		// The quantile as Prometheus takes it from the buckets.
		rank, lower, below := float64(n)/2, 0.0, 0.0
		for i, b := range after.Bucket {
			count := float64(b.GetCumulativeCount() - before.Bucket[i].GetCumulativeCount())
			if count >= rank {
				p50 := lower + (b.GetUpperBound()-lower)*(rank-below)/(count-below)
				if p50 < 0.020 || p50 > 0.022 {
					t.Errorf("p50 is %.4f s", p50)
				}
				return
			}
			lower, below = b.GetUpperBound(), count
		}
		t.Error("p50 is beyond the last bucket")
	})
}

func dial(t testing.TB, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// request sends one request over the connection and returns the response's code.
func request(t testing.TB, conn net.Conn, path string) string {
	t.Helper()
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path)
	code, err := readResponse(bufio.NewReader(conn))
	if err != nil {
		t.Fatal(err)
	}
	return code
}

func TestInFlight(t *testing.T) {
	eachHookSet(t, func(t *testing.T, hookSet string) {
		c := newCollector(t, Options{hookSet: hookSet})
		address := freeAddress(t)
		pid := startGo(t, address)
		request(t, dial(t, address), "/200")
		for range 5 {
			fmt.Fprint(dial(t, address), "GET /2s HTTP/1.1\r\nHost: localhost\r\n\r\n")
		}
		eventually(t, time.Second, func() bool { return gather(t, c, servers)[pid].InFlight == 5 }, "never 5 requests in flight")
		eventually(t, 5*time.Second, func() bool { return gather(t, c, servers)[pid].InFlight == 0 }, "requests stay in flight")
	})
}

// TestOpenBefore starts the collector when connections are open, in each state that they can be in.
func TestOpenBefore(t *testing.T) {
	eachHookSet(t, func(t *testing.T, hookSet string) {
		address := freeAddress(t)
		pid := startGo(t, address)
		idle, busy, uploading := dial(t, address), dial(t, address), dial(t, address)
		for _, conn := range []net.Conn{idle, busy, uploading} {
			request(t, conn, "/200")
		}
		fmt.Fprint(busy, "GET /300ms HTTP/1.1\r\nHost: localhost\r\n\r\n")
		chunk := strings.Repeat("x", 1<<15)
		fmt.Fprintf(uploading, "POST /200 HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", 20*len(chunk), chunk)
		time.Sleep(50 * time.Millisecond)

		c := newCollector(t, Options{hookSet: hookSet})
		for range 19 {
			fmt.Fprint(uploading, chunk)
			time.Sleep(time.Millisecond)
		}
		for _, conn := range []net.Conn{busy, uploading} {
			if code, err := readResponse(bufio.NewReader(conn)); err != nil || code != "200" {
				t.Fatal(code, err)
			}
		}
		for range 10 {
			for _, conn := range []net.Conn{idle, busy, uploading} {
				request(t, conn, "/200")
			}
		}
		if got := gather(t, c, servers)[pid]; got.Requests != 30 || got.InFlight != 0 {
			t.Errorf("%d requests, %d in flight; want 30 and 0", got.Requests, got.InFlight)
		}
	})
}

// TestOtherProtocolOpenBefore keeps a connection of another protocol, and sees it dropped.
func TestOtherProtocolOpenBefore(t *testing.T) {
	eachHookSet(t, func(t *testing.T, hookSet string) {
		ping := []step{client("*1\r\n$4\r\nPING\r\n"), answer("+PONG\r\n")}
		for _, tt := range []struct {
			name    string
			clients bool
			steps   []step
			want    float64 // sides dropped
		}{
			{"servers", false, slices.Concat(ping, ping), 2},
			{"clients", true, slices.Concat(ping, ping), 2},
			{"commands like requests", true, []step{answer("220 ready\r\n"), client("EHLO me\r\n"), answer("250 you\r\n"), client("QUIT\r\n")}, 2},
		} {
			t.Run(tt.name, func(t *testing.T) {
				e := connected(t)
				c := newCollector(t, Options{hookSet: hookSet, Clients: tt.clients, Ports: only(t, e.near.LocalAddr().String(), e.far.LocalAddr().String())})
				before := own(t, c, "promscope_http_connections")
				follow(t, e.near, e.far, tt.steps)
				if after := own(t, c, "promscope_http_connections"); after != before-tt.want {
					t.Errorf("connections: %v, then %v: want %v dropped", before, after, tt.want)
				}
			})
		}
	})
}

// inKernel returns the processes that the kernel counts.
func inKernel(t *testing.T, c *load.Collector) []counted {
	t.Helper()
	all, err := readProcesses(c.Programs.Collection.Maps[mapProcesses])
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestExit(t *testing.T) {
	eachHookSet(t, func(t *testing.T, hookSet string) {
		address := freeAddress(t)
		c := newCollectorEvery(t, 1500*time.Millisecond, Options{hookSet: hookSet, Ports: only(t, address)})
		pid := startGo(t, address)
		request(t, dial(t, address), "/200")
		if got := gather(t, c, servers)[pid]; got.Requests != 1 || got.Comm != "http.test" {
			t.Fatalf("%+v", got)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, time.Second, func() bool {
			return slices.ContainsFunc(inKernel(t, c), func(p counted) bool { return int(p.TGID) == pid && p.Exited != 0 })
		}, "the kernel has not seen the process exit")
		time.Sleep(2500 * time.Millisecond)
		if got := gather(t, c, servers)[pid]; got.Requests != 1 {
			t.Errorf("the last counts are lost before two intervals: %+v", got)
		}
		time.Sleep(500 * time.Millisecond)
		if got, ok := gather(t, c, servers)[pid]; ok {
			t.Errorf("still there after two intervals: %+v", got)
		}
		if all := inKernel(t, c); len(all) != 0 {
			t.Errorf("the kernel still has %d processes", len(all))
		}
	})
}

// TestReusedPID gives a pid to a second process right after the first has ended.
func TestReusedPID(t *testing.T) {
	c := newCollector(t, Options{})
	address := freeAddress(t)
	pid := startGo(t, address)
	if _, err := (mode{}).send(address, 10, 1); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, func() bool { return syscall.Kill(pid, 0) != nil }, "the process does not end")
	if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0); err != nil {
		t.Skip("pids cannot be chosen:", err)
	}
	address = freeAddress(t)
	if again := startGo(t, address); again != pid {
		t.Skipf("the pid was %d, and then %d: another process was faster", pid, again)
	}
	request(t, dial(t, address), "/200")
	// For a while the two have the pid together: the one that has ended makes room at once.
	if got := gather(t, c, servers)[pid]; got.Requests != 1 {
		t.Errorf("%d requests: the counts of the last process with this pid", got.Requests)
	}
}

func TestConnectionLimit(t *testing.T) {
	eachHookSet(t, func(t *testing.T, hookSet string) {
		const limit = 20
		address := freeAddress(t)
		c := newCollector(t, Options{hookSet: hookSet, MaxConnections: limit, Ports: only(t, address)})
		pid := startGo(t, address)
		eventually(t, 5*time.Second, func() bool { return own(t, c, "promscope_http_connections") == 0 }, "the first connection stays")
		var conns []net.Conn
		for range limit + 7 {
			conn := dial(t, address)
			request(t, conn, "/200")
			conns = append(conns, conn)
		}
		if got := gather(t, c, servers)[pid].Requests; got != limit {
			t.Errorf("%d connections counted", got)
		}
		if got := own(t, c, "promscope_http_connections_lost_total"); got != 7 {
			t.Errorf("%v connections lost", got)
		}
		warned(t, c, "7 connections were not counted", "raise max_connections")
		conns[0].Close()
		eventually(t, 5*time.Second, func() bool { return own(t, c, "promscope_http_connections") == limit-1 }, "the connection stays")
		request(t, conns[limit], "/200")
		if got := gather(t, c, servers)[pid].Requests; got != limit+1 {
			t.Errorf("%d connections counted, where there is room for one that had none", got)
		}
		for _, conn := range conns {
			conn.Close()
		}
		eventually(t, 5*time.Second, func() bool { return own(t, c, "promscope_http_connections") == 0 }, "connections are not released")
	})
}

// TestOthersLeaveRoom has more connections of another protocol than are tracked.
func TestOthersLeaveRoom(t *testing.T) {
	eachHookSet(t, func(t *testing.T, hookSet string) {
		const limit = 20
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		address := listener.Addr().String()
		c := newCollector(t, Options{hookSet: hookSet, MaxConnections: limit, Ports: only(t, address)})
		exchange := func(steps ...step) {
			near := dial(t, address)
			far, err := listener.Accept()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { far.Close() })
			follow(t, near, far, steps)
		}
		for range limit {
			exchange(client("\x16\x03\x01\x00\x06\x01\x00\x00\x02\x03\x03"), answer("\x16\x03\x03"))
		}
		for range limit / 2 {
			exchange(client(get), answer(ok))
		}
		if got := gather(t, c, servers)[os.Getpid()].Requests; got != limit/2 {
			t.Errorf("%d of %d requests counted", got, limit/2)
		}
		if got := own(t, c, "promscope_http_connections_lost_total"); got != 0 {
			t.Errorf("%v connections lost", got)
		}
	})
}

// warned tests that the page and doctor warn, and say what helps.
func warned(t *testing.T, c *load.Collector, reason, remedy string) {
	t.Helper()
	warnings := c.Status().Warnings
	if !slices.ContainsFunc(warnings, func(w collector.Warning) bool {
		return strings.HasPrefix(w.Reason, reason) && w.Remedy == remedy
	}) {
		t.Errorf("warnings: %+v", warnings)
	}
}

// TestProcessLimit has more servers than slots: those without requests make room.
func TestProcessLimit(t *testing.T) {
	addresses := []string{freeAddress(t), freeAddress(t), freeAddress(t)}
	c := newCollector(t, Options{MaxProcesses: 2, Ports: only(t, addresses...)})
	var pids []int
	for _, address := range addresses {
		pids = append(pids, startGo(t, address))
	}
	for _, address := range addresses {
		request(t, dial(t, address), "/200")
	}
	if got := own(t, c, "promscope_http_requests_lost_total"); got != 1 {
		t.Fatalf("%v requests lost", got)
	}
	warned(t, c, "1 requests were not counted", "raise max_processes")
	last := dial(t, addresses[2])
	eventually(t, 5*time.Second, func() bool {
		request(t, last, "/200")
		return gather(t, c, servers)[pids[2]].Requests > 0
	}, "the third process never gets a slot")
	if got := own(t, c, "promscope_http_process_evictions_total"); got < 1 {
		t.Errorf("%v evictions", got)
	}
	all := gather(t, c, servers)
	if _, ok := all[pids[0]]; ok {
		t.Errorf("the process that was idle the longest is still there: %v", all)
	}
	if got := all[pids[1]].Requests; got != 1 {
		t.Errorf("the second process has %d requests", got)
	}
}

// TestPeek peeks at two segments at once before it reads them. The body in the second has requests as far from its start as the
// first is long: there the second would go on, if it were taken to begin where the first does.
func TestPeek(t *testing.T) {
	eachHookSet(t, func(t *testing.T, hookSet string) {
		c := newCollector(t, Options{hookSet: hookSet})
		near, far := socketPair(t)
		// As long as the first segment is not acknowledged, the kernel does not add the second to it.
		for _, option := range []struct{ fd, name, value int }{{near, unix.TCP_NODELAY, 1}, {far, unix.TCP_QUICKACK, 0}} {
			if err := unix.SetsockoptInt(option.fd, unix.IPPROTO_TCP, option.name, option.value); err != nil {
				t.Fatal(err)
			}
		}
		const (
			first = "GET /abc HTTP/1.1\r\nHost: localhost\r\n\r\n"
			put   = "PUT / HTTP/1.1\r\nContent-Length: 70\r\n\r\n"
		)
		if len(first) != len(put) || len(get+get) != 70 {
			t.Fatal(len(first), len(put), len(get+get))
		}
		for _, request := range []string{first, put + get + get} {
			if _, err := unix.Write(near, []byte(request)); err != nil {
				t.Fatal(err)
			}
		}
		buffer := make([]byte, 4096)
		for _, flags := range []int{unix.MSG_PEEK, 0} {
			if n, _, err := unix.Recvfrom(far, buffer, flags); err != nil || n != len(first+put+get+get) {
				t.Fatal(n, err)
			}
		}
		for range 2 {
			if _, err := unix.Write(far, []byte(ok)); err != nil {
				t.Fatal(err)
			}
		}
		if got := gather(t, c, servers)[os.Getpid()]; got.Requests != 2 || got.Pipelined != 1 || got.Unasked != 0 || got.InFlight != 0 {
			t.Errorf("%d requests, %d pipelined, %d responses unasked, %d in flight; want 2, 1, 0 and 0", got.Requests, got.Pipelined, got.Unasked, got.InFlight)
		}
	})
}

// TestEvictedAgain has a process make room, and count again by the next gathering: from then on, and not from before.
func TestEvictedAgain(t *testing.T) {
	addresses := []string{freeAddress(t), freeAddress(t)}
	c := newCollector(t, Options{MaxProcesses: 1, Ports: only(t, addresses...)})
	pid := startGo(t, addresses[0])
	startGo(t, addresses[1])
	conn := dial(t, addresses[0])
	request(t, conn, "/200")
	request(t, dial(t, addresses[1]), "/200") // for which there is no room
	before := gather(t, c, servers)[pid]
	for range 2 {
		request(t, conn, "/200")
	}
	got := gather(t, c, servers)[pid]
	if before.Requests != 1 || got.Requests != 2 {
		t.Fatalf("%d requests, then %d", before.Requests, got.Requests)
	}
	if born := got.Latency.GetCreatedTimestamp().AsTime(); !born.After(before.Latency.GetCreatedTimestamp().AsTime()) {
		t.Errorf("counts since %s, as before it made room", born)
	}
}

func TestPorts(t *testing.T) {
	for _, tt := range []struct {
		name  string
		ports func(port uint16) Ports
		want  int
	}{
		{"included", func(p uint16) Ports { return Ports{Include: ports(p)} }, 1},
		{"another included", func(p uint16) Ports { return Ports{Include: ports(p + 1)} }, 0},
		{"excluded", func(p uint16) Ports { return Ports{Exclude: ports(p)} }, 0},
		{"included and excluded", func(p uint16) Ports { return Ports{Include: ports(p), Exclude: ports(p)} }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			address := freeAddress(t)
			c := newCollector(t, Options{Ports: tt.ports(only(t, address).Include[0].First)})
			pid := startGo(t, address)
			request(t, dial(t, address), "/200")
			if got := gather(t, c, servers)[pid].Requests; got != tt.want {
				t.Errorf("%d requests", got)
			}
		})
	}
}

func TestClients(t *testing.T) {
	eachHookSet(t, func(t *testing.T, hookSet string) {
		c := newCollector(t, Options{hookSet: hookSet, Clients: true})
		address := freeAddress(t)
		pid := startGo(t, address)
		for _, m := range modes() {
			if m.batch > 1 {
				continue // several responses in one segment are one to a client's side
			}
			t.Run(m.name, func(t *testing.T) {
				before := gather(t, c, asClients)[os.Getpid()]
				sent, err := m.send(address, scaled(1000), 2)
				if err != nil {
					t.Fatal(err)
				}
				got := difference(gather(t, c, asClients)[os.Getpid()], before)
				if got.Requests != scaled(1000) || got.class('2') != sent["200"] || got.InFlight != 0 {
					t.Errorf("%+v", got)
				}
			})
		}
		if got, ok := gather(t, c, asClients)[pid]; ok {
			t.Errorf("the server has sent requests: %+v", got)
		}
		if got, ok := gather(t, c, servers)[os.Getpid()]; ok {
			t.Errorf("the client has served requests: %+v", got)
		}
	})
}

// TestChurn opens connections faster than 100,000 a minute, while another server is counted.
func TestChurn(t *testing.T) {
	eachHookSet(t, func(t *testing.T, hookSet string) {
		n := scaled(10000)
		busy, quiet := freeAddress(t), freeAddress(t)
		c := newCollector(t, Options{hookSet: hookSet, MaxConnections: 1000, Ports: only(t, busy, quiet)})
		busyPID, quietPID := startGo(t, busy), startGo(t, quiet)
		done := make(chan error, 1)
		began := time.Now()
		go func() {
			_, err := (mode{close: true}).send(busy, n, 8)
			done <- err
		}()
		if _, err := (mode{}).send(quiet, scaled(1000), 2); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		perMinute := float64(n) / time.Since(began).Minutes()
		t.Logf("%.0f connections a minute", perMinute)
		if perMinute < 100_000 {
			t.Logf("fewer than 100,000: this machine is busy")
		}
		all := gather(t, c, servers)
		if all[busyPID].Requests != n || all[quietPID].Requests != scaled(1000) {
			t.Errorf("%d and %d requests", all[busyPID].Requests, all[quietPID].Requests)
		}
		if lost := own(t, c, "promscope_http_connections_lost_total"); lost != 0 {
			t.Errorf("%v connections lost", lost)
		}
		eventually(t, 5*time.Second, func() bool { return own(t, c, "promscope_http_connections") < 100 }, "connections are not released")
	})
}

// attempt is what the test binary says of itself in the roles that have fewer rights.
type attempt struct {
	Error, Reason, Remedy string
	Requests              int
}

// try starts a collector, serves a request, and prints what came of it.
func try() int {
	if os.Getenv("PROMSCOPE_TEST_HIDE_BTF") != "" {
		if err := unix.Mount("none", "/sys/kernel/btf", "tmpfs", 0, ""); err != nil {
			fmt.Fprintln(os.Stderr, "hiding BTF:", err)
			return 1
		}
	}
	var a attempt
	c, err := openWith(Options{})
	if err != nil {
		a.Error = err.Error()
		var known *collector.Error
		if errors.As(err, &known) {
			a.Reason, a.Remedy = known.Reason, known.Remedy
		}
	} else {
		defer c.Close()
		a.Requests = serveOne(c)
	}
	if err := json.NewEncoder(os.Stdout).Encode(a); err != nil {
		return 1
	}
	return 0
}

// serveOne answers a request to itself and returns how many the collector has counted.
func serveOne(c *load.Collector) int {
	tb := &testing.B{} // helpers that fail end the process, which the parent sees
	play(tb, "127.0.0.1:0", nil, []step{client(get), answer(ok)})
	return gather(tb, c, servers)[os.Getpid()].Requests
}

// rerun starts the test binary again with other rights.
func rerun(t *testing.T, attributes *syscall.SysProcAttr, environment ...string) attempt {
	t.Helper()
	cmd := exec.Command("/proc/self/exe") // the binary's directory may be closed to other users
	cmd.Env = append(os.Environ(), append(environment, roleVariable+"=try")...)
	cmd.SysProcAttr = attributes
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var a attempt
	if err := json.Unmarshal(out, &a); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestCapabilities(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give up capabilities one by one")
	}
	newCollector(t, Options{}).Close()
	nobody := &syscall.Credential{Uid: 65534, Gid: 65534}

	t.Run("no more than it needs", func(t *testing.T) {
		caps := []uintptr{unix.CAP_BPF, unix.CAP_PERFMON}
		a := rerun(t, &syscall.SysProcAttr{Credential: nobody, AmbientCaps: caps})
		if strings.Contains(a.Reason, "RLIMIT_MEMLOCK is too low") { // a kernel before 5.11: the remedy must help
			if !strings.Contains(a.Remedy, "grant CAP_SYS_RESOURCE") {
				t.Errorf("remedy is %q", a.Remedy)
			}
			a = rerun(t, &syscall.SysProcAttr{Credential: nobody, AmbientCaps: append(caps, unix.CAP_SYS_RESOURCE)})
		}
		if a.Error != "" || a.Requests != 1 {
			t.Errorf("%+v", a)
		}
	})
	for _, tt := range []struct {
		name    string
		caps    []uintptr
		missing string
	}{
		{"none", nil, "CAP_BPF and CAP_PERFMON"},
		{"only CAP_BPF", []uintptr{unix.CAP_BPF}, "CAP_PERFMON"},
		{"only CAP_PERFMON", []uintptr{unix.CAP_PERFMON}, "CAP_BPF"},
		{"others", []uintptr{unix.CAP_NET_ADMIN, unix.CAP_SYS_PTRACE}, "CAP_BPF and CAP_PERFMON"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := rerun(t, &syscall.SysProcAttr{Credential: nobody, AmbientCaps: tt.caps})
			if want := "not permitted to load BPF programs: " + tt.missing + " missing"; a.Reason != want {
				t.Errorf("reason is %q, want %q", a.Reason, want)
			}
			if !strings.HasPrefix(a.Remedy, "grant "+tt.missing+" ") {
				t.Errorf("remedy is %q", a.Remedy)
			}
		})
	}
	t.Run("no BTF", func(t *testing.T) {
		a := rerun(t, &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS, Unshareflags: unix.CLONE_NEWNS}, "PROMSCOPE_TEST_HIDE_BTF=1")
		if want := "the kernel does not describe its types (no BTF in /sys/kernel/btf/vmlinux)"; a.Reason != want {
			t.Errorf("reason is %q (%s), want %q", a.Reason, a.Error, want)
		}
	})
}

// TestKernelTime has the kernel count the time of the programs: KernelTime is what their series say.
func TestKernelTime(t *testing.T) {
	c := newCollector(t, Options{})
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		t.Skip(err) // before 5.8
	}
	defer stats.Close()
	play(t, "127.0.0.1:0", nil, []step{client(get), answer(ok)})
	before := c.KernelTime()
	got := time.Duration(math.Round(own(t, c, "promscope_http_hook_run_seconds_total") * float64(time.Second)))
	if after := c.KernelTime(); before == 0 || got < before || got > after {
		t.Errorf("%v before, %v as series, %v after", before, got, after)
	}
}

func TestClose(t *testing.T) {
	c := newCollector(t, Options{})
	for range 2 {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if got := gather(t, c, servers); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

// inherit is a process that is given a connection: it reads a request and answers it.
func inherit() int {
	conn := os.NewFile(3, "connection")
	if _, err := conn.Read(make([]byte, 4096)); err != nil {
		return 1
	}
	fmt.Fprint(conn, ok)
	time.Sleep(time.Minute) // the test reads this process's counts, and kills it
	return 0
}

// TestHandedOver peeks at a request and leaves it to another process, as dispatchers do: the request
// is the other's.
func TestHandedOver(t *testing.T) {
	eachHookSet(t, func(t *testing.T, hookSet string) {
		c := newCollector(t, Options{hookSet: hookSet})
		play(t, "127.0.0.1:0", nil, []step{client(get), answer(ok)}) // so that this process has series
		near, far := socketPair(t)
		if _, err := unix.Write(near, []byte(get)); err != nil {
			t.Fatal(err)
		}
		buffer := make([]byte, 4096)
		if _, _, err := unix.Recvfrom(far, buffer, unix.MSG_PEEK); err != nil {
			t.Fatal(err)
		}
		if got := gather(t, c, servers)[os.Getpid()].InFlight; got != 1 {
			t.Errorf("%d requests in flight after the peek", got)
		}
		copied, err := unix.Dup(far)
		if err != nil {
			t.Fatal(err)
		}
		file := os.NewFile(uintptr(copied), "connection")
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), roleVariable+"=inherit")
		cmd.ExtraFiles = []*os.File{file}
		pid := run(t, cmd)
		file.Close()
		if _, err := unix.Read(near, buffer); err != nil {
			t.Fatal(err)
		}
		all := gather(t, c, servers)
		if got := all[pid]; got.Requests != 1 || got.InFlight != 0 || got.Pipelined != 0 {
			t.Errorf("the process that answered: %+v", got)
		}
		if got := all[os.Getpid()]; got.Requests != 1 || got.InFlight != 0 {
			t.Errorf("the process that peeked: %d requests, %d in flight", got.Requests, got.InFlight)
		}
	})
}
