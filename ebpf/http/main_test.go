package http

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/promscope/promscope/ebpf/load"
	"github.com/promscope/promscope/ebpf/load/loadtest"
	"github.com/promscope/promscope/ebpf/port"
)

// roleVariable makes the test binary one of the processes that a test needs beside itself.
const roleVariable = "PROMSCOPE_TEST_ROLE"

func TestMain(m *testing.M) {
	switch role := os.Getenv(roleVariable); role {
	case "":
		os.Exit(m.Run())
	case "server":
		os.Exit(serve())
	case "inherit":
		os.Exit(inherit())
	case "exporter":
		os.Exit(export())
	case "other":
		os.Exit(other())
	case "try":
		os.Exit(try())
	default:
		fmt.Fprintln(os.Stderr, "unknown role", role)
		os.Exit(2)
	}
}

// eachHookSet runs the test with every hook set. Those skip that the kernel cannot attach, unless
// PROMSCOPE_REQUIRE_HOOKS names them, with commas between.
func eachHookSet(t *testing.T, test func(t *testing.T, hookSet string)) {
	t.Helper()
	for _, set := range hookSets() {
		t.Run(set.Name, func(t *testing.T) { test(t, set.Name) })
	}
}

// scaled returns fewer of n where PROMSCOPE_TEST_SCALE says so, as "0.1" for an emulated CPU: a multiple
// of 10, and 10 at least.
func scaled(n int) int {
	scale, err := strconv.ParseFloat(os.Getenv("PROMSCOPE_TEST_SCALE"), 64)
	if err != nil {
		return n
	}
	return max(10, int(float64(n)*scale)/10*10)
}

// patience is how long a test waits for what takes a moment on a CPU that is not emulated.
func patience(d time.Duration) time.Duration {
	if os.Getenv("PROMSCOPE_TEST_SCALE") != "" {
		return 10 * d
	}
	return d
}

// openWith opens a collector with defaults for what the options leave out. It counts what this
// process asks: most tests are client and collector in one.
func openWith(o Options) (*load.Collector, error) { return openEvery(time.Second, o) }

func openEvery(interval time.Duration, o Options) (*load.Collector, error) {
	o.OwnRequests = true
	return openAs(interval, o)
}

func openAs(interval time.Duration, o Options) (*load.Collector, error) {
	if o.MaxProcesses == 0 {
		o.MaxProcesses = defaultOptions().MaxProcesses
	}
	return o.open(loadtest.Environment(interval))
}

// newCollector returns a running collector. With a hook set that can lose events on this kernel the test
// skips: it would fail at random.
func newCollector(tb testing.TB, o Options) *load.Collector {
	tb.Helper()
	c := newCollectorEvery(tb, time.Second, o)
	if w := c.Programs.Warnings; o.hookSet != "" && len(w) > 0 {
		tb.Skip(w[0].Reason)
	}
	return c
}

// missed returns how many events the kernel has not passed to the programs, as the collector reports it.
func missed(tb testing.TB, c *load.Collector) int {
	tb.Helper()
	return int(own(tb, c, "promscope_http_hook_runs_missed_total"))
}

func newCollectorEvery(tb testing.TB, interval time.Duration, o Options) *load.Collector {
	tb.Helper()
	c, err := openEvery(interval, o)
	loadtest.Require(tb, loadtest.Required(o.hookSet), err)
	tb.Cleanup(func() {
		if err := c.Close(); err != nil {
			tb.Error(err)
		}
	})
	return c
}

// counts is what the collector says of one process.
type counts struct {
	Requests  int
	Codes     map[string]int
	Latency   *dto.Histogram
	InFlight  int
	Open      int // unanswered, ended
	Pipelined int
	Unasked   int
	Own       int // by the process of the collector
	Comm      string
}

// class sums the responses of a status class.
func (c counts) class(digit byte) int {
	n := 0
	for code, count := range c.Codes {
		if code[0] == digit {
			n += count
		}
	}
	return n
}

