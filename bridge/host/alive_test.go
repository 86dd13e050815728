package host

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/bridge/host/hosttest"
)

func TestAliveProcess(t *testing.T) {
	tree, m := fixture(t)
	at := tree.Now()
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
	tree.Advance(freshFor)
	if m.Alive("Process", "100", at) {
		t.Error("alive after it ended")
	}
}

// A pid that was given to another process since the sample names another node.
func TestAliveReused(t *testing.T) {
	tree, m := fixture(t)
	start := func(at time.Time) uint64 { return uint64(at.Sub(tree.Boot()) / tick) }
	sample := tree.Now().Add(-3 * time.Second)

	tree.Add(hosttest.Process{PID: 100, Comm: "old", StartTicks: start(tree.Now().Add(-time.Hour))})
	if !m.Alive("Process", "100", sample) {
		t.Fatal("dead while it lives")
	}
	tree.Add(hosttest.Process{PID: 100, Comm: "new", StartTicks: start(tree.Now().Add(-time.Second))})
	tree.Advance(freshFor)
	if m.Alive("Process", "100", sample) {
		t.Error("the sample of the old process is on the new one")
	}
	if !m.Alive("Process", "100", tree.Now()) {
		t.Error("the new process is dead")
	}
	if !m.Alive("Process", "100", tree.Now().Add(-time.Second)) {
		t.Error("a sample of the very start is refused")
	}
}

// The clock is set back after a process was seen: it did not start in the future.
func TestAliveClockSet(t *testing.T) {
	tree, m := fixture(t)
	tree.Add(hosttest.Process{PID: 100, Comm: "young", StartTicks: uint64((hosttest.Uptime - time.Second) / tick)})
	if !m.Alive("Process", "100", tree.Now()) {
		t.Fatal("dead while it lives")
	}
	tree.Advance(-time.Hour)
	if !m.Alive("Process", "100", tree.Now()) {
		t.Error("dead after the clock was set back")
	}
}

func TestAliveForgets(t *testing.T) {
	tree, m := fixture(t)
	for pid := 100; pid < 110; pid++ {
		tree.Add(hosttest.Process{PID: pid, Comm: "p"})
		m.Alive("Process", strconv.Itoa(pid), tree.Now())
	}
	tree.Advance(idleAfter)
	m.Alive("Process", "100", tree.Now())
	if n := len(m.processes.processes); n != 1 {
		t.Errorf("%d processes remembered, of which one is asked about", n)
	}
}

