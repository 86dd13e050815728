package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// child is a process of shortlived.
type child struct {
	cmd   *exec.Cmd
	stdin io.Closer
	pid   int
	url   string
}

// startChild starts shortlived with arguments, and waits until it listens.
func (s *soak) startChild(attr *syscall.SysProcAttr, args ...string) (*child, error) {
	cmd := exec.Command(s.server, args...)
	attr.Pdeathsig = syscall.SIGKILL
	cmd.SysProcAttr = attr
	cmd.Env = []string{"GOMAXPROCS=1"}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{cmd: cmd, stdin: stdin, pid: cmd.Process.Pid}
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		c.stop()
		return nil, fmt.Errorf("%s %s: %w", s.server, args, err)
	}
	c.url = "http://" + strings.TrimSpace(address)
	return c, nil
}

// stop ends the process and waits for that.
func (c *child) stop() {
	_ = c.stdin.Close()
	_ = c.cmd.Wait()
}

// mustStart starts a server that stays.
func (s *soak) mustStart() *child {
	c, err := s.startChild(&syscall.SysProcAttr{}, "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.ledger.begin(c.pid)
	return c
}

// churn starts so many processes a second, which serve a request or a few and die.
func (s *soak) churn(ctx context.Context, rate int) {
	var wg sync.WaitGroup
	defer wg.Wait()
	atOnce := make(chan struct{}, 2*rate) // beyond, the machine is too slow
	for tick := time.Tick(time.Second / time.Duration(rate)); ctx.Err() == nil; <-tick {
		select {
		case atOnce <- struct{}{}:
		default:
			continue
		}
		wg.Go(func() {
			defer func() { <-atOnce }()
			c, err := s.startChild(&syscall.SysProcAttr{}, "127.0.0.1:0")
			if err != nil {
				s.failf("starting a process: %v", err)
				return
			}
			s.ledger.begin(c.pid)
			client := &http.Client{
				Timeout:   10 * time.Second,
				Transport: &http.Transport{DisableKeepAlives: rand.IntN(2) == 0},
			}
			for range 1 + rand.IntN(3) {
				s.request(client, c)
			}
			client.CloseIdleConnections()
			c.stop()
			s.ledger.end(c.pid)
		})
	}
}

// request makes a request that counts.
func (s *soak) request(client *http.Client, c *child) {
	s.ledger.request(c.pid)
	resp, err := client.Get(c.url)
	if err != nil {
		s.failf("asking process %d: %v", c.pid, err)
		return
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
}

// ask asks a process that stays ten times a second.
func (s *soak) ask(ctx context.Context, c *child) {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for ; ctx.Err() == nil; pause(ctx, 100*time.Millisecond) {
		s.request(client, c)
	}
}

// comeAndGo starts an exporter again and again, on the same port: in a container, or
// beside promscope. It counts those that stayed their time, and those that no report had.
func (s *soak) comeAndGo(ctx context.Context, slot int, contained bool) {
	for ctx.Err() == nil {
		attr, args, node := &syscall.SysProcAttr{}, []string{fmt.Sprintf("127.0.0.1:%d", 9400+slot), "soak_pid"}, ""
		remove := func() {}
		if contained {
			id := fmt.Sprintf("%016x%016x%016x%016x", rand.Uint64(), rand.Uint64(), rand.Uint64(), rand.Uint64())
			node = id + ";<container>"
			args = []string{"127.0.0.1:9400", "soak_container", strconv.FormatFloat(containerValue(node), 'f', -1, 64)}
			cgroup := filepath.Join(s.cgroups, "docker-"+id+".scope")
			if err := os.Mkdir(cgroup, 0o755); err != nil {
				s.failf("%v", err)
				return
			}
			dir, err := os.Open(cgroup)
			if err != nil {
				s.failf("%v", err)
				return
			}
			attr.Cloneflags, attr.UseCgroupFD, attr.CgroupFD = unix.CLONE_NEWNET|unix.CLONE_NEWPID, true, int(dir.Fd())
			remove = func() {
				dir.Close()
				for unix.Rmdir(cgroup) == unix.EBUSY { // until the kernel has noticed
					pause(s.t.Context(), 10*time.Millisecond)
				}
			}
		}
		c, err := s.startChild(attr, args...)
		if err != nil {
			s.failf("starting a target: %v", err)
			remove()
			return
		}
		if !contained {
			node = fmt.Sprintf("%s;%d", hostName, c.pid)
		}
		pause(ctx, stay())
		whole := ctx.Err() == nil
		c.stop()
		remove()
		shown := s.wasShown(node)
		if whole {
			s.stayed.Add(1)
			if !shown {
				s.unseen.Add(1)
			}
		}
		s.targets.Add(1)
		pause(ctx, time.Duration(rand.Int64N(int64(3*time.Second))))
	}
}

// containerValue is what the exporter in the container of that node exposes.
func containerValue(node string) float64 {
	v, _ := strconv.ParseUint(node[:min(8, len(node))], 16, 64)
	return float64(v)
}

// ledger has how many HTTP requests each process served, and how many promscope says it
// did.
type ledger struct {
	keptFor time.Duration // how long the collector keeps the counts of a process that has ended

	mu       sync.Mutex
	accounts map[int]*childCount // by pid
	ended    map[int]time.Time   // when the last process with that pid ended
	wrong    []string            // not told yet

	processes, requests int // whose counts are settled, and right
	unread              int // processes whose counts the test was too slow to read
}

type childCount struct {
	made  int // requests that were begun
	seen  int // the most that promscope said
	ended time.Time
	told  bool // promscope was asked when it must have had all of them
}

// newLedger returns the ledger of a collector with that interval: it keeps the counts of a
// process that has ended for two of them, and in the second it must have all.
func newLedger(interval time.Duration) *ledger {
	return &ledger{keptFor: 2 * interval, accounts: map[int]*childCount{}, ended: map[int]time.Time{}}
}

func (l *ledger) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("%d requests to %d processes counted exactly, %d processes not read in time", l.requests, l.processes, l.unread)
}

func (l *ledger) begin(pid int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.accounts[pid] != nil {
		l.unread++
	}
	delete(l.accounts, pid)
	// A pid may come again while promscope shows the counts of the process that had it before: a
	// test that runs beside this one sets the kernel's next pid back.
	if time.Since(l.ended[pid]) < 2*l.keptFor {
		l.unread++
		return
	}
	l.accounts[pid] = &childCount{}
}

func (l *ledger) wrongly(pid int, a *childCount) {
	l.wrong = append(l.wrong, fmt.Sprintf("process %d served %d requests, and %d were counted", pid, a.made, a.seen))
}

func (l *ledger) request(pid int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a := l.accounts[pid]; a != nil { // else it is not judged, or was counted wrongly, which was said
		a.made++
	}
}

// made returns how many requests the process has served, or -1 if it was counted wrongly.
func (l *ledger) made(pid int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a := l.accounts[pid]; a != nil {
		return a.made
	}
	return -1
}

func (l *ledger) end(pid int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended[pid] = time.Now()
	if a := l.accounts[pid]; a != nil {
		a.ended = l.ended[pid]
	}
}

// atMost checks that no more were counted than there were. A process without an account
// was settled before.
func (l *ledger) atMost(pid int, counted float64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a := l.accounts[pid]; a != nil && counted > float64(a.made) {
		return fmt.Errorf("%v requests to process %d, which had %d", counted, pid, a.made)
	}
	return nil
}

// count takes what promscope counted, as it was asked at that time, and settles the
// accounts of processes that ended.
func (l *ledger) count(counted map[int]int, asked time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for pid, a := range l.accounts {
		a.seen = max(a.seen, counted[pid])
		ended := time.Since(a.ended)
		if !a.ended.IsZero() && asked.After(a.ended.Add(l.keptFor/2)) && ended < l.keptFor {
			a.told = true
		}
		switch {
		case a.seen > a.made:
			l.wrongly(pid, a)
		case a.ended.IsZero():
			continue
		case a.seen == a.made:
			l.processes, l.requests = l.processes+1, l.requests+a.made
		case a.told:
			l.wrongly(pid, a)
		case ended > l.keptFor:
			l.unread++
		default:
			continue
		}
		delete(l.accounts, pid)
	}
}

// open returns an error while accounts are not settled.
func (l *ledger) open() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.accounts); n > 0 {
		return fmt.Errorf("%d processes are not settled", n)
	}
	return nil
}

// problems returns what was found to be wrong since the last call.
func (l *ledger) problems() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	wrong := l.wrong
	l.wrong = nil
	return wrong
}

// readCounts reads what promscope counted, each second.
func (s *soak) readCounts(ctx context.Context) {
	for ; ctx.Err() == nil; pause(ctx, time.Second) {
		asked := time.Now()
		_, exposition, err := get(ctx, s.p.web+"/metrics")
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.failf("/metrics: %v", err)
			continue
		}
		counted := map[int]int{}
		for line := range strings.Lines(exposition) {
			rest, ok := strings.CutPrefix(line, "promscope_http_requests_total{")
			if !ok {
				continue
			}
			_, rest, _ = strings.Cut(rest, `pid="`)
			pid, rest, _ := strings.Cut(rest, `"`)
			_, count, _ := strings.Cut(rest, "} ")
			p, err1 := strconv.Atoi(pid)
			n, err2 := strconv.ParseFloat(strings.TrimSpace(count), 64)
			if err1 != nil || err2 != nil {
				s.failf("a line of /metrics is %q", line)
				continue
			}
			counted[p] = int(n)
		}
		s.ledger.count(counted, asked)
		for _, problem := range s.ledger.problems() {
			s.failf("%s", problem)
		}
	}
}
