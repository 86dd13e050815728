package http

import (
	"bytes"
	"cmp"
	"math"
	"slices"
	"sync/atomic"
	"time"
)

// slotMaps are the kernel's maps that decide who holds which slot.
type slotMaps interface {
	// release takes the slot from its owner, if it has it still.
	release(owner) error
	// free makes the slot available.
	free(slot uint32) error
	// rareCodes returns the counts of a slot's codes that have no column.
	rareCodes(func(rareCode, uint64)) error
	// dropRareCodes forgets those of a slot.
	dropRareCodes(slot uint32) error
}

// table is the counters of all processes, in memory that the kernel writes to.
//
// A slot goes from its process to the next in two steps, a sweep apart. First its epoch is raised:
// from then on every program that has the slot in hand sees that it is not its own any more. Then,
// when none can be in the middle of an addition, it is zeroed and freed.
type table struct {
	maps      slotMaps
	keep      time.Duration // that a process is reported after it has exited
	cpus      int
	processes []process
	counters  []counters // slots × CPUs
	draining  []bool     // by slot: the first step is done
	evictions uint64
}

func newTable(maps slotMaps, keep time.Duration, processes []process, all []counters) *table {
	return &table{
		maps:      maps,
		keep:      keep,
		cpus:      len(all) / len(processes),
		processes: processes,
		counters:  all,
		draining:  make([]bool, len(processes)),
	}
}

// stripes returns a slot's counters, one per CPU.
func (t *table) stripes(slot int) []counters {
	return t.counters[slot*t.cpus : (slot+1)*t.cpus]
}

// live reports whether the slot holds a process to be reported at the time now.
func (t *table) live(slot int, now time.Duration) bool {
	p := &t.processes[slot]
	if atomic.LoadUint32(&p.Taken) == 0 || t.draining[slot] {
		return false
	}
	exited := atomic.LoadUint64(&p.Exited)
	return exited == 0 || now < time.Duration(exited)+t.keep
}

// reported returns the slots to be reported at the time now. Of processes that had the same pid
// one after the other, it is the last.
func (t *table) reported(now time.Duration) []int {
	slots := make([]int, 0, len(t.processes))
	last := map[owner]int{} // of pids that have exited
	for slot := range t.processes {
		if !t.live(slot, now) {
			continue
		}
		slots = append(slots, slot)
		if t.exited(slot) != math.MaxUint64 {
			last[t.owner(slot)] = slot
		}
	}
	if len(last) == 0 {
		return slots
	}
	for _, slot := range slots {
		if other, ok := last[t.owner(slot)]; ok && t.exited(slot) > t.exited(other) {
			last[t.owner(slot)] = slot
		}
	}
	return slices.DeleteFunc(slots, func(slot int) bool {
		other, ok := last[t.owner(slot)]
		return ok && other != slot
	})
}

func (t *table) owner(slot int) owner {
	return owner{TGID: t.processes[slot].TGID, Role: t.processes[slot].Role}
}

// exited returns when the slot's process exited, in the far future while it lives.
func (t *table) exited(slot int) uint64 {
	if at := atomic.LoadUint64(&t.processes[slot].Exited); at != 0 {
		return at
	}
	return math.MaxUint64
}

// sweep frees the slots of processes that are gone. When requests were lost for want of a slot,
// and none is about to be free, it takes those of the processes that have had none for the longest.
func (t *table) sweep(now time.Duration, lost bool) error {
	underway := false
	free := 0 // slots, or about to be
	var exited []slotUse
	for slot := range t.processes {
		switch {
		case atomic.LoadUint32(&t.processes[slot].Taken) == 0:
			free++
		case t.draining[slot]:
			underway = true
			free++
			if err := t.recycle(slot); err != nil {
				return err
			}
		case !t.live(slot, now):
			underway = true
			free++
			t.drain(slot)
		default:
			at := atomic.LoadUint64(&t.processes[slot].Exited)
			if at != 0 && now >= time.Duration(at)+keepAtLeast {
				exited = append(exited, slotUse{slot, at})
			}
		}
	}
	// To keep those that have exited must not be at the cost of those that live: when few slots are
	// left, those that exited the longest ago, whose last counts are the likeliest to be taken, go.
	if few := min(len(exited), len(t.processes)/4-free); few > 0 {
		underway = true
		slices.SortFunc(exited, func(a, b slotUse) int { return cmp.Compare(a.last, b.last) })
		for _, use := range exited[:few] {
			t.drain(use.slot)
		}
	}
	if lost && !underway {
		return t.evict()
	}
	return nil
}

