package disk

import (
	"maps"
	"strconv"
	"testing"
	"time"
)

// step is a gathering: what it reads, and the bytes read and written that are exposed then, by pid.
type step struct {
	after  time.Duration // since the last
	living []usage
	ended  []ended
	want   map[string][2]float64
	born   string // pid whose counter begins at the last gathering
}

func thread(tgid uint32, start, read, written uint64) usage {
	return usage{StartTime: start, TGID: tgid, Comm: [16]byte{'x'}, Done: [kinds]uint64{bytesRead: read, bytesWritten: written}}
}

// over is a process that has ended.
func over(tgid uint32, start, read, written uint64) ended {
	return ended{Done: thread(tgid, start, read, written), Over: 1}
}

func TestProcesses(t *testing.T) {
	for name, steps := range map[string][]step{
		"a counter begins with what is done from the first gathering on": {
			{living: []usage{thread(1, 10, 500, 600)}},
			{living: []usage{thread(1, 10, 500, 600)}},
			{living: []usage{thread(1, 10, 507, 600)}, want: map[string][2]float64{"1": {7, 0}}, born: "1"},
			{living: []usage{thread(1, 10, 509, 600)}, want: map[string][2]float64{"1": {9, 0}}},
			{living: []usage{thread(1, 10, 509, 608)}, want: map[string][2]float64{"1": {9, 8}}},
		},
		"all of a process that is new counts": {
			{},
			{living: []usage{thread(2, 20, 30, 40)}, want: map[string][2]float64{"2": {30, 40}}, born: "2"},
		},
		"threads are added up": {
			{},
			{living: []usage{thread(2, 20, 30, 40), thread(3, 20, 5, 5), thread(2, 20, 1, 2)}, want: map[string][2]float64{"2": {31, 42}, "3": {5, 5}}},
		},
		"a sum that a thread that ends is missing from does not fall": {
			{},
			{living: []usage{thread(2, 20, 30, 40), thread(2, 20, 10, 10)}, want: map[string][2]float64{"2": {40, 50}}},
			{living: []usage{thread(2, 20, 30, 40)}, want: map[string][2]float64{"2": {40, 50}}},
			{living: []usage{thread(2, 20, 42, 53)}, want: map[string][2]float64{"2": {42, 53}}},
		},
		"one that has ended is exposed for two seconds": {
			{},
			{living: []usage{thread(2, 20, 30, 40)}, want: map[string][2]float64{"2": {30, 40}}},
			{ended: []ended{over(2, 20, 31, 41)}, want: map[string][2]float64{"2": {31, 41}}},
			{want: map[string][2]float64{"2": {31, 41}}},
			{},
		},
		"one whose end was missed too": {
			{},
			{living: []usage{thread(2, 20, 30, 40)}, want: map[string][2]float64{"2": {30, 40}}},
			{want: map[string][2]float64{"2": {30, 40}}},
			{want: map[string][2]float64{"2": {30, 40}}},
			{},
		},
		"one that was not seen once": {
			{},
			{living: []usage{thread(2, 20, 30, 40)}, want: map[string][2]float64{"2": {30, 40}}},
			{want: map[string][2]float64{"2": {30, 40}}},
			{living: []usage{thread(2, 20, 33, 40)}, want: map[string][2]float64{"2": {33, 40}}},
			{living: []usage{thread(2, 20, 34, 40)}, want: map[string][2]float64{"2": {34, 40}}},
			{living: []usage{thread(2, 20, 35, 40)}, want: map[string][2]float64{"2": {35, 40}}},
		},
		"one that came and went between two gatherings": {
			{},
			{ended: []ended{over(2, 20, 31, 41)}, want: map[string][2]float64{"2": {31, 41}}, born: "2"},
		},
		"one that ended while it was read counts once": {
			{},
			{living: []usage{thread(2, 20, 30, 40)}, ended: []ended{over(2, 20, 31, 40)}, want: map[string][2]float64{"2": {31, 40}}},
		},
		"a pid that is used again begins anew": {
			{},
			{living: []usage{thread(2, 20, 30, 40)}, want: map[string][2]float64{"2": {30, 40}}},
			{living: []usage{thread(2, 21, 3, 4)}, ended: []ended{over(2, 20, 99, 99)}, want: map[string][2]float64{"2": {3, 4}}, born: "2"},
		},
		"one that is quiet is not exposed, and begins anew": {
			{},
			{living: []usage{thread(2, 20, 30, 40)}, want: map[string][2]float64{"2": {30, 40}}},
			{after: quietAfter - time.Second, living: []usage{thread(2, 20, 30, 40)}, want: map[string][2]float64{"2": {30, 40}}},
			{living: []usage{thread(2, 20, 30, 40)}},
			{living: []usage{thread(2, 20, 35, 40)}, want: map[string][2]float64{"2": {5, 0}}, born: "2"},
		},
		"of too many, those that did something last": {
			{},
			{living: []usage{thread(2, 20, 1, 0)}, want: map[string][2]float64{"2": {1, 0}}},
			{living: []usage{thread(2, 20, 1, 0), thread(3, 20, 2, 0), thread(4, 20, 3, 0), thread(5, 20, 4, 0)},
				want: map[string][2]float64{"3": {2, 0}, "4": {3, 0}, "5": {4, 0}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := &processes{most: 3, keep: 2 * time.Second, all: map[owner]*process{}}
			last := time.Unix(1000, 0)
			for i, s := range steps {
				now := last.Add(max(s.after, time.Second))
				p.update(now, s.living, s.ended)
				got := map[string][2]float64{}
				p.each(func(of *process, kind int, c *counter) {
					pid := strconv.FormatUint(of.TGID, 10)
					value := got[pid]
					value[kind] = float64(c.total - c.base)
					got[pid] = value
					if value[kind] == 0 {
						t.Errorf("gathering %d: a counter of %s is 0", i, pid)
					}
					if c.born.Equal(last) != (pid == s.born) && s.born != "" {
						t.Errorf("gathering %d: %s was created at %v", i, pid, c.born)
					}
				})
				if !maps.Equal(got, s.want) {
					t.Errorf("gathering %d: got %v, want %v", i, got, s.want)
				}
				last = now
			}
		})
	}
}

// What threads have done that have ended is read until the second time since their process is over, or
// was not seen any more: the last ones may add it late, and either sum may fall short.
func TestEnded(t *testing.T) {
	kernel := func(e ended, read, written uint64) ended {
		e.Kernel = [2]uint64{read, written}
		return e
	}
	for name, steps := range map[string][]struct {
		living []usage
		ended  ended
		want   [2]uint64 // bytes
		over   bool
	}{
		"over": {
			{ended: over(2, 20, 30, 40), want: [2]uint64{30, 40}},
			{ended: over(2, 20, 31, 45), want: [2]uint64{31, 45}, over: true},
		},
		"the kernel has more": {
			{ended: kernel(over(2, 20, 30, 40), 35, 39), want: [2]uint64{35, 40}},
			{ended: kernel(over(2, 20, 30, 40), 35, 41), want: [2]uint64{35, 41}, over: true},
		},
		"its process lives": {
			{living: []usage{thread(2, 20, 7, 7)}, ended: ended{Done: thread(2, 20, 5, 5)}, want: [2]uint64{7, 7}},
			{living: []usage{thread(2, 20, 9, 9)}, ended: ended{Done: thread(2, 20, 8, 8)}, want: [2]uint64{9, 9}},
			{ended: over(2, 20, 10, 10), want: [2]uint64{10, 10}},
			{ended: over(2, 20, 10, 10), want: [2]uint64{10, 10}, over: true},
		},
		"the program was not run for the last one": {
			{living: []usage{thread(2, 20, 7, 7)}, ended: ended{Done: thread(2, 20, 5, 5)}, want: [2]uint64{7, 7}},
			{ended: ended{Done: thread(2, 20, 8, 8)}, want: [2]uint64{8, 8}},
			{ended: ended{Done: thread(2, 20, 8, 8)}, want: [2]uint64{8, 8}, over: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := &processes{most: 3, keep: 2 * time.Second, all: map[owner]*process{}}
			now := time.Unix(1000, 0)
			p.update(now, nil, nil)
			for i, s := range steps {
				now = now.Add(time.Second)
				if over := p.update(now, s.living, []ended{s.ended}); len(over) > 0 != s.over {
					t.Errorf("gathering %d: %v need not be read again", i, over)
				}
				var got [2]uint64
				p.each(func(_ *process, kind int, c *counter) { got[kind] = c.total - c.base })
				if got != s.want {
					t.Errorf("gathering %d: got %v, want %v", i, got, s.want)
				}
			}
			if p.update(now.Add(time.Second), nil, nil); len(p.all) != 0 {
				t.Error("the process is kept for longer because it was read again")
			}
		})
	}
}
