package host

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/promscope/promscope/bridge/host/hosttest"
)

func TestAliveProcess(t *testing.T) {
	tree, m, clock := fixture(t)
	at := clock.now
	tree.Add(hosttest.Process{PID: 100, PPID: 1, Comm: "exporter"})
	tree.Add(hosttest.Process{PID: 101, PPID: 1, Comm: "defunct", State: "Z"})
	for id, want := range map[string]bool{"100": true, "101": false, "102": false, "": false, "x": false, "-1": false} {
		if got := m.Alive("Process", id, at); got != want {
			t.Errorf("process %q alive: %v", id, got)
		}
	}
	if !m.Alive("Host", "whatever", at) {
		t.Error("the host is dead")
	}
	if m.Alive("Service", "100", at) {
		t.Error("a topology that is not known has a node")
	}
	tree.Remove(100)
	clock.advance(freshFor)
	if m.Alive("Process", "100", at) {
		t.Error("alive after it ended")
	}
}

// A pid that was given to another process since the sample names another node.
func TestAliveReused(t *testing.T) {
	tree, m, clock := fixture(t)
	start := func(at time.Time) uint64 { return uint64(at.Sub(clock.boot()) / tick) }
	sample := clock.now.Add(-3 * time.Second)

	tree.Add(hosttest.Process{PID: 100, Comm: "old", StartTicks: start(clock.now.Add(-time.Hour))})
	if !m.Alive("Process", "100", sample) {
		t.Fatal("dead while it lives")
	}
	tree.Add(hosttest.Process{PID: 100, Comm: "new", StartTicks: start(clock.now.Add(-time.Second))})
	clock.advance(freshFor)
	if m.Alive("Process", "100", sample) {
		t.Error("the sample of the old process is on the new one")
	}
	if !m.Alive("Process", "100", clock.now) {
		t.Error("the new process is dead")
	}
	if !m.Alive("Process", "100", clock.now.Add(-time.Second)) {
		t.Error("a sample of the very start is refused")
	}
}

// The clock is set back after a process was seen: it did not start in the future.
func TestAliveClockSet(t *testing.T) {
	tree, m, clock := fixture(t)
	tree.Add(hosttest.Process{PID: 100, Comm: "young", StartTicks: uint64((hosttest.Uptime - time.Second) / tick)})
	if !m.Alive("Process", "100", clock.now) {
		t.Fatal("dead while it lives")
	}
	clock.advance(-time.Hour)
	if !m.Alive("Process", "100", clock.now) {
		t.Error("dead after the clock was set back")
	}
}

func TestAliveForgets(t *testing.T) {
	tree, m, clock := fixture(t)
	for pid := 100; pid < 110; pid++ {
		tree.Add(hosttest.Process{PID: pid, Comm: "p"})
		m.Alive("Process", strconv.Itoa(pid), clock.now)
	}
	clock.advance(idleAfter)
	m.Alive("Process", "100", clock.now)
	if n := len(m.processes.processes); n != 1 {
		t.Errorf("%d processes remembered, of which one is asked about", n)
	}
}

func TestAliveGroups(t *testing.T) {
	tree, m, clock := fixture(t)
	cgroup := "0::/kubepods.slice/kubepods-pod" + uidDashed + ".slice/cri-containerd-" + idA + ".scope\n"
	alive := func() (container, pod bool) {
		return m.Alive("Container", idA, clock.now), m.Alive("Pod", uid, clock.now)
	}
	expect := func(what string, want bool) {
		t.Helper()
		if container, pod := alive(); container != want || pod != want {
			t.Errorf("%s: container %v, pod %v, want %v", what, container, pod, want)
		}
	}
	expect("before it exists", false)
	tree.Add(hosttest.Process{PID: 100, PPID: 1, Comm: "init", Cgroup: cgroup})
	tree.Add(hosttest.Process{PID: 101, PPID: 100, Comm: "child", Cgroup: cgroup})
	clock.advance(indexInterval)
	expect("with two processes", true)
	tree.Remove(100)
	clock.advance(freshFor)
	expect("with the younger one", true)
	tree.Add(hosttest.Process{PID: 101, PPID: 1, Comm: "other", StartTicks: 5000})
	clock.advance(freshFor)
	expect("with its last pid reused", false)

	if m.Alive("Container", "", clock.now) || m.Alive("Pod", "", clock.now) {
		t.Error("no id is a group")
	}
}

