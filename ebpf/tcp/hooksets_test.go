package tcp

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"

	"github.com/promscope/promscope/ebpf/load"
	"github.com/promscope/promscope/ebpf/load/loadtest"
)

// TestHookSets has processes do so many things of each kind, and compares what is counted of
// each of them, and what the kernel counts of their network namespace.
func TestHookSets(t *testing.T) {
	for _, set := range hookSets() {
		t.Run(set.Name, func(t *testing.T) {
			before := openBefore(t)
			c := start(t, set.Name)
			t.Run("programs", func(t *testing.T) { loadtest.Verified(t, c, 5000) })
			if w := c.Programs.Warnings; len(w) > 0 {
				t.Skip(w[0].Reason) // what it counts is not exact
			}
			t.Run("before", func(t *testing.T) { before.test(t, c) })
			t.Run("MPTCP", func(t *testing.T) { before.testMPTCP(t, c) })
			t.Run("connections", func(t *testing.T) { testConnections(t, c) })
			t.Run("failures", func(t *testing.T) { testFailures(t, c) })
			t.Run("workers", func(t *testing.T) { testWorkers(t, c) })
			t.Run("credentials", func(t *testing.T) { testCredentials(t, c) })
			t.Run("changed credentials", func(t *testing.T) { testChangedCredentials(t, c) })
			t.Run("old credentials", func(t *testing.T) { testOldCredentials(t, c) })
			t.Run("heir", func(t *testing.T) { testHeir(t, c) })
			t.Run("orphan", func(t *testing.T) { testOrphan(t, c) })
			t.Run("round trips", func(t *testing.T) { testRoundTrips(t, c) })
			all := loadtest.Gather(t, c)
			if lost := all[prefix+"socket_ends_lost_total"][0].Counter.GetValue(); lost != 0 {
				t.Errorf("%v ends were missed; runs that the kernel has skipped: [%s]", lost, skippedRuns(all))
			}
		})
	}
}

// figures are what is counted of a process, by the name of the series and the value of its third label.
type figures map[string]float64

// figuresOf returns what is counted of a process, but for what it sends again: on a busy
// machine that is anything. What is 0 is not there.
func figuresOf(all map[string][]*dto.Metric, pid string) figures {
	f := figures{}
	for name, series := range all {
		for _, m := range series {
			if m.Counter == nil || m.Counter.CreatedTimestamp == nil || loadtest.Label(m, "pid") != pid {
				continue
			}
			key := strings.TrimSuffix(strings.TrimPrefix(name, prefix), "_total")
			for _, label := range []string{"direction", "reason", "port"} {
				if value := loadtest.Label(m, label); value != "" {
					key += " " + value
				}
			}
			if value := m.Counter.GetValue(); value != 0 && key != "retransmits" {
				f[key] = value
			}
		}
	}
	return f
}

// expect gathers until each process has these figures.
func expect(t *testing.T, c *load.Collector, want map[*child]figures) map[string][]*dto.Metric {
	t.Helper()
	return expectAll(t, c, func(all map[string][]*dto.Metric) (wrong string) {
		for child, want := range want {
			if diff := cmp.Diff(want, figuresOf(all, child.pid())); diff != "" {
				wrong += fmt.Sprintf("process %s: (-want +got)\n%s", child.pid(), diff)
			}
		}
		return wrong
	})
}

// expectAll gathers until nothing is wrong.
func expectAll(t *testing.T, c *load.Collector, check func(map[string][]*dto.Metric) string) map[string][]*dto.Metric {
	t.Helper()
	for deadline := time.Now().Add(8 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		all := loadtest.Gather(t, c)
		wrong := check(all)
		if wrong == "" {
			return all
		}
		if time.Now().After(deadline) {
			if skipped := skippedRuns(all); skipped != "" { // as the page and doctor say then
				t.Skipf("the kernel has skipped %s, and %s", skipped, wrong)
			}
			t.Fatal(wrong)
		}
	}
}

// skippedRuns says of which programs the kernel has skipped runs; it is empty if of none.
func skippedRuns(all map[string][]*dto.Metric) string {
	var skipped []string
	for _, m := range all[prefix+"hook_runs_missed_total"] {
		if n := m.Counter.GetValue(); n > 0 {
			skipped = append(skipped, fmt.Sprintf("%v runs of %s", n, loadtest.Label(m, "program")))
		}
	}
	return strings.Join(skipped, ", ")
}