// gather returns the collector's series by pid, of servers or of clients.
func gather(tb testing.TB, c prometheus.Collector, prefix string) map[int]counts {
	tb.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	out := map[int]counts{}
	for _, family := range families {
		name, ok := strings.CutPrefix(family.GetName(), prefix)
		if !ok {
			continue
		}
		for _, m := range family.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			pid, err := strconv.Atoi(labels["pid"])
			if err != nil {
				continue // of the collector itself
			}
			p := out[pid]
			p.Comm = labels["comm"]
			switch name {
			case "requests_total":
				p.Requests = int(m.GetCounter().GetValue())
			case "responses_total":
				if p.Codes == nil {
					p.Codes = map[string]int{}
				}
				p.Codes[labels["code"]] = int(m.GetCounter().GetValue())
			case "request_duration_seconds":
				p.Latency = m.GetHistogram()
			case "requests_in_flight":
				p.InFlight = int(m.GetGauge().GetValue())
			case "requests_unanswered_total":
				p.Open = int(m.GetCounter().GetValue())
			case "requests_pipelined_total":
				p.Pipelined = int(m.GetCounter().GetValue())
			case "unasked_responses_total":
				p.Unasked = int(m.GetCounter().GetValue())
			case "own_requests_total":
				p.Own = int(m.GetCounter().GetValue())
			default:
				continue
			}
			out[pid] = p
		}
	}
	return out
}

const (
	servers   = "promscope_http_"
	asClients = "promscope_http_client_"
)

// own returns the value of one of the collector's series about itself, summed over its labels.
func own(tb testing.TB, c prometheus.Collector, name string) float64 {
	tb.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			n := 0.0
			for _, m := range family.GetMetric() {
				n += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
			return n
		}
	}
	tb.Fatalf("no series %s", name)
	return 0
}

// start runs a server until the test ends, and waits until it listens on the address.
func start(tb testing.TB, address string, cmd *exec.Cmd) int {
	tb.Helper()
	pid := run(tb, cmd)
	for range 500 {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return pid
		}
		if err := syscall.Kill(pid, 0); err != nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	tb.Fatalf("%v does not listen on %s\n%s", cmd.Args, address, cmd.Stderr)
	return 0
}

// run runs a command until the test ends, in a process group of its own: some servers signal
// theirs when they stop.
func run(tb testing.TB, cmd *exec.Cmd) int {
	tb.Helper()
	log := &safeBuffer{}
	cmd.Stdout, cmd.Stderr = log, log
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid, cmd.SysProcAttr.Pdeathsig = true, syscall.SIGKILL
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		cmd.Wait() // most are killed
	}()
	tb.Cleanup(func() {
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			tb.Error(err)
		}
		<-done
	})
	return cmd.Process.Pid
}

// safeBuffer is a buffer that can be read while a process writes to it.
type safeBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// freeAddress returns an address of the loopback interface that nobody listens on.
func freeAddress(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func portOf(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }

// family returns the process and its descendants.
func family(tb testing.TB, pid int) []int {
	tb.Helper()
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", all[i]))
		if err != nil {
			continue // it ended
		}
		for _, task := range tasks {
			children, err := os.Open(fmt.Sprintf("/proc/%d/task/%s/children", all[i], task.Name()))
			if err != nil {
				continue
			}
			words := bufio.NewScanner(children)
			words.Split(bufio.ScanWords)
			for words.Scan() {
				if child, err := strconv.Atoi(words.Text()); err == nil && !slices.Contains(all, child) {
					all = append(all, child)
				}
			}
			children.Close()
		}
	}
	return all
}

// total adds up the counts of some processes.
func total(all map[int]counts, pids []int) counts {
	sum := counts{Codes: map[string]int{}}
	for _, pid := range pids {
		c := all[pid]
		sum.Requests += c.Requests
		sum.InFlight += c.InFlight
		sum.Open += c.Open
		sum.Pipelined += c.Pipelined
		for code, n := range c.Codes {
			sum.Codes[code] += n
		}
	}
	return sum
}

// ports is a set of single ports.
func ports(numbers ...uint16) port.Set {
	var set port.Set
	for _, n := range numbers {
		set = append(set, port.Range{First: n, Last: n})
	}
	return set
}

// command runs a program that has to succeed.
func command(t *testing.T, dir, name string, arguments ...string) {
	t.Helper()
	cmd := exec.Command(name, arguments...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
}
