package wait

import (
	"math"
	"testing"
	"time"

	"github.com/promscope/promscope/ebpf/load"
)

// step is a gathering: what processes have waited for a CPU by then, in milliseconds, by their place.
type step struct {
	after  time.Duration
	waited map[int]uint64
	want   map[int]float64 // milliseconds that the series say, of those that exist
}

func play(t *testing.T, most int, steps []step) *table {
	t.Helper()
	tb := &table{most: most}
	start := time.Unix(1_700_000_000, 0)
	for i, s := range steps {
		totals := map[owner]total{}
		for place, ms := range s.waited {
			totals[owner{TGID: uint32(place % 100), Start: uint64(place)}] = total{waits: [kinds]uint64{forCPU: ms * 1e6}}
		}
		tb.update(totals, start.Add(s.after), time.Hour+s.after)
		got := map[int]float64{}
		for o, p := range tb.processes {
			if w := p.waits[forCPU]; !w.told.IsZero() {
				got[int(o.Start)] = float64(w.last-w.from) / 1e6
			}
		}
		for place, want := range s.want {
			if math.Abs(got[place]-want) > 1e-6 {
				t.Errorf("gathering %d: process %d has %v ms, want %v", i, place, got[place], want)
			}
		}
		if len(got) != len(s.want) {
			t.Errorf("gathering %d: %d series %v, want %v", i, len(got), got, s.want)
		}
	}
	return tb
}

const second = time.Second

// A series counts from the gathering before the first that has it, whatever the process had
// waited until then.
func TestBegins(t *testing.T) {
	tb := play(t, 10, []step{
		{0, map[int]uint64{1: 5000, 2: 7}, nil},
		{second, map[int]uint64{1: 5250, 2: 7, 3: 400}, map[int]float64{1: 250, 3: 400}},
		{2 * second, map[int]uint64{1: 5250, 2: 7, 3: 500}, map[int]float64{1: 250, 3: 500}},
	})
	w := tb.processes[owner{TGID: 3, Start: 3}].waits[forCPU]
	if want := time.Unix(1_700_000_000, 0); !w.born.AsTime().Equal(want) {
		t.Errorf("counts since %v, want %v", w.born.AsTime(), want)
	}
}

// What a process that is younger than the interval has waited counts since its start.
func TestYoung(t *testing.T) {
	tb := play(t, 10, []step{{0, nil, nil}})
	began := time.Unix(1_700_000_000, 0)
	for start, want := range map[time.Duration]time.Duration{
		time.Minute:                      0, // it had not waited before
		time.Hour + 600*time.Millisecond: 600 * time.Millisecond,
		time.Hour + 5*second:             0, // it was started while the threads were read
	} {
		o := owner{TGID: 1, Start: uint64(start)}
		tb.update(map[owner]total{}, began, time.Hour)
		tb.update(map[owner]total{o: {waits: [kinds]uint64{forCPU: 300e6}}}, began.Add(5*second), time.Hour+5*second)
		if got := tb.processes[o].waits[forCPU].born.AsTime().Sub(began); got != want {
			t.Errorf("a process of %v counts since %v, want %v", start, got, want)
		}
	}
}

// One millisecond in a second is telling, less is not. What has not been telling for a minute
// is told no more, and counts anew.
func TestQuiet(t *testing.T) {
	play(t, 10, []step{
		{0, map[int]uint64{1: 0, 2: 0}, nil},
		{second, map[int]uint64{1: 1, 2: 0}, map[int]float64{1: 1}},
		{3 * second, map[int]uint64{1: 2, 2: 1}, map[int]float64{1: 2}}, // half a millisecond a second
		{keepQuiet, map[int]uint64{1: 2, 2: 1}, map[int]float64{1: 2}},
		{keepQuiet + second, map[int]uint64{1: 2, 2: 1}, nil},
		{keepQuiet + 2*second, map[int]uint64{1: 2, 2: 1}, nil},
		{keepQuiet + 3*second, map[int]uint64{1: 12, 2: 1}, map[int]float64{1: 10}},
	})
}

// A process that is called otherwise by now keeps its series, with the name by which that began.
func TestRenamed(t *testing.T) {
	tb := &table{most: 10}
	o, at := owner{TGID: 1, Start: 1}, time.Unix(1_700_000_000, 0)
	for i, s := range []struct {
		ms         uint64
		name, want string
	}{{0, "fork", "fork"}, {500, "server", "server"}, {900, "server: idle", "server"}, {900, "server: idle", "server"}, {900, "other", "server"}, {900, "other", "other"}} {
		now := total{waits: [kinds]uint64{forCPU: s.ms * 1e6}}
		copy(now.comm[:], s.name)
		at = at.Add(keepQuiet / 2)
		tb.update(map[owner]total{o: now}, at, time.Hour)
		if got := load.Comm(tb.processes[o].comm); got != s.want {
			t.Errorf("gathering %d: the process is called %q, want %q", i, got, s.want)
		}
	}
}

// A pid that is used again is another process's.
func TestReused(t *testing.T) {
	play(t, 10, []step{
		{0, map[int]uint64{7: 0}, nil},
		{second, map[int]uint64{7: 900}, map[int]float64{7: 900}},
		{2 * second, map[int]uint64{107: 30}, map[int]float64{107: 30}},
	})
}

// What a thread that exits has waited is missing for a moment.
func TestNeverFalls(t *testing.T) {
	play(t, 10, []step{
		{0, map[int]uint64{1: 100}, nil},
		{second, map[int]uint64{1: 300}, map[int]float64{1: 200}},
		{2 * second, map[int]uint64{1: 250}, map[int]float64{1: 200}},
		{3 * second, map[int]uint64{1: 350}, map[int]float64{1: 250}},
	})
}

// Where there is no room for all, those have series that wait the longest, and the others are counted.
func TestNoRoom(t *testing.T) {
	tb := play(t, 2, []step{
		{0, map[int]uint64{1: 0, 2: 0, 3: 0, 4: 0}, nil},
		{second, map[int]uint64{1: 10, 2: 40, 3: 30, 4: 0}, map[int]float64{2: 40, 3: 30}},
	})
	if tb.leftOut != 1 {
		t.Errorf("%d left out, want 1", tb.leftOut)
	}
}

// The bounds are where bucket() of bpf/wait.bpf.c puts them: 16.384 µs, then four to an octave.
func TestBounds(t *testing.T) {
	b := bounds()
	for i, want := range map[int]float64{0: 16384e-9, 1: 20480e-9, 2: 24576e-9, 3: 28672e-9, 4: 32768e-9, 8: 65536e-9, len(b) - 1: 4.294967296} {
		if math.Abs(b[i]-want) > 1e-12 {
			t.Errorf("bound %d is %v, want %v", i, b[i], want)
		}
	}
}

func TestOptions(t *testing.T) {
	for most, problems := range map[int]int{0: 1, 1: 0, 1024: 0, mostProcesses + 1: 1} {
		if got := (&Options{MaxProcesses: most}).Check(); len(got) != problems {
			t.Errorf("max_processes %d: %v", most, got)
		}
	}
}
