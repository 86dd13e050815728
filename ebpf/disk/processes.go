package disk

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/cilium/ebpf"

	"github.com/promscope/promscope/ebpf/load"
)

const (
	// keepAtLeast is for how long a process is exposed after its end.
	keepAtLeast = 2 * time.Second
	// quietAfter is for how long a process is exposed after it last read or wrote. Nearly all
	// processes have read something once: their own program.
	quietAfter = 5 * time.Minute
)

// usage is what a thread, or a process, has read and written, as the programs write it.
type usage struct {
	StartTime uint64 // of the process: monotonic clock, nanoseconds
	TGID      uint32
	Comm      [16]byte
	_         uint32
	Done      [kinds]uint64
}

// ended is what the threads of a process have done that have ended, as the programs write it.
type ended struct {
	Done   usage
	Kernel [2]uint64 // bytesRead and bytesWritten, as the kernel had it when there were no more
	Over   uint64    // 0 while there are
}

// What a process does is counted in four kinds, as struct usage of the programs has them.
const (
	bytesRead = iota
	bytesWritten
	reads  // requests
	writes // requests
	kinds
)

// owner names a process. A pid that is used again is another process's.
type owner struct{ StartTime, TGID uint64 }

func (u *usage) owner() owner { return owner{u.StartTime, uint64(u.TGID)} }

// counter is what a process has done of a kind.
type counter struct {
	total uint64    // in all its life
	base  uint64    // what is not exposed of it
	born  time.Time // since when the rest counts; zero while none is exposed
	moved time.Time // when the total was last seen to have grown
}

// grow takes in a total that was read at the time now, and last at the other time. It falls
// short where a thread ends just then: its bytes are in neither sum.
func (c *counter) grow(total uint64, now, last time.Time) {
	if total <= c.total {
		return
	}
	if c.born.IsZero() {
		c.base, c.born = c.total, last
	}
	c.total, c.moved = total, now
}

// rest stops to expose what has not grown for long.
func (c *counter) rest(now time.Time) {
	if now.Sub(c.moved) >= quietAfter {
		c.born = time.Time{}
	}
}

// process is what is known of a process that has read or written.
type process struct {
	owner
	comm  string // as it was called when it last had no series
	done  [kinds]counter
	ended time.Time
	seen  bool // in this gathering
}

func (p *process) exposed() bool {
	return slices.ContainsFunc(p.done[:], func(c counter) bool { return !c.born.IsZero() })
}

// lastMoved is when the process last read or wrote.
func (p *process) lastMoved() (last time.Time) {
	for _, c := range p.done {
		if c.moved.After(last) {
			last = c.moved
		}
	}
	return last
}

// processes knows the processes of the machine that have read or written. It exposes what they
// do from the first gathering on, so that a counter begins with 0.
type processes struct {
	most    int           // that are exposed
	keep    time.Duration // that a process is exposed after its end: two intervals at least
	all     map[owner]*process
	last    time.Time // of the last gathering; zero before the first
	leftOut int       // of the last gathering
}

// update takes in what was read at the time now. What threads did that have ended comes after the
// living ones. It returns the processes of which that need not be read again: when one is over, or
// not seen any more, its last threads may still be adding what they did, until the next time.
func (p *processes) update(now time.Time, living []usage, dead []ended) (over []owner) {
	sums := make(map[owner]*usage, len(living))
	for i := range living {
		u := &living[i]
		if sum := sums[u.owner()]; sum != nil {
			for kind, n := range u.Done {
				sum.Done[kind] += n
			}
			continue
		}
		sums[u.owner()] = u
	}
	for _, u := range sums {
		known := p.take(now, u)
		known.seen, known.ended = true, time.Time{}
	}
	for i := range dead {
		u := &dead[i].Done
		for kind, n := range dead[i].Kernel {
			u.Done[kind] = max(u.Done[kind], n) // either may fall short
		}
		switch known := p.take(now, u); {
		case !known.ended.IsZero():
			over = append(over, known.owner)
		case dead[i].Over != 0:
			known.ended = now
		}
	}
	for o, known := range p.all {
		if !known.seen && known.ended.IsZero() {
			known.ended = now // the program on its end missed it
		}
		known.seen = false
		for kind := range known.done {
			known.done[kind].rest(now)
		}
		if !known.ended.IsZero() && now.Sub(known.ended) >= p.keep {
			delete(p.all, o)
		}
	}
	p.last = now
	return over
}

// take takes in what a process has done in its life.
func (p *processes) take(now time.Time, u *usage) *process {
	known := p.all[u.owner()]
	if known == nil {
		known = &process{owner: u.owner()}
		if p.last.IsZero() { // it may have done all of it long ago
			for kind, n := range u.Done {
				known.done[kind].total = n
			}
		}
		p.all[u.owner()] = known
	}
	if !known.exposed() {
		known.comm = load.Comm(u.Comm)
	}
	for kind, n := range u.Done {
		known.done[kind].grow(n, now, p.last)
	}
	return known
}

// chosen returns the processes that have series: those that did something last. Of those that
// had the same pid one after the other, it is the last.
func (p *processes) chosen() []*process {
	latest := make(map[uint64]*process, len(p.all))
	for _, known := range p.all {
		if other := latest[known.TGID]; other == nil || other.StartTime < known.StartTime {
			latest[known.TGID] = known
		}
	}
	var all []*process
	for _, known := range latest {
		if known.exposed() {
			all = append(all, known)
		}
	}
	slices.SortFunc(all, func(a, b *process) int {
		return cmp.Or(b.lastMoved().Compare(a.lastMoved()), cmp.Compare(a.TGID, b.TGID))
	})
	p.leftOut = max(0, len(all)-p.most)
	return all[:len(all)-p.leftOut]
}

// each calls with every counter that is exposed, and its process.
func (p *processes) each(call func(of *process, kind int, c *counter)) {
	for _, known := range p.chosen() {
		for kind := range known.done {
			if c := &known.done[kind]; !c.born.IsZero() {
				call(known, kind, c)
			}
		}
	}
}

// readLiving returns the usage of each thread. Threads of one process are apart.
func readLiving(p *load.Programs) ([]usage, error) {
	var written bytes.Buffer
	if err := p.Iterate(programTasks, &written); err != nil {
		return nil, err
	}
	all := make([]usage, written.Len()/binary.Size(usage{}))
	if err := binary.Read(&written, binary.LittleEndian, all); err != nil {
		return nil, fmt.Errorf("reading threads: %w", err)
	}
	return all, nil
}

// readEnded returns what threads have done that have ended, by process.
func readEnded(m *ebpf.Map) (all []ended, err error) {
	err = load.ReadMap(m, func(_ owner, e *ended) { all = append(all, *e) })
	return all, err
}
