package load

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"

	"github.com/promscope/promscope/ebpf/collector"
)

// filled returns a map with so many entries, of the sizes that struct owner and struct ended of the collector wait have.
func filled(t *testing.T, kind ebpf.MapType, limit uint32, n int) *ebpf.Map {
	t.Helper()
	if missing, err := MissingCapabilities(); err != nil || len(missing) > 0 {
		t.Skipf("needs capabilities: %v %v", missing, err)
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: kind, KeySize: 16, ValueSize: 24, MaxEntries: limit})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	fill(t, m, 0, n)
	return m
}

func fill(t *testing.T, m *ebpf.Map, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := m.Put([2]uint64{uint64(i), 7}, [3]uint64{}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCountEntries(t *testing.T) {
	for _, n := range []int{0, 1, 63, 64, 65, 5000} {
		if got, err := countEntries(filled(t, ebpf.Hash, 5000, n)); err != nil || got != n {
			t.Errorf("%d entries of %d: %v", got, n, err)
		}
	}
}

// Maps are counted at the first time and then each ten seconds. Pages and series show the same.
func TestFills(t *testing.T) {
	hash, lru := filled(t, ebpf.Hash, 400, 100), filled(t, ebpf.LRUHash, 1024, 3)
	p := &Programs{
		Collection: &ebpf.Collection{Maps: map[string]*ebpf.Map{"processes": hash, "ended": lru}},
		fillable:   []string{"ended", "processes"},
	}
	var f fills
	start := time.Unix(1_700_000_000, 0)
	for _, tt := range []struct {
		after  time.Duration
		before int // entries in the first map
		want   int // entries told
	}{{0, 100, 100}, {9 * time.Second, 400, 100}, {countEvery + 9*time.Second, 400, 400}} {
		fill(t, hash, 100, tt.before)
		maps, err := f.of(p, start.Add(tt.after))
		if err != nil {
			t.Fatal(err)
		}
		want := []collector.Map{{Name: "ended", Entries: 3, Limit: 1024, Evicts: true}, {Name: "processes", Entries: tt.want, Limit: 400}}
		if diff := cmp.Diff(want, maps); diff != "" {
			t.Errorf("after %v: %s", tt.after, diff)
		}
		if tt.after == 0 { // on a machine that is busy it may take long
			if next := f.due.Sub(start); next < countEvery {
				t.Errorf("counted again in %v", next)
			}
			f.due = start.Add(countEvery)
		}
	}
}

func TestFillable(t *testing.T) {
	uses := func(names ...string) asm.Instructions {
		var all asm.Instructions
		for _, name := range names {
			all = append(all, asm.LoadMapPtr(asm.R1, 0).WithReference(name))
		}
		return all
	}
	spec := &ebpf.CollectionSpec{
		Maps: map[string]*ebpf.MapSpec{
			"processes": {Type: ebpf.Hash, MaxEntries: 9}, "ended": {Type: ebpf.LRUHash, MaxEntries: 9},
			"other set": {Type: ebpf.Hash, MaxEntries: 9}, "no use": {Type: ebpf.Hash, MaxEntries: 1},
			"victims": {Type: ebpf.Queue, MaxEntries: 9}, "scratch": {Type: ebpf.PerCPUArray, MaxEntries: 2},
			".bss": {Type: ebpf.Array, MaxEntries: 1}, "sockets": {Type: ebpf.SkStorage},
		},
		Programs: map[string]*ebpf.ProgramSpec{
			"a": {Instructions: uses("processes", "no use", "scratch", ".bss", "sockets")},
			"b": {Instructions: uses("ended", "victims", "processes")},
		},
	}
	if got := fillable(spec); !slices.Equal(got, []string{"ended", "processes"}) {
		t.Errorf("%q", got)
	}
}

func TestSeries(t *testing.T) {
	got := map[string]float64{}
	for _, m := range newSeries("x").of("tracepoints",
		[]collector.Program{{Name: "on_exit", Missed: 3, Runs: 7, Took: 2 * time.Second}},
		[]collector.Map{{Name: "processes", Entries: 5, Limit: 9}}) {
		var out dto.Metric
		if err := m.Write(&out); err != nil {
			t.Fatal(err)
		}
		name := strings.Split(m.Desc().String(), `"`)[1] // Desc{fqName: "x", help: …
		got[name+" "+out.Label[0].GetValue()] = out.GetCounter().GetValue() + out.GetGauge().GetValue()
	}
	want := map[string]float64{
		"promscope_x_hook_info tracepoints":          1,
		"promscope_x_hook_runs_missed_total on_exit": 3,
		"promscope_x_hook_runs_total on_exit":        7,
		"promscope_x_hook_run_seconds_total on_exit": 2,
		"promscope_x_map_entries processes":          5,
		"promscope_x_map_entries_limit processes":    9,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
