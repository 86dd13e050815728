package socket

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/promscope/promscope/bridge/host"
)

// An exporter without a server is looked at again after firstLook, and then ever less
// often: for each look the kernel walks through all connections.
const (
	firstLook = time.Second
	lastLook  = time.Minute
)

// An exporter that is asked is looked at lookMost times at most, at first every lookFirst.
// The pauses become longer, and are at least as long as the looks.
const (
	lookMost  = 200
	lookFirst = 200 * time.Microsecond
	lookPause = 5 * time.Millisecond
)

// targetGone is how long a target is not asked that does not exist any more: the
// configuration has changed.
const targetGone = time.Hour

// upstreamTable remembers which processes are exporters, and which server each of
// their targets speaks of.
type upstreamTable struct {
	mu    sync.Mutex // guards what hangs on the table, and is held for moments
	known map[host.ProcessID]*exporter
	room  int // with so many, those that have ended are dropped
}

// exporter is what is known of a process.
type exporter struct {
	process host.Process // zero if it is none, or not to be seen into
	targets map[string]*upstream
	looks   map[*Look]bool    // of scrapes under way
	before  map[uint64]string // the sockets that it had when it had answered the last scrape
	read    bool              // these were read, which they are if it has several targets
}

// upstream is what is known of a target of an exporter.
type upstream struct {
	server host.Process // zero if none is known
	socket peer         // by which it is connected to that
	note   string
	// elsewhere says that a connection to another host was seen. In a later scrape that may be
	// missed, and the others are still not who is spoken of.
	elsewhere bool

	wait  time.Duration // between two looks for a server
	next  time.Time     // when the next look is due
	asked time.Time     // when the target was asked last
}

// Subject is the process that a target speaks of.
type Subject struct {
	Process host.Process // zero if it is the process that answers
	Note    string       // what an exporter speaks of and why, to follow "speaks of"; "" for others
	// OneOfMany says that the exporter is asked for several servers of which no process is
	// known. What it says of one of them cannot stand for the exporter.
	OneOfMany bool
}

// Look is a look at an exporter while it answers a scrape.
type Look struct {
	table    *Table
	exporter *exporter
	target   *upstream
	stop     context.CancelFunc // ends looking; what was seen is still resolved
	done     chan struct{}
	end      func() // notes that the target has answered; nil if no exporter is looked at
	alone    bool   // no other target of the exporter was asked meanwhile
	subject  Subject
}

// Upstream begins to look for the server that a target of an exporter speaks of: the only
// process on this host to which the exporter is connected, by TCP or by a unix socket. The
// request tells the exporter's targets apart. It returns at once; the exporter is looked at
// until the result is asked for, or ctx is done. Where the server is known that costs some
// microseconds; of an exporter with several targets the descriptors are read in any case.
func (t *Table) Upstream(ctx context.Context, pid int, request string) *Look {
	l := &Look{table: t, alone: true}
	p, err := t.machine.Stat(pid)
	if err != nil {
		return l
	}
	e := t.upstreams.of(t.machine, p)
	if e.process.NetNS == 0 {
		return l
	}
	u := t.upstreams.begin(l, e, request, t.machine.Now())
	l.end = sync.OnceFunc(l.answered)
	context.AfterFunc(ctx, l.end)
	if t.follow(ctx, e.process, &u) {
		t.upstreams.note(l, u)
	}
	l.subject = Subject{Process: u.server, Note: u.note}
	if t.machine.Now().Before(u.next) {
		return l
	}
	l.done = make(chan struct{})
	var looking context.Context
	looking, l.stop = context.WithCancel(ctx)
	go l.look(ctx, looking, u)
	return l
}

// Result ends the look and returns what came of it.
func (l *Look) Result() Subject {
	if l.done != nil {
		l.stop()
		<-l.done
	}
	if l.end != nil {
		l.end()
		l.subject.OneOfMany = l.subject.Process.PID == 0 && l.table.upstreams.oneOfMany(l)
		if l.subject.OneOfMany {
			l.subject.Note = noteMany
		}
	}
	return l.subject
}

// oneOfMany tells whether a target is one of several that an exporter is asked for by the
// parameter target, as is the custom, and of which no process is known. Other parameters
// select some metrics of one server, as collect[] does.
// https://prometheus.io/docs/guides/multi-target-exporter/
func (t *upstreamTable) oneOfMany(l *Look) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	targets, own := map[string]bool{}, false
	for request, u := range l.exporter.targets {
		asked, err := url.ParseRequestURI(request)
		if err != nil || u.server.PID != 0 {
			continue
		}
		if target := asked.Query().Get("target"); target != "" {
			targets[target] = true
			own = own || u == l.target
		}
	}
	return own && len(targets) > 1
}

