package disk

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/promscope/promscope/ebpf/load/loadtest"
)

// TestHookSets compares what is counted of a device and of a process with what was asked of
// them, and with what the kernel says of them in /proc/diskstats and /proc/PID/io.
func TestHookSets(t *testing.T) {
	for _, set := range hookSets() {
		t.Run(set.Name, func(t *testing.T) {
			t.Run("counts", testCounts)
			t.Run("threads", testThreads)
			t.Run("children", testChildren)
		})
	}
}

func testCounts(t *testing.T) {
	path, name := device(t)
	p := startChild(t)
	p.do("read", path, 7) // before the collector looks
	before := diskstats(t, name)
	beforeIO := processIO(t, p.pid())

	c := openCollector(t)
	const reads, writes, flushes = 41, 23, 3
	took := map[string]time.Duration{"read": p.do("read", path, reads), "write": p.do("write", path, writes)}
	// diskstats takes a flush for a write too, of nothing.
	after := diskstats(t, name)
	took["flush"] = p.do("flush", path, flushes)
	last := diskstats(t, name)
	after["flush"], after["flush ms"] = last["flush"], last["flush ms"]
	got, afterIO := loadtest.Gather(t, c), processIO(t, p.pid())

	pid := strconv.Itoa(p.pid())
	comm, err := os.ReadFile("/proc/" + pid + "/comm")
	if err != nil {
		t.Fatal(err)
	}
	for series, want := range map[string][2]int{
		"promscope_disk_read_bytes_total":    {reads * requestBytes, afterIO["read_bytes"] - beforeIO["read_bytes"]},
		"promscope_disk_written_bytes_total": {writes * requestBytes, afterIO["write_bytes"] - beforeIO["write_bytes"]},
	} {
		m := loadtest.Find(got[series], "pid", pid)
		if m == nil {
			t.Fatalf("no %s of the process", series)
		}
		if value := m.Counter.GetValue(); math.Abs(value/float64(want[0])-1) > 0.01 || value != float64(want[1]) {
			t.Errorf("%s is %v, asked for were %d, and /proc/PID/io says %d", series, value, want[0], want[1])
		}
		if name := loadtest.Label(m, "comm"); name != strings.TrimSpace(string(comm)) {
			t.Errorf("the process is called %q, not %q", comm, name)
		}
	}

	if made := requestsOf(got, pid); made["read"] != reads || made["write"] != writes {
		t.Errorf("the process has made %v requests, asked for were %d and %d", made, reads, writes)
	}

	asked := map[string]int{"read": reads, "write": writes, "flush": flushes}
	for _, operation := range []string{"read", "write", "flush"} {
		h := histogramOf(got, name, operation)
		count, seconds := after[operation]-before[operation], float64(after[operation+" ms"]-before[operation+" ms"])/1000
		if int(h.GetSampleCount()) != asked[operation] || count != asked[operation] {
			t.Errorf("%d requests of %s, asked for were %d, and diskstats says %d", h.GetSampleCount(), operation, asked[operation], count)
		}
		// diskstats has milliseconds, cut off, until a moment later: on an emulated and busy CPU 25 ms.
		if sum := h.GetSampleSum(); sum < 0.8*seconds-0.002 || sum > seconds+0.002 || sum <= 0 || sum > took[operation].Seconds() {
			t.Errorf("%s took %v s, diskstats says %v s, and the process waited for %v", operation, sum, seconds, took[operation])
		}
		checkBuckets(t, h)
	}
	if m := loadtest.Find(got["promscope_disk_requests_in_flight"], "device", name); m == nil || m.Gauge.GetValue() != 0 {
		t.Errorf("in flight on an idle device: %v", m)
	}

	// What a process does last is counted when it has ended, and all of what one does that was
	// not there before.
	p.do("write", path, 5)
	p.end()
	q := startChild(t)
	q.do("read", path, 9)
	q.end()
	got = loadtest.Gather(t, c)
	if m := loadtest.Find(got["promscope_disk_written_bytes_total"], "pid", pid); m.GetCounter().GetValue() != (writes+5)*requestBytes {
		fail(t, got, "the process that has ended: %v", m)
	}
	// It has also read what it needs of its own program, unless that was in memory.
	m := loadtest.Find(got["promscope_disk_read_bytes_total"], "pid", strconv.Itoa(q.pid()))
	if value := m.GetCounter().GetValue(); value < 9*requestBytes || value > 9*requestBytes+64<<20 {
		t.Errorf("the process that came and went: %v", m)
	}
	if created := m.GetCounter().GetCreatedTimestamp().AsTime(); time.Since(created) > time.Minute || created.After(time.Now()) {
		t.Errorf("its counter begins at %v", created)
	}
}

