package http

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
)

// fakeMaps stands for the kernel's maps.
type fakeMaps struct {
	released []owner
	freed    []uint32
	rare     map[rareCode]uint64
}

func (f *fakeMaps) release(o owner) error  { f.released = append(f.released, o); return nil }
func (f *fakeMaps) free(slot uint32) error { f.freed = append(f.freed, slot); return nil }
func (f *fakeMaps) rareCodes(each func(rareCode, uint64)) error {
	for code, n := range f.rare {
		each(code, n)
	}
	return nil
}

func (f *fakeMaps) dropRareCodes(slot uint32) error {
	maps.DeleteFunc(f.rare, func(code rareCode, _ uint64) bool { return code.Slot == slot })
	return nil
}

const fakeCPUs = 2

// newFakeTable returns a table of slots, of which the first n are taken by processes 1 to n.
func newFakeTable(slots, n int) (*table, *fakeMaps) {
	f := &fakeMaps{rare: map[rareCode]uint64{}}
	t := newTable(f, keepAtLeast, make([]process, slots), make([]counters, slots*fakeCPUs))
	for slot := range n {
		t.take(slot, uint32(slot+1))
	}
	return t, f
}

// take gives a slot to a process that has answered one request on each CPU.
func (t *table) take(slot int, pid uint32) {
	t.processes[slot] = process{TGID: pid, Role: roleServer, Taken: 1, Epoch: t.processes[slot].Epoch, Comm: [16]byte{'w', 'e', 'b'}}
	stripes := t.stripes(slot)
	for i := range stripes {
		stripes[i].Started, stripes[i].Last = 1, uint64(pid)
		stripes[i].Sum = 1e9
		stripes[i].Buckets[3], stripes[i].Codes[1] = 1, 1
	}
}

func TestTableSum(t *testing.T) {
	table, _ := newFakeTable(2, 1)
	stripes := table.stripes(0)
	stripes[0].Started, stripes[1].Unanswered, stripes[1].Withdrawn = 6, 1, 1
	var s sum
	table.read(0, &s)
	if s.responses != 2 || s.Sum != 2e9 || s.inFlight() != 3 {
		t.Errorf("%+v, %d in flight", s, s.inFlight())
	}
	stripes[0] = counters{Started: 1}
	stripes[1] = counters{Withdrawn: 1} // on a CPU that did nothing else
	table.read(0, &s)
	if s.inFlight() != 0 {
		t.Errorf("%d in flight after one was withdrawn", s.inFlight())
	}
	stripes[0].Started = 0
	table.read(0, &s)
	if s.inFlight() != 0 {
		t.Errorf("%d in flight", s.inFlight())
	}
}