// expectRetransmits gathers until the processes, who have a network namespace for themselves,
// have retransmitted what the kernel says, and returns that. Its count also has what listeners
// do, and what could not be sent.
func expectRetransmits(t *testing.T, c *load.Collector, children ...*child) (want int) {
	t.Helper()
	expectAll(t, c, func(all map[string][]*dto.Metric) string {
		got := 0
		for _, child := range children {
			got += int(loadtest.Find(all[prefix+"retransmits_total"], "pid", child.pid()).GetCounter().GetValue())
		}
		if want = children[0].do("counter", "snmp", "Tcp", "RetransSegs"); got != want {
			return fmt.Sprintf("%d segments were sent again, the kernel says %d", got, want)
		}
		return ""
	})
	return want
}

// plus returns the sum of figures.
func plus(all ...figures) figures {
	sum := figures{}
	for _, f := range all {
		for key, n := range f {
			sum[key] += n
		}
	}
	return sum
}

// testConnections has connections that are served, and that either end resets.
func testConnections(t *testing.T, c *load.Collector) {
	server := startChild(t, nil)
	client := startChild(t, server)
	port := server.do("listen", 128)

	const n, bytes = 20, 1000
	server.begin("accept", n, "serve")
	client.do("connect", port, n, bytes, "close")
	if got := server.done(); got != n*bytes {
		t.Errorf("the server was sent %d bytes", got)
	}
	served := figures{"connections in": n, "received_bytes": n * bytes, "sent_bytes": n * answerBytes}
	asked := figures{"connections out": n, "received_bytes": n * answerBytes, "sent_bytes": n * bytes}
	all := expect(t, c, map[*child]figures{server: served, client: asked})
	for child, name := range map[*child]string{server: "connections_total", client: "sent_bytes_total"} {
		m := loadtest.Find(all[prefix+name], "pid", child.pid())
		if created := m.GetCounter().GetCreatedTimestamp().AsTime(); time.Since(created) > time.Minute || created.After(time.Now()) {
			t.Errorf("%s begins at %v", name, created)
		}
		if comm := loadtest.Label(m, "comm"); comm == "" || !strings.Contains(client.cmd.Path, comm) {
			t.Errorf("the process is called %q", comm)
		}
	}

	// Of what is sent before a reset the server's end may have received all, or nothing: so
	// nothing is sent.
	server.begin("accept", 7, "serve")
	client.do("connect", port, 7, 0, "reset")
	server.done()
	served = plus(served, figures{"connections in": 7, "resets in": 7})
	asked = plus(asked, figures{"connections out": 7, "resets out": 7})
	expect(t, c, map[*child]figures{server: served, client: asked})

	server.begin("accept", 3, "reset")
	client.do("connect", port, 3, 0, "lose")
	server.done()
	served = plus(served, figures{"connections in": 3, "resets out": 3})
	asked = plus(asked, figures{"connections out": 3, "resets in": 3})
	expect(t, c, map[*child]figures{server: served, client: asked})
	client.do("close")

	// While they are open, and at the end of the process.
	client.do("connect", port, 4, bytes, "hold")
	server.do("accept", 4, "hold")
	server.do("drain", bytes)
	served = plus(served, figures{"connections in": 4, "received_bytes": 4 * bytes})
	asked = plus(asked, figures{"connections out": 4, "sent_bytes": 4 * bytes})
	expect(t, c, map[*child]figures{server: served, client: asked})
	expectRetransmits(t, c, server, client)
	client.do("write", bytes)
	client.end()
	server.do("drain", bytes)
	asked = plus(asked, figures{"sent_bytes": 4 * bytes})
	served = plus(served, figures{"received_bytes": 4 * bytes})
	expect(t, c, map[*child]figures{server: served, client: asked})
	server.do("close")
	expect(t, c, map[*child]figures{server: served})

	if got := server.do("counter", "snmp", "Tcp", "ActiveOpens"); got != int(asked["connections out"]) {
		t.Errorf("the kernel says that there were %d connections", got)
	}
}

