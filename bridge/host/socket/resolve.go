package socket

import (
	"context"
	"maps"
	"time"

	"github.com/promscope/promscope/bridge/host"
)

// resolve returns the owners of sockets. Those that are known are verified, and the
// others looked for. If that is necessary, further sockets whose owners are not known yet
// are looked for as well, since the search costs the same. What is found beside the owners
// is returned with them. It waits for a search that is under way, until ctx is done: that
// may find the owners, too.
func (t *listenerTable) resolve(ctx context.Context, inodes, further []uint64) map[uint64]holder {
	owners, unknown, managed := t.known(inodes)
	if len(unknown)+len(managed) == 0 {
		return owners
	}
	select {
	case t.searching <- struct{}{}:
		defer func() { <-t.searching }()
	case <-ctx.Done():
		return owners
	}
	// While this waited, another search may have found them.
	if owners, unknown, managed = t.known(inodes); len(unknown) > 0 {
		t.addNew(unknown, further)
		maps.Copy(owners, t.search(unknown))
	}
	if len(managed) > 0 {
		maps.Copy(owners, t.searchFresh())
	}
	return owners
}

// known returns the owners that are known and hold their sockets still. The sockets whose
// owners have to be looked for are unknown, and those that only a service manager holds
// managed.
func (t *listenerTable) known(inodes []uint64) (owners map[uint64]holder, unknown, managed map[uint64]bool) {
	now := t.machine.Now()
	owners, unknown, managed = map[uint64]holder{}, map[uint64]bool{}, map[uint64]bool{}
	stats, services := map[int]host.Process{}, newServices(t.machine)
	for _, inode := range inodes {
		t.mu.Lock()
		before, ok := t.owners[inode]
		missed, looked := t.missed[inode]
		t.mu.Unlock()
		if ok {
			h, holds := verify(t.machine, before, inode, stats)
			if holds {
				// A service may have been started since.
				if service, given := services.of(h, inode); given {
					h = service
				}
				owners[inode] = h
			}
			t.update(inode, before, h, holds)
			switch {
			case !holds:
				unknown[inode] = true
				continue
			case !isServiceManager(h.process):
				continue
			}
			managed[inode] = true
		}
		if !looked || now.Sub(missed.at) >= missed.wait {
			unknown[inode] = true
		}
	}
	return owners, unknown, managed
}

// update notes what the verification of an owner came to, unless somebody else has found
// another one meanwhile.
func (t *listenerTable) update(inode uint64, before, after holder, holds bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.owners[inode] != before:
	case !holds:
		delete(t.owners, inode)
		delete(t.missed, inode)
	case after != before:
		t.owners[inode] = after
	}
}

// addNew adds the sockets that were never looked for.
func (t *listenerTable) addNew(unknown map[uint64]bool, further []uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, inode := range further {
		_, owned := t.owners[inode]
		if _, missed := t.missed[inode]; !owned && !missed {
			unknown[inode] = true
		}
	}
}

// search looks through all processes for the owners of sockets. Sockets that no process
// holds, or only a service manager, end up in missed.
func (t *listenerTable) search(unknown map[uint64]bool) map[uint64]holder {
	now := t.machine.Now()
	t.makeRoom(now)
	pids, err := t.machine.PIDs()
	if err != nil {
		return nil
	}
	found := newSearch(t.machine, unknown).owners(pids)
	t.mu.Lock()
	defer t.mu.Unlock()
	for inode := range unknown {
		h, ok := found[inode]
		if ok {
			t.owners[inode] = h
		}
		if ok && !isServiceManager(h.process) {
			delete(t.missed, inode)
			continue
		}
		wait := min(max(2*t.missed[inode].wait, missedFirst), missedMost)
		t.missed[inode] = miss{now, wait}
	}
	return found
}

// searchFresh looks for the services of all sockets that only their service manager holds,
// in the processes that were started since it looked last. A service inherits its socket,
// so that it holds it from its start. This costs little, and finds a service at the first
// look after its start. A service manager may be a child that is about to execute the
// service, and so is looked at each time.
func (t *listenerTable) searchFresh() map[uint64]holder {
	pids, err := t.machine.PIDs()
	if err != nil {
		return nil
	}
	t.mu.Lock()
	before := t.searched
	managed := map[uint64]bool{}
	for inode, h := range t.owners {
		if isServiceManager(h.process) {
			managed[inode] = true
		}
	}
	t.mu.Unlock()
	var fresh []int
	searched := make(map[int]bool, len(pids))
	for _, pid := range pids {
		searched[pid] = true
		if !before[pid] {
			fresh = append(fresh, pid)
		}
	}
	s := newSearch(t.machine, managed)
	found := s.owners(fresh)
	for pid := range s.managers {
		delete(searched, pid)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.searched = searched
	for inode, h := range found {
		if isServiceManager(h.process) {
			delete(found, inode)
			continue
		}
		t.owners[inode] = h
		delete(t.missed, inode)
	}
	return found
}

// makeRoom drops, now and then, sockets that are not held as they were, and those
// without an owner that nobody has asked for lately. It does the work of forget where all
// listeners are never listed.
func (t *listenerTable) makeRoom(now time.Time) {
	t.mu.Lock()
	if len(t.owners)+len(t.missed) < t.room {
		t.mu.Unlock()
		return
	}
	owners := maps.Clone(t.owners)
	t.mu.Unlock()
	stats := map[int]host.Process{}
	for inode, h := range owners {
		if after, ok := verify(t.machine, h, inode, stats); !ok {
			t.update(inode, h, after, false)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for inode, m := range t.missed {
		if now.Sub(m.at) >= 2*missedMost {
			delete(t.missed, inode)
		}
	}
	t.room = 2*(len(t.owners)+len(t.missed)) + 64
}
