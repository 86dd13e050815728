package wait

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/ebpf/load"
	"github.com/promscope/promscope/ebpf/load/loadtest"
)

// TestHookSets compares what the programs count with what the kernel says elsewhere.
func TestHookSets(t *testing.T) {
	for _, set := range hookSets() {
		t.Run(set.Name, func(t *testing.T) {
			c := newCollector(t)
			t.Run("programs", func(t *testing.T) { loadtest.Verified(t, c, 10_000) })
			t.Run("spinners", func(t *testing.T) { testSpinners(t, c) })
			t.Run("threads", func(t *testing.T) { testThreads(t, c) })
			t.Run("exec", func(t *testing.T) { testExec(t, c) })
			t.Run("reads", func(t *testing.T) { testReads(t, c) })
			t.Run("exit", func(t *testing.T) { testExit(t, c) })
		})
	}
}

// testSpinners has three processes share a CPU: each waits two thirds of the time. They are
// stopped when they are looked at, so that no wait is half over, and the kernel's own count for
// each is what the collector has to say. So is its count for all threads of the machine what
// the histogram has, where no thread has exited meanwhile.
func testSpinners(t *testing.T, c *load.Collector) {
	const n = 3
	var (
		children [n]*child
		waited   [n]time.Duration
	)
	for i := range children {
		children[i] = startPinned(t, "spin")
	}
	time.Sleep(100 * time.Millisecond) // until they spin
	for i, child := range children {
		child.stop(t)
		waited[i] = waitedOf(t, child)
	}
	startedBefore := threadsStarted(t)
	outerBefore := schedstats(t, "[0-9]*")
	familiesBefore := loadtest.Gather(t, c)
	innerBefore := schedstats(t, "[0-9]*")

	began := time.Now()
	for _, child := range children {
		if err := child.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(2 * time.Second)
	for _, child := range children {
		child.stop(t)
	}
	took := time.Since(began).Seconds()

	inner := since(innerBefore, schedstats(t, "[0-9]*"))
	families := loadtest.Gather(t, c)
	outer := since(outerBefore, schedstats(t, "[0-9]*"))
	outer.exited += threadsStarted(t) - startedBefore - outer.started
	for i, child := range children {
		got := seconds(families, cpuSeconds, child) - seconds(familiesBefore, cpuSeconds, child)
		want := (waitedOf(t, child) - waited[i]).Seconds()
		t.Logf("waited %.4f s of %.2f s; schedstat has %.4f s", got, took, want)
		if !within(got, want, 0.02) {
			t.Errorf("waited %.4f s, want %.4f s", got, want)
		}
		if want < 0.6*took {
			t.Errorf("schedstat has %.4f s of %.2f s: three processes do not share a CPU", want, took)
		}
	}

	before, h := histogramOf(t, familiesBefore), histogramOf(t, families)
	sum, count := h.sum-before.sum, h.count-before.count
	t.Logf("all threads waited %.0f times, %.4f s; schedstat has from %+v to %+v", count, sum, inner, outer)
	if sum < 0.98*inner.waited || count < 0.98*inner.times {
		t.Error("the histogram has too little")
	}
	// Of threads that have exited there is nothing left to compare with.
	if outer.exited == 0 && (sum > 1.02*outer.waited || count > 1.02*outer.times) {
		t.Error("the histogram has too much")
	}
	if least, most := h.least-before.least, h.most-before.most; sum < least || sum > most {
		t.Errorf("waits of %.4f s cannot be in these buckets, which hold from %.4f s to %.4f s", sum, least, most)
	}
}

// summary is what a histogram says: its sum in seconds, and between which two that must be by its buckets.
type summary struct{ count, sum, least, most float64 }

func histogramOf(t *testing.T, families map[string][]*dto.Metric) (s summary) {
	t.Helper()
	h := families["promscope_runqueue_latency_seconds"][0].GetHistogram()
	s.sum, s.count = h.GetSampleSum(), float64(h.GetSampleCount())
	var under, bound float64
	for _, b := range h.GetBucket() {
		n := float64(b.GetCumulativeCount()) - under
		s.least += n * bound
		bound, under = b.GetUpperBound(), float64(b.GetCumulativeCount())
		s.most += n * bound
	}
	if over := s.count - under; over > 0 {
		s.least += over * bound
		s.most += s.sum // as long as it takes
	}
	return s
}

// change is what the kernel has counted of all threads in a time, how many of them have exited,
// and how many are new.
type change struct{ waited, times, exited, started float64 }

func since(before, now map[string]schedstat) (c change) {
	for path, s := range now {
		if _, known := before[path]; !known {
			c.started++
		}
		c.waited += (s.waited - before[path].waited).Seconds()
		c.times += float64(s.times - before[path].times)
	}
	for path := range before {
		if _, lives := now[path]; !lives {
			c.exited++
		}
	}
	return c
}

// threadsStarted returns how many threads the machine has started since it booted: "processes"
// of /proc/stat.
func threadsStarted(t *testing.T) float64 {
	t.Helper()
	content, err := os.ReadFile("/proc/stat")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(content), "\nprocesses ")
	number, _, _ := strings.Cut(after, "\n")
	n, err := strconv.ParseFloat(number, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// testThreads has a process whose threads wait and exit: their time stays the process's.
func testThreads(t *testing.T, c *load.Collector) {
	child := start(t, "threads")
	time.Sleep(100 * time.Millisecond) // until it waits
	familiesBefore, before := loadtest.Gather(t, c), waitedOf(t, child)
	child.tell(t)
	said := strings.Fields(child.says(t))
	exited := duration(t, said[0])
	for _, tid := range said[1:] {
		awaitExit(t, child, tid)
	}
	got := seconds(loadtest.Gather(t, c), cpuSeconds, child) - seconds(familiesBefore, cpuSeconds, child)
	want := exited + (waitedOf(t, child) - before).Seconds()
	t.Logf("waited %.4f s; schedstat has %.4f s, of which %.4f s are of threads that have exited", got, want, exited)
	// What they waited after they had looked is not there. On a busy machine that is more.
	if got < 0.94*want || got > 1.02*want+0.3 {
		t.Errorf("waited %.4f s, want %.4f s", got, want)
	}
	// When the process has exited, so has its series.
	child.tell(t)
	child.Wait()
	if got := seconds(loadtest.Gather(t, c), cpuSeconds, child); got != 0 {
		t.Errorf("a process that has exited waited %.4f s", got)
	}
	checkForgotten(t, c, child)
}

// testExec has a thread that is not the first one execute a program. What both have waited stays the
// process's. That a thread now has the first one's id is no wait of its own.
func testExec(t *testing.T, c *load.Collector) {
	for range 2 {
		startPinned(t, "spin")
	}
	var wrong string
	for range 3 { // on a busy machine other threads may wait for so long meanwhile
		before := waitsOfSeconds(t, c)
		child := startPinned(t, "exec")
		gone := duration(t, child.says(t))
		got, want := seconds(loadtest.Gather(t, c), cpuSeconds, child), gone+waitedOf(t, child).Seconds()
		switch {
		case got < 0.98*want || got > 1.02*want+0.3:
			wrong = fmt.Sprintf("waited %.4f s, want %.4f s, of which %.4f s are of threads that are gone", got, want, gone)
		case waitsOfSeconds(t, c) != before:
			wrong = "there is a wait in the histogram that no thread has had"
		default:
			return
		}
		t.Log(wrong)
	}
	t.Errorf("each time it is wrong, at last: %s", wrong)
}

// waitsOfSeconds returns how many waits for a CPU took more than 2^30 ns.
func waitsOfSeconds(t *testing.T, c *load.Collector) (n uint64) {
	t.Helper()
	l, err := readLatencies(c.Programs.Collection.Maps[mapLatencies])
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range l.Buckets[(30-firstBound)*4+1:] {
		n += in
	}
	return n
}

// checkForgotten tests that nothing is left in the kernel of a process that has exited.
func checkForgotten(t *testing.T, c *load.Collector, exited *child) {
	t.Helper()
	over, err := readEnded(c.Programs.Collection.Maps[mapProcesses])
	if err != nil {
		t.Fatal(err)
	}
	for o := range over {
		if int(o.TGID) == exited.Process.Pid {
			t.Error("the kernel still has the process")
		}
	}
}

// awaitExit waits until a thread has exited.
func awaitExit(t *testing.T, c *child, tid string) {
	t.Helper()
	for range 1000 {
		if _, err := os.Stat("/proc/" + strconv.Itoa(c.Process.Pid) + "/task/" + tid); errors.Is(err, os.ErrNotExist) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("thread %s does not exit", tid)
}

// testReads has a process wait for a disk. It times its reads itself, less the time for which
// it ran or waited for a CPU. The kernel has a count of its own where delay accounting is on,
// as it always is before 5.14.
func testReads(t *testing.T, c *load.Collector) {
	// What else the process waits for is in its own count: pages of its memory, the file's lock.
	// That is little in a guest.
	path, guest := file(t)
	least, most := 0.98, 1.02
	if !guest {
		least, most = 0.75, 1.05
		if fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECT, 0); err != nil {
			t.Skip(err)
		} else {
			unix.Close(fd)
		}
	}
	child := start(t, "read:"+path)
	loadtest.Gather(t, c)
	child.tell(t)
	want := duration(t, child.says(t))
	got := seconds(loadtest.Gather(t, c), ioSeconds, child)
	accounted := blkioDelay(t, child.Process.Pid)
	t.Logf("waited %.4f s; the process says %.4f s, and delay accounting %.2f s", got, want, accounted)
	if got < least*want || got > most*want {
		t.Errorf("waited %.4f s, want %.4f s", got, want)
	}
	// Since 6.12 it may time a wait from the start of the clock: of a thread that is dequeued late.
	if accounted > 0 && accounted < 100 && (got < 0.98*accounted-0.02 || got > 1.02*accounted+0.06) {
		t.Errorf("waited %.4f s, want %.4f s by delay accounting", got, accounted)
	}
}

// file returns a file on a disk: in a guest the disk itself, which QEMU makes slow.
func file(t *testing.T) (path string, guest bool) {
	t.Helper()
	if os.Getenv("PROMSCOPE_TEST_SCALE") != "" {
		return "/dev/vda", true
	}
	path = filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, false
}

// testExit has processes wait for a disk when they have exited.
func testExit(t *testing.T, c *load.Collector) {
	for range 3 {
		path, _ := file(t)
		child := start(t, "write:"+path)
		if err := child.Wait(); err != nil {
			t.Fatal(err)
		}
		checkForgotten(t, c, child)
	}
}

// blkioDelay returns field 42 of /proc/PID/task/TID/stat, summed over the threads, in seconds:
// 0 where it is not counted.
func blkioDelay(t *testing.T, pid int) (sum float64) {
	t.Helper()
	for _, path := range matches(t, "/proc/"+strconv.Itoa(pid)+"/task/*/stat") {
		content, err := os.ReadFile(path)
		if err != nil {
			continue // it has exited
		}
		_, after, _ := strings.Cut(string(content), ") ")
		ticks, err := strconv.ParseFloat(strings.Fields(after)[42-3], 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += ticks / 100
	}
	return sum
}

func duration(t *testing.T, nanoseconds string) float64 {
	t.Helper()
	n, err := strconv.ParseInt(nanoseconds, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(n).Seconds()
}