// testThreads has processes end many threads at once that have written, when others have ended before
// the collector and since.
func testThreads(t *testing.T) {
	path, _ := device(t)
	children := make([]*child, 2)
	for i := range children {
		children[i] = startChild(t)
		children[i].do("leave", path, 2)
	}
	c := openCollector(t)
	const left, stayed = 3, 12
	for i, p := range children {
		p.do("leave", path, left)
		p.do("stay", path, stayed)
		if i%2 == 0 {
			p.endTraced()
		} else {
			p.end()
		}
	}
	loadtest.Gather(t, c)
	all := loadtest.Gather(t, c) // with what is added late
	for _, p := range children {
		pid := strconv.Itoa(p.pid())
		if n := loadtest.Find(all["promscope_disk_written_bytes_total"], "pid", pid).GetCounter().GetValue(); n != (left+stayed)*requestBytes {
			fail(t, all, "process %s has written %v bytes, want %d", pid, n, (left+stayed)*requestBytes)
		}
		if made := requestsOf(all, pid); made["write"] != left+stayed {
			fail(t, all, "process %s has made %v requests, want %d", pid, made, left+stayed)
		}
	}
}

// testChildren has a process wait for its child, which has written. The kernel adds that to what it says of the parent.
func testChildren(t *testing.T) {
	path, _ := device(t)
	c := openCollector(t)
	p := startChild(t)
	const own, childs = 3, 17
	p.do("leave", path, own)
	p.do("beget", path, childs)
	if said := processIO(t, p.pid())["write_bytes"]; said != (own+childs)*requestBytes {
		t.Errorf("/proc/PID/io says %d, want %d", said, (own+childs)*requestBytes)
	}
	pid := strconv.Itoa(p.pid())
	check := func() {
		t.Helper()
		all := loadtest.Gather(t, c)
		if n := loadtest.Find(all["promscope_disk_written_bytes_total"], "pid", pid).GetCounter().GetValue(); n != own*requestBytes {
			fail(t, all, "the process has written %v bytes, want %d", n, own*requestBytes)
		}
	}
	check()
	p.end()
	check()
	check() // with what is added late
}

// fail fails the test, or skips it where the kernel has skipped runs of the programs, as the page and doctor say then.
func fail(t *testing.T, all map[string][]*dto.Metric, format string, arguments ...any) {
	t.Helper()
	wrong := fmt.Sprintf(format, arguments...)
	for _, m := range all["promscope_disk_hook_runs_missed_total"] {
		if n := m.Counter.GetValue(); n > 0 {
			t.Skipf("the kernel has skipped %v runs of %s, and %s", n, loadtest.Label(m, "program"), wrong)
		}
	}
	t.Error(wrong)
}

// checkBuckets tests that the mean of a histogram lies within what its buckets allow.
func checkBuckets(t *testing.T, h *dto.Histogram) {
	t.Helper()
	var least, most float64
	last, lower := uint64(0), 0.0
	for _, b := range h.Bucket {
		n := float64(b.GetCumulativeCount() - last)
		least, most = least+n*lower, most+n*b.GetUpperBound()
		last, lower = b.GetCumulativeCount(), b.GetUpperBound()
	}
	if last != h.GetSampleCount() {
		t.Errorf("%d of %d requests took more than %v s", h.GetSampleCount()-last, h.GetSampleCount(), lower)
	} else if h.GetSampleSum() < least || h.GetSampleSum() > most {
		t.Errorf("the buckets allow %v to %v s, the sum is %v", least, most, h.GetSampleSum())
	}
}

// requestsOf returns how many requests a process has made, by operation.
func requestsOf(all map[string][]*dto.Metric, pid string) map[string]float64 {
	made := map[string]float64{}
	for _, m := range all["promscope_disk_requests_total"] {
		if loadtest.Label(m, "pid") == pid {
			made[loadtest.Label(m, "operation")] = m.Counter.GetValue()
		}
	}
	return made
}

func histogramOf(all map[string][]*dto.Metric, device, operation string) *dto.Histogram {
	for _, m := range all["promscope_disk_request_duration_seconds"] {
		if loadtest.Label(m, "device") == device && loadtest.Label(m, "operation") == operation {
			return m.Histogram
		}
	}
	return nil
}

// diskstats returns the requests that a device has completed, and the milliseconds that they took
// (Documentation/admin-guide/iostats.rst).
func diskstats(t *testing.T, device string) map[string]int {
	t.Helper()
	content, err := os.ReadFile("/proc/diskstats")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		fields := strings.Fields(line)
		if fields[2] != device {
			continue
		}
		n := make([]int, len(fields))
		for i := 3; i < len(fields); i++ {
			if n[i], err = strconv.Atoi(fields[i]); err != nil {
				t.Fatal(err)
			}
		}
		return map[string]int{"read": n[3], "read ms": n[6], "write": n[7], "write ms": n[10], "flush": n[18], "flush ms": n[19]}
	}
	t.Fatalf("no %s in /proc/diskstats", device)
	return nil
}

// processIO returns what /proc/PID/io says.
func processIO(t *testing.T, pid int) map[string]int {
	t.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]int{}
	for line := range strings.Lines(string(content)) {
		name, value, _ := strings.Cut(line, ":")
		if all[name], err = strconv.Atoi(strings.TrimSpace(value)); err != nil {
			t.Fatal(err)
		}
	}
	return all
}