// testFailures has connects that fail, and a listener whose queue is full: what comes is
// dropped, and sent again.
func testFailures(t *testing.T, c *load.Collector) {
	server := startChild(t, nil)
	client := startChild(t, server)
	full := server.do("listen", 0)
	client.do("connect", full, 1, 0, "hold") // it waits, and no other has room
	client.do("fail", 1, 5, "refused")       // port 1: nobody listens
	client.do("fail", full, 2, "abandoned")
	client.do("fail", full, 3, "shutdown")
	client.do("fail", full, 1, "timeout")
	client.do("collide", full)
	dropped := client.do("counter", "netstat", "TcpExt", "ListenDrops")
	if again := expectRetransmits(t, c, client, server); again < 1 || dropped < 4 {
		t.Fatalf("%d segments were sent again, %d connects dropped", again, dropped)
	}
	asked := figures{
		"connections out": 1, "connects_failed refused": 5, "connects_failed abandoned": 2 + 3 + 1, "connects_failed timeout": 1,
		"connects_failed other": 1,
	}
	served := figures{"listen_drops": float64(dropped)}
	open := figures{"listener_drops " + strconv.Itoa(full): float64(dropped)}
	expect(t, c, map[*child]figures{client: asked, server: plus(served, open)})

	// The connection that nobody has accepted ends with the listener.
	server.do("unlisten")
	expect(t, c, map[*child]figures{
		client: plus(asked, figures{"resets in": 1}),
		server: plus(served, figures{"connections in": 1, "resets out": 1}),
	})
}

// testWorkers has a process accept on the listener of another.
func testWorkers(t *testing.T, c *load.Collector) {
	server := startChild(t, nil)
	worker := startChild(t, server)
	client := startChild(t, server)
	port := server.do("listen", 128)
	worker.do("take", server.pid(), server.do("listener"))

	client.do("connect", port, 5, 10, "hold")
	worker.do("accept", 3, "hold")
	worker.do("drain", 10)
	server.do("accept", 2, "hold")
	server.do("drain", 10)
	want := map[*child]figures{
		client: {"connections out": 5, "sent_bytes": 50},
		worker: {"connections in": 3, "received_bytes": 30},
		server: {"connections in": 2, "received_bytes": 20},
	}
	expect(t, c, want)
	// At once: the worker's connections come and go between two gatherings.
	worker.begin("accept", 6, "serve")
	client.do("connect", port, 6, 10, "close")
	worker.done()
	worker.do("close")
	server.do("close")
	want[client] = plus(want[client], figures{"connections out": 6, "sent_bytes": 60, "received_bytes": 6 * answerBytes})
	want[worker] = plus(want[worker], figures{"connections in": 6, "received_bytes": 60, "sent_bytes": 6 * answerBytes})
	expect(t, c, want)
	// And one that its client resets, before the worker has done anything with it.
	worker.begin("accept", 2, "hold")
	client.do("connect", port, 2, 0, "reset")
	worker.done()
	want[client] = plus(want[client], figures{"connections out": 2, "resets out": 2})
	expect(t, c, map[*child]figures{client: want[client]})
	// It may have been reset before it was accepted: then it is the listener's.
	both := plus(want[worker], want[server], figures{"connections in": 2, "resets in": 2})
	expectAll(t, c, func(all map[string][]*dto.Metric) string {
		return cmp.Diff(both, plus(figuresOf(all, worker.pid()), figuresOf(all, server.pid())))
	})
}

// testCredentials has a thread with credentials of its own accept connections.
func testCredentials(t *testing.T, c *load.Collector) {
	server := startChild(t, nil)
	client := startChild(t, server)
	port := server.do("listen", 128)
	client.do("connect", port, 3, 10, "hold")
	server.do("accept-apart", 3)
	server.do("drain", 10)
	expect(t, c, map[*child]figures{
		client: {"connections out": 3, "sent_bytes": 30},
		server: {"connections in": 3, "received_bytes": 30},
	})
}

// testChangedCredentials has a process change its credentials before anybody knows what it has accepted with the old ones.
func testChangedCredentials(t *testing.T, c *load.Collector) {
	server := startChild(t, nil)
	client := startChild(t, server)
	port := server.do("listen", 128)
	client.do("connect", port, 3, 10, "hold")
	server.do("accept-changing", 3)
	server.do("drain", 10)
	expect(t, c, map[*child]figures{
		client: {"connections out": 3, "sent_bytes": 30},
		server: {"connections in": 3, "received_bytes": 30},
	})
	client.do("write", 10)
	server.do("drain", 10)
	server.do("close")
	expect(t, c, map[*child]figures{server: {"connections in": 3, "received_bytes": 60}})
}

