package http

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/ebpf/load"
)

// BenchmarkRoundTrip measures what the collector adds to one request and its response over a
// loopback connection: four events. Both ends are one thread that does nothing but the system
// calls. The fastest of many batches is what they cost when nothing else is in the way; the figure
// is the median over turns with the collector and without.
func BenchmarkRoundTrip(b *testing.B) {
	const key = "*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n"
	for _, bm := range []struct {
		name     string
		requests [2]string // in turn
		response string
	}{
		{"http", [2]string{get, get}, ok},
		{"http-unlike", [2]string{get, strings.Replace(get, " /", " /page", 1)}, ok},
		{"other-protocol", [2]string{key, key}, "$-1\r\n"},
	} {
		for _, set := range hookSets() {
			b.Run(bm.name+"/"+set.Name, func(b *testing.B) { roundTrips(b, set.Name, bm.requests, bm.response) })
		}
	}
}

func roundTrips(b *testing.B, hookSet string, requests [2]string, response string) {
	o := Options{hookSet: hookSet}
	newCollector(b, o).Close()
	var without, with, added []float64
	for b.Loop() {
		off := fastest(b, requests, response)
		c, err := openWith(o)
		if err != nil {
			b.Fatal(err)
		}
		on := fastest(b, requests, response)
		if err := c.Close(); err != nil {
			b.Fatal(err)
		}
		without, with, added = append(without, off), append(with, on), append(added, on-off)
	}
	for _, m := range []struct {
		values []float64
		unit   string
	}{{without, "ns-without/request"}, {with, "ns-with/request"}, {added, "ns-added/request"}} {
		slices.Sort(m.values)
		b.ReportMetric(m.values[len(m.values)/2], m.unit)
	}
	b.ReportMetric(0, "ns/op")
}

// fastest returns the nanoseconds of a round trip on a new connection, in the fastest of some batches.
func fastest(tb testing.TB, requests [2]string, response string) float64 {
	near, far := socketPair(tb)
	buffer := make([]byte, 4096)
	best := time.Duration(1 << 62)
	for range scaled(200) {
		const batch = 50
		began := time.Now()
		for i := range batch {
			exchange(tb, near, far, requests[i%2], buffer)
			exchange(tb, far, near, response, buffer)
		}
		best = min(best, time.Since(began)/batch)
	}
	return float64(best.Nanoseconds())
}

func exchange(tb testing.TB, from, to int, message string, buffer []byte) {
	if _, err := unix.Write(from, []byte(message)); err != nil {
		tb.Fatal(err)
	}
	if _, err := unix.Read(to, buffer); err != nil {
		tb.Fatal(err)
	}
}

// socketPair returns two ends of a connection as blocking sockets.
func socketPair(tb testing.TB) (near, far int) {
	tb.Helper()
	socket := func() int {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	listener := socket()
	if err := unix.Bind(listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		tb.Fatal(err)
	}
	if err := unix.Listen(listener, 1); err != nil {
		tb.Fatal(err)
	}
	address, err := unix.Getsockname(listener)
	if err != nil {
		tb.Fatal(err)
	}
	near = socket()
	if err := unix.Connect(near, address); err != nil {
		tb.Fatal(err)
	}
	far, _, err = unix.Accept(listener)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { unix.Close(far) })
	for _, fd := range []int{near, far} {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			tb.Fatal(err)
		}
	}
	return near, far
}

// saturation is a server with all the load that one client can give, and how to learn the number
// of requests it has served.
type saturation struct {
	name  string
	start func(tb testing.TB, address string) int
	load  func(address string) *exec.Cmd
	count func(address string) (float64, error)
}

func saturations() []saturation {
	wrk := func(arguments ...string) func(string) *exec.Cmd {
		return func(address string) *exec.Cmd {
			path := arguments[len(arguments)-1]
			return exec.Command("wrk", append(arguments[:len(arguments)-1:len(arguments)-1], "-t1", "-d3600", "http://"+address+path)...)
		}
	}
	nginx := func(tb testing.TB, address string) int {
		return nginx(tb, address, 1, `
			location = /200 { return 200 "fine"; }
			location = /text { return 200 "a body of more than a few bytes"; }
			location = /count { stub_status; }`)
	}
	return []saturation{
		{"nginx", nginx, wrk("-c16", "/200"), nginxRequests},
		{"nginx-text", nginx, wrk("-c16", "/text"), nginxRequests},
		{"nginx-close", nginx, wrk("-c16", "-HConnection: close", "/200"), nginxRequests},
		{"nginx-1MB", nginx, wrk("-c4", "/large"), nginxRequests},
		{"go", startGo, wrk("-c16", "/200"), goRequests},
		{"go-100us", startGo, wrk("-c16", "/work"), goRequests},
		{"redis", startRedis, func(address string) *exec.Cmd {
			return exec.Command("redis-benchmark", "-p", portOf(address), "-t", "get", "-c", "16", "-l", "-q")
		}, redisRequests},
	}
}

// BenchmarkServers measures what the collector takes from servers that are busy all the time. It
// puts the hooks on and off every 100 ms, in changing order, so that the figures stand when other
// programs come and go. CPU time is that of the server and the load generator together: the
// kernel's programs run in their context.
func BenchmarkServers(b *testing.B) {
	for _, s := range saturations() {
		b.Run(s.name, func(b *testing.B) {
			c := newCollector(b, Options{})
			address := freeAddress(b)
			pids := []int{s.start(b, address)}
			load := s.load(address)
			if _, err := exec.LookPath(load.Path); err != nil {
				b.Skip(err)
			}
			pids = append(pids, run(b, load))
			time.Sleep(500 * time.Millisecond)
			pids = slices.Concat(family(b, pids[0]), family(b, pids[1]))

			var off, on []interval
			attached := true
			for pair := 0; b.Loop(); pair++ {
				for i := range 2 {
					with := (pair+i)%2 == 0
					if with != attached {
						if err := toggle(c, with); err != nil {
							b.Fatal(err)
						}
						attached = with
					}
					in := measure(b, s, address, pids)
					if with {
						on = append(on, in)
					} else {
						off = append(off, in)
					}
				}
			}
			report(b, off, on)
		})
	}
}