// of returns what is known of a process.
func (t *upstreamTable) of(m *host.Machine, p host.Process) *exporter {
	t.mu.Lock()
	e := t.known[p.ID()]
	full := len(t.known) >= t.room
	t.mu.Unlock()
	if e != nil {
		return e
	}
	e = &exporter{targets: map[string]*upstream{}, looks: map[*Look]bool{}}
	if whole, err := m.Process(p.PID); err == nil && whole.ID() == p.ID() && exporterName(m, whole) != "" {
		e.process = whole
	}
	if full {
		t.makeRoom(m)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if known := t.known[p.ID()]; known != nil {
		return known
	}
	t.known[p.ID()] = e
	return e
}

// makeRoom drops the processes that have ended.
func (t *upstreamTable) makeRoom(m *host.Machine) {
	t.mu.Lock()
	ids := make([]host.ProcessID, 0, len(t.known))
	for id := range t.known {
		ids = append(ids, id)
	}
	t.mu.Unlock()
	var ended []host.ProcessID
	for _, id := range ids {
		if !m.Lives(id) {
			ended = append(ended, id)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, id := range ended {
		delete(t.known, id)
	}
	t.room = 2*len(t.known) + 64
}

// begin notes that a target is asked, and returns a copy of what is known of it. An
// exporter that turns out to have several targets may have kept connections for any of
// them, so that what was found for the first one is not sure.
func (t *upstreamTable) begin(l *Look, e *exporter, request string, now time.Time) upstream {
	t.mu.Lock()
	defer t.mu.Unlock()
	for other, u := range e.targets {
		if now.Sub(u.asked) >= targetGone {
			delete(e.targets, other)
		}
	}
	l.exporter, l.target = e, e.targets[request]
	if l.target == nil {
		l.target = &upstream{wait: firstLook}
		if len(e.targets) == 1 {
			for _, first := range e.targets {
				*first = upstream{wait: firstLook, asked: first.asked}
			}
		}
		e.targets[request] = l.target
	}
	l.target.asked = now
	for other := range e.looks {
		if other.target != l.target {
			other.alone, l.alone = false, false
		}
	}
	e.looks[l] = true
	return *l.target
}

// answered notes that a target has answered. If the exporter has several targets, each
// scrape tells which sockets are not new in the next one, also where it looks for no server.
func (l *Look) answered() {
	t, e := l.table.upstreams, l.exporter
	t.mu.Lock()
	several := len(e.targets) > 1
	t.mu.Unlock()
	var held map[uint64]string
	if several {
		held = socketsOf(l.table.machine, e.process.PID, nil)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(e.looks, l)
	e.before, e.read = held, several
}

// IsExporter tells whether a process is an exporter, of another process or of the machine.
func IsExporter(m *host.Machine, pid int) bool {
	p, err := m.Process(pid)
	return err == nil && exporterName(m, p) != ""
}

// exporterName returns the name of an exporter: that of its program, or of the script that
// an interpreter runs. It is "" for others: exporters are called so.
// https://prometheus.io/docs/instrumenting/writing_exporters/
func exporterName(m *host.Machine, p host.Process) string {
	names := []string{filepath.Base(p.Exe), p.Comm}
	if isInterpreter(names[0]) {
		args, _ := m.CmdLine(p.PID)
		for i, arg := range args {
			if i > 0 && !strings.HasPrefix(arg, "-") {
				names = append(names, filepath.Base(arg))
				break
			}
		}
	}
	i := slices.IndexFunc(names, func(name string) bool { return strings.Contains(name, "exporter") })
	if i < 0 {
		return ""
	}
	return names[i]
}

// isInterpreter reports whether a program runs scripts; it may have a version in its name.
func isInterpreter(name string) bool {
	return slices.ContainsFunc([]string{"python", "pypy", "ruby", "perl", "node", "php", "java", "lua", "deno", "bun"},
		func(interpreter string) bool { return strings.HasPrefix(name, interpreter) })
}

// follow brings a server that was found up to date, and reports whether it changed. One
// that was restarted has the same address.
func (t *Table) follow(ctx context.Context, p host.Process, u *upstream) (changed bool) {
	if u.server.PID == 0 || t.machine.Lives(u.server.ID()) {
		return false
	}
	at := u.socket
	at.client, at.inode, at.listener = netip.AddrPort{}, 0, 0 // of a connection that has gone
	if u.server.NetNS != p.NetNS {
		at.path = "" // what has it here is another server
	}
	s := t.subjectsOf(ctx, p, map[uint64]peer{0: at})
	if u.server = s.process; u.server.PID == 0 {
		u.note, u.wait, u.next = noteNone, firstLook, time.Time{}
	} else {
		u.note = noteFound(u.server)
	}
	return true
}

// What an exporter speaks of, and why.
const (
	noteNone      = "itself: no connection of the exporter to another process on this host was seen while it answered"
	noteElsewhere = "itself: the exporter is connected to another host"
	noteUnknown   = "itself: the exporter is connected to a process on this host that cannot be told"
	noteSeveral   = "itself: the exporter is connected to several processes"
	noteProxy     = "itself: the exporter is connected to a proxy on this host, and what that leads to is not known"
	noteMany      = "nothing here: the exporter is asked for several targets, and no process on this host is known for them"
	noteTogether  = "itself: the exporter was asked for several targets at the same time"
)

func noteFound(p host.Process) string {
	return fmt.Sprintf("process %d (%s), to which the exporter is connected", p.PID, p.Comm)
}

// look looks at the exporter until looking is done, and notes what that came to.
func (l *Look) look(ctx, looking context.Context, u upstream) {
	defer close(l.done)
	defer l.stop()
	peers := l.watch(looking)
	if ctx.Err() != nil {
		return
	}
	alone, sure := l.table.upstreams.judge(l, peers)
	s := servers{}
	if alone {
		s = l.table.subjectsOf(ctx, l.exporter.process, peers)
	}
	u = u.after(s, alone)
	if sure {
		u.next = l.table.machine.Now().Add(u.wait)
		u.wait = min(2*u.wait, lastLook)
	}
	l.table.upstreams.note(l, u)
	l.subject = Subject{Process: u.server, Note: u.note}
}

// after returns what is known of a target after a look: by the servers that were seen, and
// whether no other target was asked meanwhile.
func (u upstream) after(s servers, alone bool) upstream {
	note, clears := noteNone, false
	switch {
	case !alone:
		note = noteTogether
	case s.elsewhere:
		// A process on this host may be what collects the exporter's own logs or traces.
		u.elsewhere, note, clears = true, noteElsewhere, true
	case s.several:
		note, clears = noteSeveral, true
	case s.unknown:
		note = noteUnknown
	case s.proxy:
		note, clears = noteProxy, true
	case s.process.PID != 0 && u.elsewhere:
		note = noteElsewhere
	case s.process.PID != 0:
		u.server, u.socket, u.note, u.wait = s.process, s.peer, noteFound(s.process), lastLook
		return u
	}
	// A server that was seen before and lives is not seen in each scrape.
	if u.server.PID == 0 || clears {
		u.server, u.note = host.Process{}, note
	}
	return u
}

// subjectsOf returns the servers that an exporter may speak of. A proxy is one only for an
// exporter of its own kind.
func (t *Table) subjectsOf(ctx context.Context, exporter host.Process, peers map[uint64]peer) servers {
	s := t.serversOf(ctx, exporter, peers, maxHops)
	if name := proxyName(s.process); name != "" && !strings.Contains(exporterName(t.machine, exporter), name) {
		s.process, s.proxy = host.Process{}, true
	}
	return s
}

// watch returns the other ends of the connections that an exporter has until looking is
// done.
func (l *Look) watch(looking context.Context) map[uint64]peer {
	peers := map[uint64]peer{}
	tries := map[uint64]int{}
	pause := lookFirst
	for range lookMost {
		begin := time.Now()
		unknown := map[uint64]bool{}
		for inode := range socketsOf(l.table.machine, l.exporter.process.PID, nil) {
			// One that is being connected is not there yet.
			if _, ok := peers[inode]; !ok && tries[inode] < lookTries {
				unknown[inode] = true
				tries[inode]++
			}
		}
		if len(unknown) > 0 {
			maps.Copy(peers, l.table.peersOf(l.exporter.process, unknown))
		}
		select {
		case <-looking.Done():
			return peers
		case <-time.After(max(pause, time.Since(begin))):
		}
		pause = min(pause*5/4, lookPause)
	}
	return peers
}

// lookTries is how often a socket is looked at.
const lookTries = 3

// judge tells whether what was seen is of the target, since the exporter was asked for no
// other one meanwhile. If it has several, the connections that it had before are not of the
// target, and are taken out; all of them, if it is not sure which these are.
func (t *upstreamTable) judge(l *Look, peers map[uint64]peer) (alone, sure bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := l.exporter
	if len(e.targets) == 1 {
		return true, true
	}
	maps.DeleteFunc(peers, func(inode uint64, _ peer) bool {
		_, had := e.before[inode]
		return had || !e.read
	})
	return l.alone, e.read
}

// note notes what a look came to.
func (t *upstreamTable) note(l *Look, u upstream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u.asked = l.target.asked
	*l.target = u
}