// All processes are gone through for what is new, and neither for a sample that is
// older than its container nor for each loss.
func TestAliveGroupsIndex(t *testing.T) {
	tree, m, clock := fixture(t)
	add := func(pid int, container string) {
		tree.Add(hosttest.Process{PID: pid, PPID: 1, Comm: "p", Cgroup: "0::/docker/" + container + "\n"})
	}
	for pid := range 2 {
		add(100+pid, idA)
		add(200+pid, idB)
	}
	expect := func(what, id string, at time.Time, want, walk bool) {
		t.Helper()
		before := m.groups.built
		if got := m.Alive("Container", id, at); got != want {
			t.Errorf("%s: alive: %v", what, got)
		}
		if got := m.groups.built != before; got != walk {
			t.Errorf("%s: all processes were gone through: %v", what, got)
		}
	}
	expect("new", idA, clock.now, true, true)
	clock.advance(indexInterval)
	expect("known", idA, clock.now, true, false)
	expect("a sample from before it", idA, clock.boot().Add(-time.Hour), false, false)
	tree.Remove(100)
	clock.advance(freshFor)
	expect("its oldest has gone", idA, clock.now, true, true)
	tree.Remove(200)
	clock.advance(freshFor)
	expect("another's has gone", idB, clock.now, true, true)
	add(102, idA)
	tree.Remove(101)
	clock.advance(freshFor)
	expect("one after the other", idA, clock.now, false, false)
	clock.advance(indexInterval)
	expect("looked again", idA, clock.now, true, true)
}

func TestAliveReal(t *testing.T) {
	m := realMachine(t)
	if !m.Alive("Process", strconv.Itoa(os.Getpid()), time.Now()) {
		t.Error("this process is dead")
	}
	h := startHelper(t, "sleep", 0)
	id := strconv.Itoa(h.pid)
	if !m.Alive("Process", id, time.Now()) {
		t.Error("dead while it lives")
	}
	if m.Alive("Process", id, time.Now().Add(-time.Minute)) {
		t.Error("alive before it started")
	}
	h.stop()
	time.Sleep(freshFor)
	if m.Alive("Process", id, time.Now()) {
		t.Error("alive after it ended")
	}
}

func TestOnExit(t *testing.T) {
	exits := make(chan int, 1)
	m := newTestMachine(t, Options{OnExit: func(pid int) { exits <- pid }})
	if m.processes.watcher == nil {
		t.Skip("needs pidfds")
	}
	h := startHelper(t, "sleep", 0)
	m.Alive("Process", strconv.Itoa(h.pid), time.Now())
	h.stop()
	select {
	case pid := <-exits:
		if pid != h.pid {
			t.Errorf("exit of %d, want %d", pid, h.pid)
		}
	case <-time.After(5 * time.Second):
		t.Error("no callback")
	}
}

// Without pidfds, or beyond their limit, the answers are the same.
func TestAlivePolled(t *testing.T) {
	m := newTestMachine(t, Options{MaxWatches: -1})
	h := startHelper(t, "sleep", 0)
	if !m.Alive("Process", strconv.Itoa(h.pid), time.Now()) {
		t.Error("dead while it lives")
	}
	h.stop()
	time.Sleep(freshFor)
	if m.Alive("Process", strconv.Itoa(h.pid), time.Now()) {
		t.Error("alive after it ended")
	}
}

// Of a process seen just now the answer is at hand.
func TestAliveFresh(t *testing.T) {
	tree, m, clock := fixture(t)
	tree.Add(hosttest.Process{PID: 100, Comm: "p"})
	for range 3 {
		clock.advance(freshFor)
		if !m.Alive("Process", "100", clock.now) {
			t.Fatal("dead while it lives")
		}
	}
	tree.Remove(100)
	clock.advance(freshFor - 1)
	if !m.Alive("Process", "100", clock.now) {
		t.Error("asked again so soon")
	}
	clock.advance(1)
	if m.Alive("Process", "100", clock.now) {
		t.Error("alive after it ended")
	}
}

func BenchmarkAlive(b *testing.B) {
	for _, bm := range []struct {
		name string
		opts Options
		step time.Duration // between two questions
	}{
		{"fresh", Options{}, 0},
		{"watched", Options{}, freshForWatched},
		{"polled", Options{MaxWatches: -1}, freshFor},
	} {
		b.Run(bm.name, func(b *testing.B) {
			now := time.Now()
			bm.opts.Now = func() time.Time { return now }
			m, err := New(bm.opts, nil)
			if err != nil {
				b.Fatal(err)
			}
			defer m.Close()
			id := strconv.Itoa(os.Getpid())
			b.ReportAllocs()
			for b.Loop() {
				now = now.Add(bm.step)
				if !m.Alive("Process", id, now) {
					b.Fatal("dead")
				}
			}
		})
	}
}