// testOldCredentials has a process accept whose credentials are where those of another one were.
func testOldCredentials(t *testing.T, c *load.Collector) {
	server := startChild(t, nil)
	worker := startChild(t, server)
	client := startChild(t, server)
	port := server.do("listen", 128)
	worker.do("take", server.pid(), server.do("listener"))
	client.do("connect", port, 1, 10, "hold")
	worker.do("accept", 1, "hold")
	worker.do("drain", 10)
	known := figures{"connections in": 1, "received_bytes": 10}
	expect(t, c, map[*child]figures{worker: known})

	creds := c.Reader.(*reader).creds
	for cred, o := range creds.of {
		if o.tgid() != uint64(worker.cmd.Process.Pid) {
			continue
		}
		if err := creds.m.Put(cred, &living{Owner: 1<<22 | owner(server.cmd.Process.Pid), Cred: cred}); err != nil {
			t.Fatal(err)
		}
	}
	worker.begin("accept", 4, "serve")
	client.do("connect", port, 4, 10, "close")
	worker.done()
	expect(t, c, map[*child]figures{
		worker: plus(known, figures{"connections in": 4, "received_bytes": 40, "sent_bytes": 4 * answerBytes}),
		server: {},
	})
}

// testHeir has a process end while another has its sockets, as a server does that goes to the background.
func testHeir(t *testing.T, c *load.Collector) {
	const before, after = 100_000, 10_000
	parent := startChild(t, nil)
	heir := startChild(t, parent)
	peer := startChild(t, parent)
	port := peer.do("listen", 128)
	full := parent.do("listen", 0)
	heir.do("take", parent.pid(), parent.do("listener"))
	parent.do("connect", port, 1, before, "hold")
	heir.do("take-held", parent.pid(), parent.do("held"))
	peer.do("accept", 1, "hold")
	peer.do("drain", before)
	peer.do("connect", full, 1, 0, "hold") // it waits, and no other has room
	peer.do("fail", full, 2, "abandoned")
	expect(t, c, map[*child]figures{
		parent: {"connections out": 1, "sent_bytes": before, "listen_drops": 2, "listener_drops " + strconv.Itoa(full): 2},
		heir:   {},
	})
	parent.end()
	// Whoever accepts this is looked for: so it is seen that the parent has ended.
	peer.do("connect", port, 1, 0, "hold")
	peer.do("accept", 1, "hold")
	loadtest.Gather(t, c)

	// What the sockets have done stays the parent's. The heir has what they do from now on.
	var had counts
	if err := load.ReadMap(c.Programs.Collection.Maps[mapProcesses], func(o owner, counted *counted) {
		if o.tgid() == uint64(parent.cmd.Process.Pid) {
			had = counted.Counts
		}
	}); err != nil {
		t.Fatal(err)
	}
	if had[connectionsOut] != 1 || had[bytesSent] != before || had[listenDrops] != 2 {
		t.Errorf("the parent has %v", had)
	}
	heir.do("write", after)
	peer.do("fail", full, 3, "abandoned")
	want := figures{"sent_bytes": after, "listen_drops": 3, "listener_drops " + strconv.Itoa(full): 3}
	expect(t, c, map[*child]figures{heir: want})
	heir.do("close")
	expect(t, c, map[*child]figures{heir: want})
}

// testOrphan has a process end that has sent more than its peer takes. What its socket does when the
// process has no series any more is the host's, and nothing else.
func testOrphan(t *testing.T, c *load.Collector) {
	const bytes = 400_000
	server := startChild(t, nil)
	client := startChild(t, server)
	port := server.do("listen", 128)
	client.do("connect", port, 1, bytes, "hold")
	server.do("accept", 1, "hold")
	sent := func(all map[string][]*dto.Metric, pid string) float64 {
		return loadtest.Find(all[prefix+"sent_bytes_total"], "pid", pid).GetCounter().GetValue()
	}
	expectAll(t, c, func(all map[string][]*dto.Metric) string {
		if sent(all, client.pid()) == 0 {
			return "the client has sent nothing"
		}
		return ""
	})
	client.end()
	var before, last float64
	expectAll(t, c, func(all map[string][]*dto.Metric) string {
		if n := sent(all, client.pid()); n != 0 {
			last = n
			return "the client that has ended has series"
		}
		before = sent(all, "")
		return ""
	})
	if last > bytes/2 {
		t.Fatalf("%v of %d bytes were sent at once", last, bytes)
	}
	server.do("drain", bytes)
	server.do("close")
	expectAll(t, c, func(all map[string][]*dto.Metric) string {
		// Others of the host may send something, too.
		if n := sent(all, "") - before; n < bytes-last || n > bytes-last/2 {
			return fmt.Sprintf("the host has sent %v bytes, want %v", n, bytes-last)
		}
		return ""
	})
}