func TestTableExit(t *testing.T) {
	table, f := newFakeTable(4, 2)
	f.rare[rareCode{Slot: 0, Epoch: 0, Code: 299}] = 1
	f.rare[rareCode{Slot: 1, Epoch: 0, Code: 299}] = 1
	exited := 10 * time.Second
	table.processes[0].Exited = uint64(exited)

	table.keep = time.Minute
	if got := table.reported(exited + table.keep - 1); !slices.Equal(got, []int{0, 1}) {
		t.Errorf("within the minute: %v", got)
	}
	later := exited + table.keep
	if got := table.reported(later); !slices.Equal(got, []int{1}) {
		t.Errorf("after the minute: %v", got)
	}
	for range 2 {
		if len(f.freed) != 0 {
			t.Error("freed in one step")
		}
		if err := table.sweep(later, false); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(f.freed, []uint32{0}) || len(f.rare) != 1 {
		t.Errorf("freed %v, rare codes %v", f.freed, f.rare)
	}
	for _, stripe := range table.stripes(0) {
		if stripe != (counters{Epoch: 1}) {
			t.Errorf("not zeroed: %+v", stripe)
		}
	}
	if table.processes[0] != (process{Epoch: 1}) {
		t.Errorf("not forgotten: %+v", table.processes[0])
	}
}

// TestTableFull keeps processes that have exited only while there is room, and those that live anyway.
func TestTableFull(t *testing.T) {
	table, f := newFakeTable(32, 28)
	table.keep = time.Hour
	exited := time.Minute
	for slot := range 6 { // the last of them exited first
		table.processes[slot].Exited = uint64(exited) - uint64(slot)
	}
	sweep := func(now time.Duration) {
		t.Helper()
		for range 3 {
			if err := table.sweep(now, false); err != nil {
				t.Fatal(err)
			}
		}
		slices.Sort(f.freed)
	}
	sweep(exited + keepAtLeast - 6)
	if len(f.freed) != 0 {
		t.Errorf("freed %v, of which no gather may have the last counts", f.freed)
	}
	sweep(exited + keepAtLeast)
	if !slices.Equal(f.freed, []uint32{2, 3, 4, 5}) {
		t.Errorf("freed %v, and then a quarter of all are free", f.freed)
	}

	for slot := range 32 {
		table.take(slot, 1)
	}
	f.freed = nil
	sweep(exited + keepAtLeast)
	if len(f.freed) != 0 || len(f.released) != 0 {
		t.Errorf("taken from processes that live: %v, %v", f.freed, f.released)
	}
}

func TestTableReusedPID(t *testing.T) {
	table, _ := newFakeTable(4, 0)
	for slot, exited := range []uint64{1, 0, 2} {
		table.take(slot, 7)
		table.processes[slot].Exited = exited
	}
	if got := table.reported(5); !slices.Equal(got, []int{1}) {
		t.Errorf("with one that lives: %v", got)
	}
	table.processes[1].Exited = 3
	if got := table.reported(5); !slices.Equal(got, []int{1}) {
		t.Errorf("all have exited: %v", got)
	}
}

func TestTableEviction(t *testing.T) {
	table, f := newFakeTable(32, 32) // process 1 was idle the longest
	for range 3 {
		if err := table.sweep(0, true); err != nil {
			t.Fatal(err)
		}
	}
	// Two make room, in as many sweeps; the third begins with the next.
	if want := []owner{{1, roleServer}, {2, roleServer}}; !slices.Equal(f.released[:2], want) {
		t.Errorf("released %v", f.released)
	}
	if !slices.Equal(f.freed, []uint32{0, 1}) {
		t.Errorf("freed %v", f.freed)
	}
}

func TestBounds(t *testing.T) {
	all := bounds()
	if !slices.IsSorted(all[:]) {
		t.Error("not ascending:", all)
	}
	if all[0] != 90*time.Microsecond || all[bucketBounds-1] != 9*time.Second {
		t.Errorf("from %v to %v", all[0], all[bucketBounds-1])
	}
	// A round latency lies in the middle of its bucket, to 3 %.
	for _, round := range []time.Duration{1, 2, 5, 10, 20, 50, 100, 200, 500} {
		round *= time.Millisecond
		i, _ := slices.BinarySearch(all[:], round)
		middle := (all[i-1] + all[i]) / 2
		if off := math.Abs(float64(middle-round) / float64(round)); off > 0.03 {
			t.Errorf("%v is in (%v, %v], whose middle is off by %.3f", round, all[i-1], all[i], off)
		}
	}
}

// fakeCollector collects from a table alone.
type fakeCollector struct {
	series *series
	table  *table
}

func newFakeCollector(table *table) fakeCollector {
	return fakeCollector{newSeries(len(table.processes)), table}
}

func (c fakeCollector) Describe(ch chan<- *prometheus.Desc) { c.series.describe(ch) }

func (c fakeCollector) Collect(ch chan<- prometheus.Metric) {
	metrics, err := c.series.processes(c.table, 0, true)
	if err != nil {
		panic(err) // the fake has none
	}
	for _, m := range metrics {
		ch <- m
	}
}

func TestSeries(t *testing.T) {
	table, f := newFakeTable(4, 1)
	table.stripes(0)[1].Buckets[0] += 3
	f.rare[rareCode{Slot: 0, Epoch: 0, Code: 299}] = 2
	f.rare[rareCode{Slot: 0, Epoch: 9, Code: 298}] = 2 // of the slot's last owner
	c := newFakeCollector(table)
	if err := testutil.CollectAndCompare(c, strings.NewReader(`
# HELP promscope_http_requests_total HTTP requests that the process has answered.
# TYPE promscope_http_requests_total counter
promscope_http_requests_total{comm="web",pid="1"} 5
# HELP promscope_http_responses_total HTTP responses that the process has sent, without interim ones.
# TYPE promscope_http_responses_total counter
promscope_http_responses_total{code="200",comm="web",pid="1"} 2
promscope_http_responses_total{code="299",comm="web",pid="1"} 2
promscope_http_responses_total{code="other",comm="web",pid="1"} 1
# HELP promscope_http_requests_in_flight HTTP requests that the process has read and not answered yet.
# TYPE promscope_http_requests_in_flight gauge
promscope_http_requests_in_flight{comm="web",pid="1"} 0
`), "promscope_http_requests_total", "promscope_http_responses_total", "promscope_http_requests_in_flight"); err != nil {
		t.Error(err)
	}
	problems, err := testutil.CollectAndLint(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var duration *dto.Histogram
	for _, family := range families {
		if family.GetName() == "promscope_http_request_duration_seconds" {
			duration = family.GetMetric()[0].GetHistogram()
		}
	}
	if duration.GetSampleCount() != 5 || duration.GetSampleSum() != 2 || len(duration.GetBucket()) != bucketBounds {
		t.Errorf("%v", duration)
	}
	if first := duration.GetBucket()[0]; first.GetUpperBound() != 0.00009 || first.GetCumulativeCount() != 3 {
		t.Errorf("%v", first)
	}
}

func BenchmarkGather(b *testing.B) {
	for _, n := range []int{10, 1000, 10000} {
		table, _ := newFakeTable(max(n, DefaultMaxProcesses), n)
		c := newFakeCollector(table)
		b.Run(fmt.Sprintf("processes=%d", n), func(b *testing.B) {
			registry := prometheus.NewRegistry()
			registry.MustRegister(c)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := registry.Gather(); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("collect/processes=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.series.processes(c.table, 0, false); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
