package plugin

import (
	"errors"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// probeSilence is after how long without a poll a process is no longer taken for the
// probe, if it still lives. Probes poll once a second.
const probeSilence = 3 * time.Second

// announceTimeout bounds how long a new probe's first poll waits for the hook. The
// probe allows 500 ms for all.
const announceTimeout = 150 * time.Millisecond

// probe is the process that polls as Scope's probe of this host. Any client may poll
// with a probe's parameters; the first one stays the probe for as long as it lives
// and goes on polling.
type probe struct {
	mu   sync.Mutex
	pid  int // 0: none yet
	last time.Time
}

// polled takes note of a poll and reports whether the process has become the probe
// by it.
func (p *probe) polled(pid int, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pid == p.pid {
		p.last = now
		return false
	}
	if p.pid != 0 && now.Sub(p.last) < probeSilence && lives(p.pid) {
		return false
	}
	p.pid, p.last = pid, now
	return true
}

// forget makes a process that has become the probe none again.
func (p *probe) forget(pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pid == pid {
		p.pid = 0
	}
}

// lives reports whether there is a process with that pid, a zombie included
// (kill(2)).
func lives(pid int) bool { return !errors.Is(unix.Kill(pid, 0), unix.ESRCH) }

// newProbe is a process that has become the probe.
type newProbe struct {
	pid  int
	done chan struct{} // closed when the hook has returned
}