// testRoundTrips compares round-trip times with what TCP_INFO says of the same sockets.
func testRoundTrips(t *testing.T, c *load.Collector) {
	server := startChild(t, nil)
	client := startChild(t, server)
	const connections = 3
	port := server.do("listen", 128)
	client.do("connect", port, connections, 0, "hold")
	server.do("accept", connections, "hold")
	observed := func() (count uint64, microseconds int) {
		loadtest.Gather(t, c) // what is observed in one gathering is in the next
		s := loadtest.Find(loadtest.Gather(t, c)[prefix+"round_trip_seconds"], "pid", client.pid()).GetSummary()
		return s.GetSampleCount(), int(math.Round(s.GetSampleSum() * 1e6))
	}

	beforeCount, before := observed()
	if beforeCount != connections { // the handshake's
		t.Errorf("%d observations of %d connections", beforeCount, connections)
	}
	client.do("write", 100)
	server.do("drain", 100)
	want := client.do("roundtrips")
	count, after := observed()
	if count != beforeCount+connections || after-before != want {
		t.Errorf("%d observations of %d us, want %d of %d us", count-beforeCount, after-before, connections, want)
	}
	if again, _ := observed(); again != count {
		t.Errorf("%d observations more, while nothing is sent", again-count)
	}
	// What is closed before the next gathering counts, too.
	client.do("connect", port, 1, 0, "hold")
	server.do("accept", 1, "hold")
	client.do("close")
	server.do("close")
	expectAll(t, c, func(all map[string][]*dto.Metric) string {
		s := loadtest.Find(all[prefix+"round_trip_seconds"], "pid", client.pid()).GetSummary()
		if got := s.GetSampleCount(); got <= count+connections {
			return fmt.Sprintf("%d observations, and %d before connections ended", got, count)
		}
		return ""
	})
}

// before has connections that were open before the collector.
type before struct {
	server, client *child
	port           int
	mptcp          *child // nil if this kernel has none
	mptcpPort      int
}

func openBefore(t *testing.T) before {
	b := before{server: startChild(t, nil)}
	b.client = startChild(t, b.server)
	b.port = b.server.do("listen", 128)
	b.client.do("connect", b.port, 2, 100, "hold")
	b.server.do("accept", 2, "hold")
	b.server.do("drain", 100)
	b.mptcp = startChild(t, b.server)
	b.mptcp.begin("listen-mptcp", 0)
	var err error
	if b.mptcpPort, err = b.mptcp.tryDone(); err != nil {
		b.mptcp = nil
	}
	return b
}

// test looks that what they do from then on counts, and not that they are.
func (b before) test(t *testing.T, c *load.Collector) {
	expect(t, c, map[*child]figures{b.server: {}, b.client: {}})
	b.client.do("write", 11)
	b.server.do("drain", 11)
	want := map[*child]figures{b.client: {"sent_bytes": 22}, b.server: {"received_bytes": 22}}
	expect(t, c, want)
	b.client.do("close")
	b.server.do("close")
	expect(t, c, want)
	// The listener is known.
	b.client.do("connect", b.port, 1, 0, "hold")
	b.server.do("accept", 1, "hold")
	expect(t, c, map[*child]figures{
		b.client: plus(want[b.client], figures{"connections out": 1}),
		b.server: plus(want[b.server], figures{"connections in": 1}),
	})
}

// testMPTCP looks that a listener is known that also takes connections of MPTCP.
func (b before) testMPTCP(t *testing.T, c *load.Collector) {
	if b.mptcp == nil {
		t.Skip("this kernel has no MPTCP")
	}
	client := startChild(t, b.server)
	client.do("connect", b.mptcpPort, 1, 0, "hold") // it waits, and no other has room
	client.do("fail", b.mptcpPort, 2, "abandoned")
	expect(t, c, map[*child]figures{
		client:  {"connections out": 1, "connects_failed abandoned": 2},
		b.mptcp: {"listen_drops": 2, "listener_drops " + strconv.Itoa(b.mptcpPort): 2},
	})
}
