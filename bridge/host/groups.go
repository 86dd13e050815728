package host

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// indexInterval is how often at most all processes are looked through for those of a
// container or pod.
const indexInterval = 5 * time.Second

// groupKey names a container or a pod.
type groupKey struct{ container, pod string }

// groupIndex knows the processes of each container and pod.
type groupIndex struct {
	machine *Machine

	mu      sync.Mutex
	members map[groupKey][]ProcessID // the oldest first

	looking sync.Mutex // held while all processes are looked through
	built   time.Time
}

func newGroupIndex(m *Machine) *groupIndex {
	return &groupIndex{machine: m}
}

// alive reports whether a process of the group lives, and one did at that time.
func (g *groupIndex) alive(key groupKey, at time.Time) bool {
	if key == (groupKey{}) {
		return false
	}
	if lives, known := g.known(key, at); known {
		return lives
	}
	g.looking.Lock()
	defer g.looking.Unlock()
	if now := g.machine.now(); now.Sub(g.built) >= indexInterval {
		g.built = now
		if members, err := g.machine.groupMembers(); err == nil {
			g.mu.Lock()
			g.members = members
			g.mu.Unlock()
		}
	}
	lives, _ := g.known(key, at)
	return lives
}

// known reports whether a process of the group lives, and one did at that time. That is not
// known if all processes of the group that were seen have ended.
func (g *groupIndex) known(key groupKey, at time.Time) (lives, known bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for members := g.members[key]; len(members) > 0; members = g.members[key] {
		if g.machine.processes.alive(members[0], at) {
			return true, true
		}
		if g.machine.Lives(members[0]) {
			return false, true // the oldest did not live at that time, and so none did
		}
		g.members[key] = members[1:]
	}
	return false, false
}

// groupMembers looks through all processes and returns those of each container and
// pod, the oldest first. Processes that end meanwhile are passed over.
func (m *Machine) groupMembers() (map[groupKey][]ProcessID, error) {
	pids, err := m.PIDs()
	if err != nil {
		return nil, err
	}
	groups := map[groupKey][]ProcessID{}
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
			if key != (groupKey{}) {
				groups[key] = append(groups[key], p.ID())
			}
		}
	}
	for _, members := range groups {
		slices.SortFunc(members, func(a, b ProcessID) int { return cmp.Compare(a.ticks, b.ticks) })
	}
	return groups, nil
}
