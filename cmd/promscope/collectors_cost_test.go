package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/bridge/collectors"
	"github.com/promscope/promscope/bridge/plugin/probetest"
)

// What the built-in collectors take together: of a build, of processes that come and go, of a web server that has all the
// load that it can take, and of a machine that does nothing. Each turn has one run with all collectors and one without
// any, in changing order, and the figure is the median of the turns' ratios. What counts is CPU time, for other programs
// disturb it less than they do the clock: that of the work, with what the programs in the kernel take in its context.
// A last run, for which the kernel times the programs, gives each collector's share of it, gatherings included.
//
//	go test ./cmd/promscope -run '^$' -bench Collectors -benchtime 5x -timeout 30m
func BenchmarkCollectors(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root, for the collectors")
	}
	b.Run("build", func(b *testing.B) { compareCosts(b, func() float64 { return buildCost(b) }) })
	b.Run("forks", func(b *testing.B) { compareCosts(b, func() float64 { return forkCost(b) }) })
	b.Run("requests", func(b *testing.B) {
		program(b, "wrk", "wrk")
		address := freeAddress(b)
		nginx := startNginx(b, address)
		compareCosts(b, func() float64 { return requestCost(b, address, nginx.Process.Pid) })
	})
	b.Run("idle", idleCosts)
}

// costConfig switches all collectors on or off, and has them never rest.
func costConfig(on bool) string {
	var text strings.Builder
	text.WriteString("scrape_configs: []\ncollectors:\n")
	for _, d := range collectors.Definitions() {
		fmt.Fprintf(&text, "  %s: {enabled: %t, cpu_budget_percent: 0}\n", d.Name, on)
	}
	return text.String()
}

func compareCosts(b *testing.B, do func() float64) {
	cost := func(on bool) float64 {
		p := startPlugin(b, costConfig(on))
		defer p.kill()
		time.Sleep(span(2 * time.Second))
		return do()
	}
	cost(false) // what is done once
	var ratios []float64
	for turn := 0; b.Loop(); turn++ {
		var costs [2]float64
		for i := range 2 {
			on := (turn + i) % 2
			costs[on] = cost(on == 1)
		}
		ratios = append(ratios, costs[1]/costs[0])
	}
	slices.Sort(ratios)
	b.ReportMetric(100*(ratios[len(ratios)/2]-1), "%-more")
	b.ReportMetric(100*(ratios[0]-1), "%-more-least")
	b.ReportMetric(100*(ratios[len(ratios)-1]-1), "%-more-most")
	b.ReportMetric(0, "ns/op")
	reportShares(b, do)
}

// reportShares reports what each collector takes, in percent of the CPU time of the work.
func reportShares(b *testing.B, do func() float64) {
	b.Helper()
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		b.Fatal(err)
	}
	defer stats.Close()
	p := startPlugin(b, costConfig(true))
	defer p.kill()
	time.Sleep(span(2 * time.Second))
	spent := func() map[string]float64 {
		time.Sleep(1100 * time.Millisecond) // until they are gathered once more
		all, metrics := map[string]float64{}, p.metrics(b)
		for _, d := range collectors.Definitions() {
			all[d.Name] = value(metrics, fmt.Sprintf("promscope_collector_cpu_seconds_total{collector=%q}", d.Name))
		}
		return all
	}
	before, began := spent(), cpuOfAll(b)
	do()
	busy := cpuOfAll(b) - began
	for name, after := range spent() {
		b.ReportMetric(100*(after-before[name])/busy, "%-"+name)
	}
}

// cpuOfAll returns the seconds for which the machine's CPUs have not been idle (proc_stat(5)).
func cpuOfAll(b *testing.B) float64 {
	b.Helper()
	content, err := os.ReadFile("/proc/stat")
	if err != nil {
		b.Fatal(err)
	}
	ticks := 0.0
	for i, word := range strings.Fields(strings.SplitN(string(content), "\n", 2)[0])[1:9] {
		n, err := strconv.ParseFloat(word, 64)
		if err != nil {
			b.Fatal(err)
		}
		if i != 3 && i != 4 { // idle, iowait
			ticks += n
		}
	}
	return ticks / 100
}

// buildCost compiles a package and all that it needs.
func buildCost(b *testing.B) float64 {
	b.Helper()
	what := "strconv"
	if testing.Short() {
		what = "unicode/utf8"
	}
	cmd := exec.Command("go", "build", what)
	cmd.Env = append(os.Environ(), "GOCACHE="+b.TempDir())
	return finish(b, cmd)
}

// forkCost starts programs that do nothing.
func forkCost(b *testing.B) float64 {
	b.Helper()
	n := 2000
	if testing.Short() {
		n = 50
	}
	return finish(b, exec.Command("sh", "-c", fmt.Sprintf("for i in $(seq %d); do /bin/true; done", n)))
}

// finish runs a command and returns the CPU seconds that it took, with those of all that it has started.
func finish(b *testing.B, cmd *exec.Cmd) float64 {
	b.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	return (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
}

var requestsServed = regexp.MustCompile(`(\d+) requests in`)

// requestCost loads nginx, whose master has that pid.
func requestCost(b *testing.B, address string, master int) float64 {
	b.Helper()
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", master, master))
	if err != nil {
		b.Fatal(err)
	}
	servers := func() (sum time.Duration) {
		for _, child := range strings.Fields(string(children)) {
			pid, err := strconv.Atoi(child)
			if err != nil {
				b.Fatal(err)
			}
			sum += cpuTime(b, pid)
		}
		return sum
	}
	before := servers()
	cmd := exec.Command("wrk", "-t1", "-c16", fmt.Sprintf("-d%.0fs", max(1, span(5*time.Second).Seconds())), "http://"+address+"/")
	out, err := cmd.Output()
	if err != nil {
		b.Fatal(err)
	}
	match := requestsServed.FindSubmatch(out)
	if match == nil {
		b.Fatalf("wrk says %s", out)
	}
	n, err := strconv.ParseFloat(string(match[1]), 64)
	if err != nil {
		b.Fatal(err)
	}
	return (servers() - before + cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds() / n
}

// idleCosts reports what promscope takes of a CPU, with a poll each second, while nothing is asked of the machine.
func idleCosts(b *testing.B) {
	shares := map[bool][]float64{}
	for turn := 0; b.Loop(); turn++ {
		for i := range 2 {
			on := (turn+i)%2 == 1
			p := startPlugin(b, costConfig(on))
			client := probetest.NewClient(p.socket, probetest.Options{Host: hostName})
			poll := func(d time.Duration) {
				if _, err := client.PollFor(b.Context(), max(1, int(span(d)/time.Second)), time.Second); err != nil {
					b.Fatal(err)
				}
			}
			poll(10 * time.Second)
			shares[on] = append(shares[on], cpuShare(b, p.Process.Pid, func() { poll(time.Minute) }))
			client.Close()
			p.kill()
		}
	}
	for on, unit := range map[bool]string{false: "%CPU-off", true: "%CPU-on"} {
		slices.Sort(shares[on])
		b.ReportMetric(shares[on][len(shares[on])/2], unit)
	}
	b.ReportMetric(0, "ns/op")
}
