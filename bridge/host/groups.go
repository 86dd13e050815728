package host

import (
	"sync"
	"time"
)

// indexInterval is how often at most all processes are looked through for those
// of a container or pod.
const indexInterval = 5 * time.Second

// groupKey names a container or a pod.
type groupKey struct{ container, pod string }

// groupIndex knows one process of each container and pod: its oldest, for with
// the first process of a container the container ends.
type groupIndex struct {
	machine *Machine

	mu      sync.Mutex
	members map[groupKey]ProcessID
	built   time.Time
	lost    time.Time // when they were last looked through for the loss of a member
}

func newGroupIndex(m *Machine) *groupIndex {
	return &groupIndex{machine: m}
}

// alive reports whether a process of the group lives, and one did at that time.
func (g *groupIndex) alive(key groupKey, at time.Time) bool {
	if key == (groupKey{}) {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	member, known := g.members[key]
	if known {
		if g.machine.processes.alive(member, at) {
			return true
		}
		if g.machine.Lives(member) {
			return false // but did not at that time
		}
	}
	now := g.machine.now()
	switch {
	case now.Sub(g.built) >= indexInterval:
		g.members, g.built = g.machine.groupMembers(), now
	case known && now.Sub(g.lost) >= indexInterval:
		// The loss of a member is looked into at once: there may be others.
		g.members, g.built, g.lost = g.machine.groupMembers(), now, now
	}
	member, known = g.members[key]
	return known && g.machine.processes.alive(member, at)
}

// groupMembers looks through all processes and returns the oldest of each
// container and pod. Processes that end meanwhile are passed over.
func (m *Machine) groupMembers() map[groupKey]ProcessID {
	members := map[groupKey]ProcessID{}
	pids, err := m.PIDs()
	if err != nil {
		return members
	}
	for _, pid := range pids {
		container, pod, err := m.ContainerOf(pid)
		if err != nil || container == "" && pod == "" {
			continue
		}
		p, err := m.Stat(pid)
		if err != nil {
			continue
		}
		for _, key := range []groupKey{{container: container}, {pod: pod}} {
			if oldest, ok := members[key]; key != (groupKey{}) && (!ok || p.StartTicks < oldest.ticks) {
				members[key] = p.ID()
			}
		}
	}
	return members
}
