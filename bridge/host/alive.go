package host

import (
	"strconv"
	"sync"
	"time"
)

// Alive reports whether the node of one of Scope's topologies (Host, Process,
// Container, Pod) exists now and did so at that time, which is that of a sample:
// a pid that was given to another process since names another node. For hosts
// the id is not looked at. Process ids are exact to a tenth of a second; a container
// or pod that has just been created may take the index's interval of five seconds to
// be known.
func (m *Machine) Alive(topology, id string, at time.Time) bool {
	switch topology {
	case "Host":
		return true
	case "Process":
		pid, err := strconv.Atoi(id)
		return err == nil && m.processes.alive(processID{pid: pid}, at)
	case "Container":
		return m.groups.alive(groupKey{container: id}, at)
	case "Pod":
		return m.groups.alive(groupKey{pod: id}, at)
	default:
		return false
	}
}

// startSlack is how much later than a sample of it a process may seem to have
// started: samples carry the time at which their scrape began.
const startSlack = 100 * time.Millisecond

// A process that was seen to live is taken to live still for a while: all rules ask
// about the same processes at the same time, and each answer is a system call or three.
// Of one that is watched the exit is heard of.
const (
	freshFor        = 100 * time.Millisecond
	freshForWatched = time.Second
)

// idleAfter is how long a process that nobody asks about stays watched.
const idleAfter = time.Minute

// tracker knows of the processes that somebody asks about whether they live.
type tracker struct {
	machine *Machine
	watcher *watcher // nil without pidfds

	mu        sync.Mutex
	processes map[int]*tracked
	swept     time.Time
}

// tracked is a process, from one pidfd or one start time on.
type tracked struct {
	watch *watch // nil if it is polled
	ticks uint64
	start time.Time
	seen  time.Time // to live
	asked time.Time
}

func newTracker(m *Machine, w *watcher) *tracker {
	return &tracker{machine: m, watcher: w, processes: map[int]*tracked{}, swept: m.now()}
}

func (t *tracker) close() error {
	if t.watcher == nil {
		return nil
	}
	return t.watcher.Close()
}

// alive reports whether the process lives, and did at that time. Without a start
// time in its id, any process that has the pid will do.
func (t *tracker) alive(id processID, at time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, pid := t.machine.now(), id.pid
	t.sweep(now)

	p := t.processes[pid]
	if p == nil || !p.fresh(now) {
		if p == nil || !t.same(pid, p) {
			t.drop(pid)
			if p = t.track(pid); p == nil {
				return false
			}
			t.processes[pid] = p
		}
		p.seen = now
	}
	p.asked = now
	if id.ticks != 0 && id.ticks != p.ticks {
		return false
	}
	if p.start.After(at.Add(startSlack)) {
		// The clock may have been set since, and the start time with it.
		fresh, err := t.machine.startTime(p.ticks)
		if err != nil || fresh.After(at.Add(startSlack)) {
			return false
		}
		p.start = fresh
	}
	return true
}

// track begins to watch the process that has the pid; nil if there is none.
func (t *tracker) track(pid int) *tracked {
	p := &tracked{}
	if t.watcher != nil {
		p.watch, _ = t.watcher.Watch(pid) // nil beyond the limit: polled
	}
	stat, err := t.machine.stat(pid)
	if err == nil {
		p.ticks = stat.StartTicks
		p.start, err = t.machine.startTime(p.ticks)
	}
	// The watch is older than the reading: if it has not ended, both are of the
	// same process.
	if err != nil || p.watch != nil && p.watch.Exited() {
		if p.watch != nil {
			p.watch.Close()
		}
		return nil
	}
	return p
}

// fresh reports whether the process was seen to live just now.
func (p *tracked) fresh(now time.Time) bool {
	since := now.Sub(p.seen).Abs()
	if p.watch == nil {
		return since < freshFor
	}
	return since < freshForWatched && !p.watch.exited.Load()
}

// same reports whether a process lives that was tracked before.
func (t *tracker) same(pid int, p *tracked) bool {
	if p.watch != nil {
		return !p.watch.Exited()
	}
	stat, err := t.machine.stat(pid)
	return err == nil && stat.StartTicks == p.ticks
}

func (t *tracker) drop(pid int) {
	if p := t.processes[pid]; p != nil && p.watch != nil {
		p.watch.Close()
	}
	delete(t.processes, pid)
}

// sweep forgets, now and then, the processes that nobody asks about.
func (t *tracker) sweep(now time.Time) {
	if now.Sub(t.swept) < idleAfter {
		return
	}
	t.swept = now
	for pid, p := range t.processes {
		if now.Sub(p.asked) >= idleAfter {
			t.drop(pid)
		}
	}
}
