package exits

import (
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/ebpf/collector"
	"github.com/promscope/promscope/ebpf/load"
	"github.com/promscope/promscope/ebpf/load/loadtest"
)

// TestHookSets compares what is counted with what wait(2) says of each process, and with what
// the kernel counts of those that it kills out of memory. Other processes of the machine may
// end meanwhile: exact are the counts of a cgroup.
func TestHookSets(t *testing.T) {
	for _, set := range hookSets() {
		t.Run(set.Name, func(t *testing.T) {
			c := openCollector(t)
			memory, unified := hierarchies(t)
			t.Run("programs", func(t *testing.T) { loadtest.Verified(t, c, 10_000) })
			t.Run("signals", func(t *testing.T) { testSignals(t, c, newGroup(t, memory)) })
			if unified != memory {
				t.Run("unified", func(t *testing.T) { testSignals(t, c, newGroup(t, unified).beside(memory.MountPoint)) })
				t.Run("hybrid", func(t *testing.T) {
					manager := newGroup(t, unified)
					testSignals(t, c, newGroup(t, memory).beside(manager.dir))
					manager.check(t, c, map[string]float64{})
				})
			}
			t.Run("others", func(t *testing.T) { testOthers(t, c, newGroup(t, memory)) })
			t.Run("memory", func(t *testing.T) { testMemory(t, c, newGroup(t, memory)) })
			t.Run("lost", func(t *testing.T) { testLost(t, newGroup(t, memory)) })
		})
	}
}

// counts are the series of a group by signal, without those that are 0, and its OOM kills as "oom".
func (g *place) counts(t *testing.T, c *load.Collector) map[string]float64 {
	t.Helper()
	counts := map[string]float64{}
	families := loadtest.Gather(t, c)
	for _, m := range families["promscope_cgroup_exits_total"] {
		if loadtest.Label(m, "cgroup") == g.path {
			counts[loadtest.Label(m, "signal")] = m.GetCounter().GetValue()
		}
	}
	if m := loadtest.Find(families["promscope_cgroup_oom_kills_total"], "cgroup", g.path); m != nil {
		counts["oom"] = m.GetCounter().GetValue()
	}
	return counts
}

func (g *place) check(t *testing.T, c *load.Collector, want map[string]float64) {
	t.Helper()
	if got := g.counts(t, c); !maps.Equal(got, want) {
		t.Errorf("%s: %v, want %v", g.path, got, want)
	}
}

// ofHost returns the series of the host, by signal, and its OOM kills as "oom".
func ofHost(t *testing.T, c *load.Collector) map[string]float64 {
	t.Helper()
	families, counts := loadtest.Gather(t, c), map[string]float64{}
	for _, m := range families["promscope_exits_total"] {
		counts[loadtest.Label(m, "signal")] = m.GetCounter().GetValue()
	}
	counts["oom"] = families["promscope_oom_kills_total"][0].GetCounter().GetValue()
	return counts
}

// testSignals has processes end by each signal that ends one: as many as is counted.
func testSignals(t *testing.T, c *load.Collector, g *place) {
	// nohup, and a shell in the background, have programs ignore these. A process that is started here does not,
	// for what this one catches begins anew there.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT)
	defer signal.Stop(caught)
	before, want := ofHost(t, c), map[string]float64{}
	// Those that end no process, and those that Go leaves to the C library.
	without := []syscall.Signal{unix.SIGCHLD, unix.SIGCONT, unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGURG, unix.SIGWINCH, 32, 33}
	for number := syscall.Signal(1); number <= 64; number++ {
		name := unix.SignalName(number)
		if number >= 34 {
			name = "SIGRT"
		}
		if slices.Contains(without, number) || number > 35 && number < 64 {
			continue
		}
		if _, ok := before[name]; !ok {
			t.Errorf("the host has no %s while there is none", name)
		}
		for range 1 + number%2 {
			g.start(t, "sleep", "600").killed(t, number)
			want[name]++
		}
	}
	g.check(t, c, want)
	after := ofHost(t, c)
	for name, n := range want {
		if got := after[name] - before[name]; got < n {
			t.Errorf("%s ended %v processes of the host, and %v of them here", name, got, n)
		}
	}
	if len(before) != 25 {
		t.Errorf("%d series while no other signal ended a process: %v", len(before), before)
	}
}

// testOthers has processes end in other ways, and has processes with threads killed.
func testOthers(t *testing.T, c *load.Collector, g *place) {
	for _, code := range []int{0, 1, 9, 127, 137, 255} {
		// The shell waits for a line.
		p := g.start(t, "sh", "-c", fmt.Sprintf("read x; exit %d", code))
		p.tell(t)
		if status := p.ends(t); status.ExitStatus() != code {
			t.Fatalf("status %#x, want the code %d", status, code)
		}
	}
	p := g.play(t, "exec")
	p.tell(t)
	if status := p.ends(t); status != 0 {
		t.Fatalf("a process with another program: status %#x", status)
	}
	g.check(t, c, map[string]float64{})

	// Each once, however many of its threads end at a time.
	const many = 5
	for range many {
		p := g.play(t, "threads")
		p.tell(t)
		p.says(t)
		p.killed(t, unix.SIGKILL)
	}
	g.check(t, c, map[string]float64{"SIGKILL": many})

	p = g.play(t, "leaderless")
	p.tell(t)
	p.says(t)
	awaitState(t, p.Process.Pid, "Z")
	p.killed(t, unix.SIGTERM)
	g.check(t, c, map[string]float64{"SIGKILL": many, "SIGTERM": 1})
}

