package wait

import (
	"cmp"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// What a process waits for.
const (
	forCPU = iota
	forIO
	kinds
)

// A process has a series from the first interval on of which it waits this share, until it has
// not for so long. On a host with thousands of processes few wait that long. Of all others it
// is known that they wait less.
const (
	tellingShare = 0.001
	keepQuiet    = 5 * time.Minute
)

// process is what is known of a process that lives.
type process struct {
	comm  [16]byte // as it was called when it last had no series
	waits [kinds]wait
}

func (p *process) told() bool {
	return slices.ContainsFunc(p.waits[:], func(w wait) bool { return !w.told.IsZero() })
}

// wait is how long a process's threads have waited for something, in nanoseconds.
type wait struct {
	last uint64 // at the last gathering
	from uint64 // when the series began, which counts from there
	born *timestamppb.Timestamp
	told time.Time // when it was last telling; zero while there is no series
}

// total is what all threads of a process have waited, by kind, in nanoseconds.
type total struct {
	waits [kinds]uint64
	comm  [16]byte
}

// table has the processes that live.
type table struct {
	most      int // series of each kind
	processes map[owner]*process
	gathered  time.Time // when the last gathering began
	leftOut   int       // processes that waited long, and have no series for want of room
}

// update takes over what all processes that live have waited at a time, given the monotonic
// clock of that time.
func (t *table) update(totals map[owner]total, at time.Time, clock time.Duration) {
	first := t.processes == nil
	if first {
		t.processes = make(map[owner]*process, len(totals))
	}
	for o := range t.processes {
		if _, lives := totals[o]; !lives {
			delete(t.processes, o)
		}
	}
	telling := uint64(tellingShare * float64(at.Sub(t.gathered)))
	t.leftOut = 0
	var shown [kinds]int
	type candidate struct {
		owner    owner
		wait     *wait
		kind     int
		from, by uint64
	}
	var candidates []candidate
	for o, now := range totals {
		p := t.processes[o]
		if p == nil {
			p = &process{}
			t.processes[o] = p
			if first { // it has waited before anybody looked
				p.waits[forCPU].last, p.waits[forIO].last = now.waits[forCPU], now.waits[forIO]
			}
		}
		if !p.told() {
			p.comm = now.comm
		}
		for kind := range p.waits {
			w := &p.waits[kind]
			// What a thread that exits has waited is missing for a moment: it is told to have
			// waited no longer.
			before := w.last
			w.last = max(w.last, now.waits[kind])
			switch by := w.last - before; {
			case !w.told.IsZero() && by >= telling:
				w.told = at
			case !w.told.IsZero() && at.Sub(w.told) >= keepQuiet:
				w.told = time.Time{}
			case w.told.IsZero() && by >= telling && by > 0:
				candidates = append(candidates, candidate{o, w, kind, before, by})
			}
			if !w.told.IsZero() {
				shown[kind]++
			}
		}
	}
	slices.SortFunc(candidates, func(a, b candidate) int { return cmp.Compare(b.by, a.by) })
	for _, c := range candidates {
		if shown[c.kind] >= t.most {
			t.leftOut++
			continue
		}
		shown[c.kind]++
		// What a process that is younger than the interval has waited, it has waited since its start.
		born := t.gathered
		if started := at.Add(time.Duration(c.owner.Start) - clock); started.After(born) && started.Before(at) {
			born = started
		}
		*c.wait = wait{last: c.wait.last, from: c.from, born: timestamppb.New(born), told: at}
	}
	t.gathered = at
}
