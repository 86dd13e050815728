package tcp

import (
	"cmp"
	"slices"
	"time"

	"github.com/promscope/promscope/ebpf/load"
)

const (
	// keepAtLeast is for how long a process has series after its end.
	keepAtLeast = 2 * time.Second
	// quietAfter is for how long a process has series after something was last counted of it.
	quietAfter = 5 * time.Minute
)

// process is what is known of a process of which something was counted.
type process struct {
	comm  string    // as it was called when it last had no series
	total counts    // in all its life
	moved time.Time // when something was last counted
	ended time.Time // zero while it lives
	held  uint64    // sockets that somebody had when it was last seen to have ended
	shown *series   // nil if it has none
}

// series is what is exposed of a process. What was counted before it had series is not in it.
type series struct {
	values counts
	born   [counters]time.Time // since when each counts; zero while it is not exposed
}

// add adds what was counted since the time given.
func (s *series) add(grown *counts, since time.Time) {
	s.values.add(grown)
	for i, n := range grown {
		if n > 0 && s.born[i].IsZero() {
			s.born[i] = since
		}
	}
}

// total is what was counted of a process in all its life.
type total struct {
	counts counts
	comm   [16]byte
	open   bool   // it has sockets
	held   uint64 // those that somebody has
}

// table has the processes of which something was counted. What is counted is exposed once: with
// the process, or else with the host.
type table struct {
	most int           // processes that have series
	keep time.Duration // for which a process has series after its end

	all     map[owner]*process
	nobody  counts // what nobody has done
	host    series // that, and what those have done that had no series
	last    time.Time
	leftOut int // processes without series for want of room
}

func newTable(most int, keep time.Duration, began time.Time) *table {
	t := &table{most: most, keep: keep, all: map[owner]*process{}, last: began}
	for i := range t.host.born {
		t.host.born[i] = began
	}
	return t
}

// grow takes in what was counted in all, and returns what that is more than before. It may be
// less: of a socket that is just being closed.
func (c *counts) grow(total *counts) (grown counts) {
	for i, n := range total {
		if n > c[i] {
			grown[i], c[i] = n-c[i], n
		}
	}
	return grown
}

// update takes in what was counted of everybody by the time now, and which processes live. It
// returns those that are forgotten, and those that have ended while somebody else has sockets of
// theirs: once, or as often as there are more.
func (t *table) update(now time.Time, totals map[owner]*total, lives map[owner]*living) (gone, orphaned []owner) {
	var candidates []candidate
	latest := map[uint64]owner{} // of those that had the same pid one after the other
	for o := range totals {
		latest[o.tgid()] = max(latest[o.tgid()], o)
		if t.all[o] == nil && o != nobody {
			t.all[o] = &process{moved: now}
		}
	}
	if none := totals[nobody]; none != nil {
		grown := t.nobody.grow(&none.counts)
		t.host.add(&grown, t.last)
	}
	shown := 0
	for o, p := range t.all {
		sum, l := totals[o], lives[o]
		if l != nil {
			p.ended, p.held = time.Time{}, 0
		} else if p.ended.IsZero() {
			p.ended = now
		}
		over := !p.ended.IsZero() && now.Sub(p.ended) >= t.keep
		if sum == nil {
			sum = &total{counts: p.total}
		}
		if !p.ended.IsZero() {
			if sum.held > p.held {
				orphaned = append(orphaned, o)
			}
			p.held = sum.held
		}
		if p.shown == nil {
			p.comm = load.Comm(sum.comm)
			if l != nil {
				p.comm = load.Comm(l.Comm)
			}
		}
		grown := p.total.grow(&sum.counts)
		if grown != (counts{}) {
			p.moved = now
		}
		if over || now.Sub(p.moved) >= quietAfter || latest[o.tgid()] > o {
			p.shown = nil
		}
		switch {
		case p.shown != nil:
			shown++
			p.shown.add(&grown, t.last)
		case over || latest[o.tgid()] > o:
			t.host.add(&grown, t.last)
		case grown != (counts{}):
			candidates = append(candidates, candidate{o, p, grown})
		}
		if over && !sum.open {
			delete(t.all, o)
			gone = append(gone, o)
		}
	}
	t.show(candidates, shown)
	t.last = now
	return gone, orphaned
}

// missed reports whether somebody did something for the first time, or is not known to live or to
// have ended.
func (t *table) missed(totals map[owner]*total, lives map[owner]*living) bool {
	for o := range totals {
		if o == nobody {
			continue
		}
		if p := t.all[o]; p == nil || p.ended.IsZero() && lives[o] == nil {
			return true
		}
	}
	return false
}

// candidate is a process that has no series and of which something was counted.
type candidate struct {
	owner owner
	*process
	grown counts
}

// show gives those processes series for which there is room, the oldest first.
func (t *table) show(candidates []candidate, shown int) {
	slices.SortFunc(candidates, func(a, b candidate) int { return cmp.Compare(a.owner, b.owner) })
	t.leftOut = 0
	for _, c := range candidates {
		if shown >= t.most {
			t.leftOut++
			t.host.add(&c.grown, t.last)
			continue
		}
		shown++
		c.shown = &series{}
		c.shown.add(&c.grown, t.last)
	}
}