// awaitState waits until the first thread of a process is in a state (proc_pid_stat(5)).
func awaitState(t *testing.T, pid int, state string) {
	t.Helper()
	for range 3000 {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/stat", pid, pid))
		if err != nil {
			t.Fatal(err)
		}
		if _, after, _ := strings.Cut(string(content), ") "); strings.HasPrefix(after, state) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("process %d does not become %s", pid, state)
}

// testMemory has the kernel kill a process that takes more memory than its cgroup has. One that
// is killed otherwise is none.
func testMemory(t *testing.T, c *load.Collector, g *place) {
	limit, events := "memory.max", "memory.events"
	if g.version == 1 {
		limit, events = "memory.limit_in_bytes", "memory.oom_control"
	}
	if err := os.WriteFile(filepath.Join(g.dir, limit), []byte(strconv.Itoa(32<<20)), 0); err != nil {
		impossible(t, err)
	}
	before, vmBefore := ofHost(t, c)["oom"], kernelCount(t, "/proc/vmstat", "oom_kill")
	var last int
	for range 2 {
		p := g.play(t, "eat")
		last = p.Process.Pid
		p.tell(t)
		if status := p.ends(t); status.Signal() != unix.SIGKILL {
			t.Fatalf("status %#x", status)
		}
	}
	g.start(t, "sleep", "600").killed(t, unix.SIGKILL)
	kills := kernelCount(t, filepath.Join(g.dir, events), "oom_kill")
	if kills != 2 {
		t.Errorf("%s counts %v", events, kills)
	}
	g.check(t, c, map[string]float64{"SIGKILL": 3, "oom": kills})
	after, vmAfter := ofHost(t, c)["oom"], kernelCount(t, "/proc/vmstat", "oom_kill")
	if got, all := after-before, vmAfter-vmBefore; got < 2 || got > all {
		t.Errorf("the host has %v more, and /proc/vmstat %v", got, all)
	}
	killed := loadtest.Find(loadtest.Gather(t, c)["promscope_cgroup_oom_last_kill_timestamp_seconds"], "cgroup", g.path)
	if killed == nil || loadtest.Label(killed, "comm") != "exe" || time.Since(time.UnixMilli(int64(1000*killed.GetGauge().GetValue()))) > time.Minute {
		t.Errorf("last killed: %v", killed)
	}
	want := fmt.Sprintf("exe[%d] by SIGKILL in %s", last, g.path)
	for range 20 { // always in this order
		facts := c.Status().Facts
		if len(facts) != 5 || facts[0].Name != "Last ended by a signal" || facts[1].Name != "Last killed out of memory" || facts[1].Value != want {
			t.Fatalf("does not say %q: %v", want, facts)
		}
	}
}

// kernelCount reads a count of a file whose lines are names and numbers.
func kernelCount(t *testing.T, path, name string) float64 {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		if key, value, _ := strings.Cut(strings.TrimSpace(line), " "); key == name {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("%s has no %s", path, name)
	return 0
}

// testLost has more processes end between two readings than there is room for.
func testLost(t *testing.T, g *place) {
	const room, ended = 3, 8
	o := load.Object{File: object, HookSets: hookSets(), Configure: func(spec *ebpf.CollectionSpec, _ collector.HookSet, _ *load.Kernel) error {
		spec.Maps[mapVictims].MaxEntries = room
		return nil
	}}
	c, err := load.Start("exits", o, loadtest.Environment(time.Second), func(p *load.Programs) (load.Reader, error) {
		return newReader(p, 10, slog.New(slog.DiscardHandler)), nil
	})
	loadtest.Started(t, "", c, err)
	before := ofHost(t, c)["SIGUSR1"]
	for range ended {
		g.start(t, "sleep", "600").killed(t, unix.SIGUSR1)
	}
	families := loadtest.Gather(t, c)
	lost := families["promscope_exits_victims_lost_total"][0].GetCounter().GetValue()
	of := 0.0
	for _, m := range families["promscope_cgroup_exits_total"] {
		of += m.GetCounter().GetValue()
	}
	host := loadtest.Find(families["promscope_exits_total"], "signal", "SIGUSR1").GetCounter().GetValue()
	if of != room || lost < ended-room || host-before < ended {
		t.Errorf("%v counted by cgroup, %v lost, %v on the host", of, lost, host-before)
	}
}