// interval is what was served for what in 100 ms.
type interval struct {
	rate float64 // requests a second
	cpu  float64 // nanoseconds per request
}

// reading is the state of a load at one moment.
type reading struct {
	at     time.Time
	cpu    time.Duration
	served float64
}

func read(b *testing.B, s saturation, address string, pids []int) reading {
	b.Helper()
	// A busy server takes some time to tell: it told in the middle of it, give or take.
	began, before := time.Now(), cpuTime(b, pids)
	n, err := s.count(address)
	if err != nil {
		b.Fatal(err)
	}
	took, used := time.Since(began), cpuTime(b, pids)-before
	return reading{at: began.Add(took / 2), cpu: before + used/2, served: n}
}

func measure(b *testing.B, s saturation, address string, pids []int) interval {
	b.Helper()
	time.Sleep(10 * time.Millisecond) // what the switch itself has disturbed is over
	from := read(b, s, address, pids)
	time.Sleep(100 * time.Millisecond)
	to := read(b, s, address, pids)
	return interval{
		rate: (to.served - from.served) / to.at.Sub(from.at).Seconds(),
		cpu:  float64((to.cpu - from.cpu).Nanoseconds()) / (to.served - from.served),
	}
}

// report gives two views of the same intervals: neighbors compared, and the best tenth of either
// kind compared, in which the machine was least disturbed.
func report(b *testing.B, off, on []interval) {
	b.Helper()
	var ratios, added []float64
	for i := range on {
		ratios = append(ratios, on[i].rate/off[i].rate)
		added = append(added, on[i].cpu-off[i].cpu)
	}
	each := func(all []interval, f func(interval) float64, q float64) float64 {
		var values []float64
		for _, in := range all {
			values = append(values, f(in))
		}
		return quantile(values, q)
	}
	rate := func(in interval) float64 { return in.rate }
	cpu := func(in interval) float64 { return in.cpu }
	b.ReportMetric(each(off, rate, 0.9), "req/s-without")
	b.ReportMetric(quantile(ratios, 0.5), "ratio")
	b.ReportMetric(each(on, rate, 0.9)/each(off, rate, 0.9), "ratio-best")
	b.ReportMetric(quantile(added, 0.5), "ns-added/request")
	b.ReportMetric(each(on, cpu, 0.1)-each(off, cpu, 0.1), "ns-added-best/request")
	b.ReportMetric(each(off, cpu, 0.1), "ns-without/request")
	b.ReportMetric(0, "ns/op")
}

func quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 == len(sorted) {
		return sorted[i]
	}
	return sorted[i] + (sorted[i+1]-sorted[i])*(at-float64(i))
}

// cpuTime returns what the processes have taken. Their clocks are exact, where the files in /proc
// lag behind by up to a tick while a process runs: 4 ms.
func cpuTime(tb testing.TB, pids []int) time.Duration {
	tb.Helper()
	const scheduled = 2 // CPUCLOCK_SCHED; such clocks' numbers are made as clock_getcpuclockid(3) makes them
	var sum time.Duration
	for _, pid := range pids {
		var t unix.Timespec
		if err := unix.ClockGettime(int32(^pid<<3|scheduled), &t); err != nil {
			tb.Fatal(err)
		}
		sum += time.Duration(t.Nano())
	}
	return sum
}

func nginxRequests(address string) (float64, error) {
	return number("http://"+address+"/count", regexp.MustCompile(`(?m)^ \d+ \d+ (\d+)`))
}

func goRequests(address string) (float64, error) {
	return number("http://"+address+"/count", regexp.MustCompile(`(\d+)`))
}

func number(url string, pattern *regexp.Regexp) (float64, error) {
	response, err := http.Get(url)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	return match(body, pattern)
}

func match(text []byte, pattern *regexp.Regexp) (float64, error) {
	found := pattern.FindSubmatch(text)
	if found == nil {
		return 0, fmt.Errorf("no number in %q", text)
	}
	return strconv.ParseFloat(string(found[1]), 64)
}

func startRedis(tb testing.TB, address string) int {
	return start(tb, address, exec.Command("redis-server", "--bind", "127.0.0.1", "--port", portOf(address), "--save", ""))
}

func redisRequests(address string) (float64, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	fmt.Fprint(conn, "INFO stats\r\n")
	var text []byte
	for buffer := make([]byte, 4096); !bytes.Contains(text, []byte("instantaneous_ops")); {
		n, err := conn.Read(buffer)
		if err != nil {
			return 0, err
		}
		text = append(text, buffer[:n]...)
	}
	return match(text, regexp.MustCompile(`total_commands_processed:(\d+)`))
}

// toggle puts the programs that see what sockets read and write on their hooks, or takes them off.
func toggle(c *load.Collector, on bool) error {
	change := c.Programs.Detach
	if on {
		change = c.Programs.Attach
	}
	for _, name := range c.Programs.HookSet.Programs {
		switch name {
		case "on_receive", "on_send", "kprobe_receive", "kprobe_received", "kprobe_send", "fentry_receive", "fentry_received", "fentry_send":
			if err := change(name); err != nil {
				return err
			}
		}
	}
	return nil
}