func TestAliveGroups(t *testing.T) {
	tree, m := fixture(t)
	cgroup := "0::/kubepods.slice/kubepods-pod" + uidDashed + ".slice/cri-containerd-" + idA + ".scope\n"
	alive := func() (container, pod bool) {
		return m.Alive("Container", idA, tree.Now()), m.Alive("Pod", uid, tree.Now())
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
	tree.Advance(indexInterval)
	expect("with two processes", true)
	tree.Remove(100)
	tree.Advance(freshFor)
	expect("with the younger one", true)
	tree.Add(hosttest.Process{PID: 101, PPID: 1, Comm: "other", StartTicks: 5000})
	tree.Advance(freshFor)
	expect("with its last pid reused", false)

	if m.Alive("Container", "", tree.Now()) || m.Alive("Pod", "", tree.Now()) {
		t.Error("no id is a group")
	}
}

// All processes are gone through for a container that is not known or has lost all that
// were known, and neither for a sample that is older than its container nor for each loss.
func TestAliveGroupsIndex(t *testing.T) {
	tree, m := fixture(t)
	add := func(pid int, container string) {
		tree.Add(hosttest.Process{PID: pid, PPID: 1, Comm: "p", Cgroup: "0::/docker/" + container + "\n"})
	}
	add(100, idA)
	add(101, idA)
	add(102, idA)
	add(200, idB)
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
	remove := func(pid int) {
		tree.Remove(pid)
		tree.Advance(freshFor)
	}
	expect("new", idA, tree.Now(), true, true)
	tree.Advance(indexInterval)
	expect("known", idA, tree.Now(), true, false)
	expect("a sample from before it", idA, tree.Boot().Add(-time.Hour), false, false)
	remove(100)
	expect("its oldest has gone", idA, tree.Now(), true, false)
	remove(101)
	expect("the next one, too", idA, tree.Now(), true, false)
	add(103, idA)
	remove(102)
	expect("all that were known have gone", idA, tree.Now(), true, true)
	add(201, idB)
	remove(200)
	expect("too early to look again", idB, tree.Now(), false, false)
	tree.Advance(indexInterval)
	expect("looked again", idB, tree.Now(), true, true)
}

// While there are no file descriptors to look through all processes with, those that are
// known stay so.
func TestNoFileDescriptors(t *testing.T) {
	tree, m := fixture(t)
	const ns = 4026531999
	tree.Add(hosttest.Process{PID: 100, PPID: 1, Comm: "p", Cgroup: "0::/docker/" + idA + "\n", PIDNS: ns, NSPIDs: []int{100, 7}})
	expect := func(when string, want bool) {
		t.Helper()
		if got := m.Alive("Container", idA, tree.Now()); got != want {
			t.Errorf("%s: alive: %v", when, got)
		}
		if _, got := m.pids.lookup(ns, 7); got != want {
			t.Errorf("%s: translated: %v", when, got)
		}
	}
	expect("before", true)
	tree.Advance(indexInterval)
	withoutFileDescriptors(t, func() {
		expect("without", false)
		if m.Alive("Container", idB, tree.Now()) {
			t.Error("another container is alive")
		}
	})
	expect("again", true)
}

// withoutFileDescriptors runs a function while this process may open no files.
func withoutFileDescriptors(t *testing.T, do func()) {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
	}()
	do()
}

// Nobody waits for a look through all processes but those who ask for what is not known.
func TestKnownDoNotWait(t *testing.T) {
	tree, m := fixture(t)
	const ns = 4026531999
	tree.Add(hosttest.Process{PID: 100, PPID: 1, Comm: "p", Cgroup: "0::/docker/" + idA + "\n", PIDNS: ns, NSPIDs: []int{100, 7}})
	m.Alive("Container", idA, tree.Now())
	m.pids.lookup(ns, 7)
	m.groups.looking.Lock()
	m.pids.looking.Lock()
	if !m.Alive("Container", idA, tree.Now()) {
		t.Error("dead while it lives")
	}
	if pid, ok := m.pids.lookup(ns, 7); pid != 100 {
		t.Errorf("translated to %d (%v)", pid, ok)
	}
}

func TestAliveReal(t *testing.T) {
	watched, polled := realMachine(t), realMachine(t)
	polled.processes.maxWatches = 0 // as without pidfds
	for _, m := range []*Machine{watched, polled} {
		if !m.Alive("Process", strconv.Itoa(os.Getpid()), time.Now()) {
			t.Error("this process is dead")
		}
		h := hosttest.Start(t, "sleep", 0)
		id := strconv.Itoa(h.PID)
		if !m.Alive("Process", id, time.Now()) {
			t.Error("dead while it lives")
		}
		if m.Alive("Process", id, time.Now().Add(-time.Minute)) {
			t.Error("alive before it started")
		}
		h.Stop()
		time.Sleep(freshFor)
		if m.Alive("Process", id, time.Now()) {
			t.Error("alive after it ended")
		}
	}
}

// Of a process that is watched, the exit is heard of.
func TestOnExit(t *testing.T) {
	exits := make(chan struct{}, 2)
	m := newTestMachine(t, Options{OnExit: func() { exits <- struct{}{} }})
	h, other := hosttest.Start(t, "sleep", 0), hosttest.Start(t, "sleep", 0)
	id, otherID := strconv.Itoa(h.PID), strconv.Itoa(other.PID)
	now := time.Now()
	m.Alive("Process", id, now)
	m.Alive("Process", otherID, now)
	if m.processes.watches != 2 {
		t.Skip("needs pidfds")
	}
	h.Stop()
	select {
	case <-exits:
	case <-time.After(5 * time.Second):
		t.Fatal("no callback")
	}
	if m.Alive("Process", id, now) {
		t.Error("alive after it ended")
	}
	if !m.Alive("Process", otherID, now) {
		t.Error("the other one ended, too")
	}
	if len(exits) > 0 {
		t.Error("a callback for the other one")
	}
}

