package host

import (
	"sync"
	"time"
)

// All processes are looked through for a pid that is not known. That takes at most one
// part in pidShare of the time, but is done each pidInterval in any case.
const (
	pidInterval = time.Second
	pidShare    = 20
)

// Translation is a pid of an exporter as the machine's procfs has it.
type Translation struct {
	PID int
	// Holds reports whether the pid still means the process that it was translated for.
	// As long as that is watched it takes less than a microsecond. It is nil where the
	// exporter's pids are the machine's: there is nothing that could become wrong.
	Holds func() bool
}

// TranslatePID returns the pid, in the machine's procfs, of the process that has the
// given pid in the exporter's pid namespace. The pid is taken as it is if that is no
// other namespace, and if the exporter was given the host's /proc beside its own, as is
// usual for exporters of processes in containers. It is not ok if no process has the pid
// in that namespace.
func (m *Machine) TranslatePID(exporter, pid int) (t Translation, ok bool) {
	ids, err := m.NSPIDs(exporter)
	if err != nil {
		return Translation{}, false
	}
	if len(ids) <= 1 || m.seesOtherProc(exporter) {
		return Translation{PID: pid}, true
	}
	ns, err := m.Namespace(exporter, "pid")
	if err != nil {
		return Translation{}, false
	}
	found, ok := m.pids.lookup(ns, pid)
	if !ok {
		return Translation{}, false
	}
	p, err := m.Stat(found)
	if err != nil {
		return Translation{}, false
	}
	id := p.ID()
	// The process may have ended since it was found, and another one have its pid.
	if !m.hasPID(found, nsPID{ns, pid}) {
		return Translation{}, false
	}
	return Translation{PID: found, Holds: func() bool { return m.processes.alive(id, m.now()) }}, true
}

// seesOtherProc reports whether the process has a procfs elsewhere than on /proc. One
// that is mounted on /host/proc is meant to be read.
func (m *Machine) seesOtherProc(pid int) bool {
	proc, err := m.fs.Proc(pid)
	if err != nil {
		return false
	}
	mounts, err := proc.MountInfo()
	if err != nil {
		return false
	}
	for _, mount := range mounts {
		// Container runtimes mount parts of /proc over themselves, read-only.
		if mount.FSType == "proc" && mount.Root == "/" && mount.MountPoint != "/proc" {
			return true
		}
	}
	return false
}

// nsPID is a pid in a pid namespace.
type nsPID struct {
	ns  uint64
	pid int
}

// pidTable translates pids of other pid namespaces to those of the procfs.
type pidTable struct {
	machine *Machine

	mu   sync.Mutex
	pids map[nsPID]int // replaced as a whole, never changed

	looking sync.Mutex // held while all processes are looked through
	built   time.Time
	took    time.Duration
}

func newPIDTable(m *Machine) *pidTable { return &pidTable{machine: m} }

// lookup returns the process of the procfs that has the pid in the namespace.
func (t *pidTable) lookup(ns uint64, pid int) (int, bool) {
	key := nsPID{ns, pid}
	if found, ok := t.known(key); ok {
		return found, true
	}
	t.looking.Lock()
	defer t.looking.Unlock()
	if now := t.machine.now(); now.Sub(t.built) >= min(pidShare*t.took, pidInterval) {
		begin := time.Now()
		pids, err := t.machine.namespacePIDs()
		t.built, t.took = now, time.Since(begin)
		if err == nil {
			t.mu.Lock()
			t.pids = pids
			t.mu.Unlock()
		}
	}
	return t.known(key)
}

// known returns the process that had the pid in the namespace when all were looked
// through, if it has it still.
func (t *pidTable) known(key nsPID) (int, bool) {
	t.mu.Lock()
	pid, ok := t.pids[key]
	t.mu.Unlock()
	return pid, ok && t.machine.hasPID(pid, key)
}

// hasPID reports whether a process of the procfs still has a pid in a namespace.
func (m *Machine) hasPID(pid int, key nsPID) bool {
	ns, err := m.Namespace(pid, "pid")
	if err != nil || ns != key.ns {
		return false
	}
	ids, err := m.NSPIDs(pid)
	return err == nil && len(ids) > 0 && ids[len(ids)-1] == key.pid
}

// namespacePIDs returns the pids of all processes that are in another pid
// namespace than the procfs, by their pid there. A process of a nested
// namespace has pids in those above, too; these are left out.
func (m *Machine) namespacePIDs() (map[nsPID]int, error) {
	pids, err := m.PIDs()
	if err != nil {
		return nil, err
	}
	table := map[nsPID]int{}
	top, _ := m.Namespace(1, "pid")
	for _, pid := range pids {
		ns, err := m.Namespace(pid, "pid")
		if err != nil || ns == top {
			continue
		}
		ids, err := m.NSPIDs(pid)
		if err != nil || len(ids) == 0 {
			continue
		}
		table[nsPID{ns, ids[len(ids)-1]}] = pid
	}
	return table, nil
}