func (t *table) drain(slot int) {
	epoch := t.processes[slot].Epoch + 1
	atomic.StoreUint32(&t.processes[slot].Epoch, epoch)
	stripes := t.stripes(slot)
	for i := range stripes {
		atomic.StoreUint32(&stripes[i].Epoch, epoch)
	}
	t.draining[slot] = true
}

func (t *table) recycle(slot int) error {
	if err := t.maps.dropRareCodes(uint32(slot)); err != nil {
		return err
	}
	stripes := t.stripes(slot)
	for i := range stripes {
		stripes[i] = counters{Epoch: stripes[i].Epoch}
	}
	p := &t.processes[slot]
	*p = process{Epoch: p.Epoch}
	t.draining[slot] = false
	return t.maps.free(uint32(slot))
}

type slotUse struct {
	slot int
	last uint64 // when it was used, or its process exited: monotonic clock, nanoseconds
}

// evict takes a sixteenth of the slots from those who have used theirs the least lately.
func (t *table) evict() error {
	idle := make([]slotUse, 0, len(t.processes))
	for slot := range t.processes {
		p := &t.processes[slot]
		if atomic.LoadUint32(&p.Taken) == 0 || atomic.LoadUint64(&p.Exited) != 0 {
			continue
		}
		use := slotUse{slot: slot}
		for i := range t.stripes(slot) {
			use.last = max(use.last, atomic.LoadUint64(&t.stripes(slot)[i].Last))
		}
		idle = append(idle, use)
	}
	slices.SortFunc(idle, func(a, b slotUse) int { return cmp.Compare(a.last, b.last) })
	for _, use := range idle[:min(len(idle), (len(t.processes)+15)/16)] {
		if err := t.maps.release(t.owner(use.slot)); err != nil {
			return err
		}
		t.drain(use.slot)
		t.evictions++
	}
	return nil
}

// sum is a slot's counters over all CPUs.
type sum struct {
	counters
	responses uint64
}

// read adds up a slot.
func (t *table) read(slot int, s *sum) {
	*s = sum{}
	stripes := t.stripes(slot)
	for i := range stripes {
		c := &stripes[i]
		if atomic.LoadUint64(&c.Started)|atomic.LoadUint64(&c.Last)|atomic.LoadUint64(&c.Unanswered)|atomic.LoadUint64(&c.Withdrawn) == 0 {
			continue // this CPU has nothing
		}
		// What ends a request is read before what starts it, so that a request in flight may
		// appear a moment too long, but none is ended that has not begun.
		s.Pipelined += atomic.LoadUint64(&c.Pipelined)
		s.Unanswered += atomic.LoadUint64(&c.Unanswered)
		s.Withdrawn += atomic.LoadUint64(&c.Withdrawn)
		s.Sum += atomic.LoadUint64(&c.Sum)
		for j := range c.Buckets {
			n := atomic.LoadUint64(&c.Buckets[j])
			s.Buckets[j] += n
			s.responses += n
		}
		for j := range c.Codes {
			s.Codes[j] += atomic.LoadUint64(&c.Codes[j])
		}
	}
	for i := range stripes {
		s.Started += atomic.LoadUint64(&stripes[i].Started)
	}
}

// inFlight is the number of requests that wait for their response.
func (s *sum) inFlight() uint64 {
	ended := s.responses - min(s.responses, s.Pipelined) + s.Unanswered + s.Withdrawn
	if ended >= s.Started {
		return 0
	}
	return s.Started - ended
}

// comm returns the process's name.
func (p *process) comm() string {
	name, _, _ := bytes.Cut(p.Comm[:], []byte{0})
	return string(bytes.ToValidUTF8(name, []byte("�")))
}
