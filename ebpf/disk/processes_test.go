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
	ended  []usage
	want   map[string][2]float64
	born   string // pid whose counter begins at the last gathering
}

func thread(tgid uint32, start, read, written uint64) usage {
	return usage{StartTime: start, TGID: tgid, Comm: [16]byte{'x'}, Done: [kinds]uint64{bytesRead: read, bytesWritten: written}}
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
			{ended: []usage{thread(2, 20, 31, 41)}, want: map[string][2]float64{"2": {31, 41}}},
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
			{ended: []usage{thread(2, 20, 31, 41)}, want: map[string][2]float64{"2": {31, 41}}, born: "2"},
		},
		"one that ended while it was read counts once": {
			{},
			{living: []usage{thread(2, 20, 30, 40)}, ended: []usage{thread(2, 20, 31, 40)}, want: map[string][2]float64{"2": {31, 40}}},
		},
		"a pid that is used again begins anew": {
			{},
			{living: []usage{thread(2, 20, 30, 40)}, want: map[string][2]float64{"2": {30, 40}}},
			{living: []usage{thread(2, 21, 3, 4)}, ended: []usage{thread(2, 20, 99, 99)}, want: map[string][2]float64{"2": {3, 4}}, born: "2"},
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