// No more processes are watched than file descriptors are for it; each is given back
// when nobody asks any more, when the process ended, and at the end.
func TestWatchesAreFreed(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	now := time.Now()
	m := newTestMachine(t, Options{Now: func() time.Time { return now }})
	m.processes.maxWatches = 2
	before := openFiles(t)
	var helpers []hosttest.Helper
	for range 3 {
		h := hosttest.Start(t, "sleep", 0)
		helpers = append(helpers, h)
		defer h.Stop()
	}
	pipes := openFiles(t) - before
	expect := func(what string, alive, watches int) {
		t.Helper()
		for i, h := range helpers {
			if got := m.Alive("Process", strconv.Itoa(h.PID), now); got != (i >= len(helpers)-alive) {
				t.Errorf("%s: process %d alive: %v", what, i, got)
			}
		}
		if m.processes.watches != watches {
			t.Errorf("%s: %d watches, want %d", what, m.processes.watches, watches)
		}
	}
	expect("one too many", 3, 2)
	if got := openFiles(t) - before - pipes; got != 2 {
		t.Errorf("%d file descriptors for two watches", got)
	}
	helpers[0].Stop()
	helpers[1].Stop()
	time.Sleep(freshFor)
	now = now.Add(idleAfter)
	expect("both that were watched have ended: the third is watched", 1, 1)
	now = now.Add(idleAfter)
	m.Alive("Process", strconv.Itoa(os.Getpid()), now)
	if m.processes.watches != 1 {
		t.Errorf("%d watches, of which one is asked about", m.processes.watches)
	}
	m.Close()
	if got := m.processes.watches; got != 0 {
		t.Errorf("%d watches are left", got)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// Of a process seen just now the answer is at hand.
func TestAliveFresh(t *testing.T) {
	tree, m := fixture(t)
	tree.Add(hosttest.Process{PID: 100, Comm: "p"})
	for range 3 {
		tree.Advance(freshFor)
		if !m.Alive("Process", "100", tree.Now()) {
			t.Fatal("dead while it lives")
		}
	}
	tree.Remove(100)
	tree.Advance(freshFor - 1)
	if !m.Alive("Process", "100", tree.Now()) {
		t.Error("asked again so soon")
	}
	tree.Advance(1)
	if m.Alive("Process", "100", tree.Now()) {
		t.Error("alive after it ended")
	}
}

func BenchmarkAlive(b *testing.B) {
	for _, bm := range []struct {
		name       string
		maxWatches int
		step       time.Duration // between two questions
	}{
		{"watched", 1, freshFor},
		{"polled, fresh", 0, 0},
		{"polled", 0, freshFor},
	} {
		b.Run(bm.name, func(b *testing.B) {
			now := time.Now()
			m := newTestMachine(b, Options{Now: func() time.Time { return now }})
			m.processes.maxWatches = bm.maxWatches
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

// What it costs to look through all processes for those of containers and of other pid
// namespaces.
func BenchmarkIndexes(b *testing.B) {
	const processes, containers = 2000, 100
	tree := hosttest.New(b)
	for i := range processes {
		p := hosttest.Process{PID: 1000 + i, PPID: 1, Comm: "process"}
		if i < containers {
			p.PIDNS, p.NSPIDs = 6000+uint64(i), []int{p.PID, 1}
			p.Cgroup = fmt.Sprintf("0::/system.slice/docker-%064x.scope\n", i)
		}
		tree.Add(p)
	}
	m := newTestMachine(b, Options{ProcRoot: tree.Root})
	b.Run("containers", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if groups, err := m.groupMembers(); len(groups) != containers {
				b.Fatal(len(groups), err)
			}
		}
	})
	b.Run("pid namespaces", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if pids, err := m.namespacePIDs(); len(pids) != containers {
				b.Fatal(len(pids), err)
			}
		}
	})
}
