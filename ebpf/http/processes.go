package http

import (
	"cmp"
	"slices"
	"time"
)

// retention decides which processes are reported, and which are forgotten.
type retention struct {
	keep time.Duration // that a process is reported after it has exited
	most int           // processes that the kernel has room for
}

// reported returns the processes to be reported at the time now. Of those that had the same pid one
// after the other, it is the last.
func (r retention) reported(all []counted, now time.Duration) []counted {
	type role struct{ tgid, role uint32 }
	latest := make(map[role]uint64, len(all))
	for _, c := range all {
		at := role{c.TGID, c.Role}
		latest[at] = max(latest[at], c.StartTime)
	}
	return slices.DeleteFunc(slices.Clone(all), func(c counted) bool {
		return r.expired(c, now) || c.StartTime != latest[role{c.TGID, c.Role}]
	})
}

func (r retention) expired(c counted, now time.Duration) bool {
	return c.Exited != 0 && now >= time.Duration(c.Exited)+r.keep
}

// gone returns the processes to be forgotten. To keep those that have exited must not be at the cost of
// those that live: while less than a quarter of the room is free, those that exited the longest ago go,
// whose last counts are the likeliest to be taken. When that has not prevented that requests were lost
// for want of room, those go that have answered nothing for the longest.
//
// One with requests that wait goes only where no other is left: their answers count, and the requests do not any more,
// so that too few are in flight from then on. The same becomes of a request that is read between the reading of the
// counters and the end of the process's.
func (r retention) gone(all []counted, now time.Duration, lost bool) (gone []owner, evicted int) {
	var exited, living []counted
	for _, c := range all {
		switch {
		case r.expired(c, now):
			gone = append(gone, c.owner)
		case c.Exited == 0:
			living = append(living, c)
		case now >= time.Duration(c.Exited)+keepAtLeast:
			exited = append(exited, c)
		}
	}
	free := r.most - len(all) + len(gone)
	slices.SortFunc(exited, func(a, b counted) int { return cmp.Compare(a.Exited, b.Exited) })
	for _, c := range exited[:max(0, min(len(exited), r.most/4-free))] {
		gone = append(gone, c.owner)
	}
	if !lost || len(gone) > 0 {
		return gone, 0
	}
	slices.SortFunc(living, func(a, b counted) int {
		return cmp.Or(cmp.Compare(min(a.inFlight(), 1), min(b.inFlight(), 1)), cmp.Compare(a.Last, b.Last))
	})
	for _, c := range living[:min(len(living), (r.most+15)/16)] {
		gone = append(gone, c.owner)
	}
	return gone, len(gone)
}

// responses is the number of all responses.
func (p *process) responses() uint64 {
	var n uint64
	for _, bucket := range p.Buckets {
		n += bucket
	}
	return n
}

// inFlight is the number of requests that wait for their response.
func (p *process) inFlight() uint64 {
	ended := p.responses() + p.Unanswered + p.Withdrawn
	return p.Started - min(p.Started, ended)
}
