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

	"github.com/promscope/promscope/bridge/collectors"
	"github.com/promscope/promscope/bridge/plugin/probetest"
)

// What the built-in collectors take, all together and each alone: of a build, of processes that
// come and go, of a web server that has all the load that it can take, and of a machine that
// does nothing. Each turn has one run with them and one without any, in changing order, and the
// figure is the median of the turns' ratios. What counts is CPU time, for other programs
// disturb it less than they do the clock: that of the work, with what the programs in the
// kernel take in its context.
//
//	go test ./cmd/promscope -run '^$' -bench Collectors -benchtime 5x -timeout 60m
func BenchmarkCollectors(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root, for the collectors")
	}
	b.Run("build", func(b *testing.B) { compareCosts(b, buildCost) })
	b.Run("forks", func(b *testing.B) { compareCosts(b, forkCost) })
	b.Run("requests", func(b *testing.B) {
		program(b, "wrk", "wrk")
		address := freeAddress(b)
		nginx := startNginx(b, address)
		defer terminate(b, nginx) // with its workers
		compareCosts(b, func(b *testing.B) float64 { return requestCost(b, address, nginx.Process.Pid) })
	})
	b.Run("idle", idleCosts)
}

func allCollectors() (names []string) {
	for _, d := range collectors.Definitions() {
		names = append(names, d.Name)
	}
	return names
}

// costConfig switches those collectors on, which never rest, and all others off.
func costConfig(names ...string) string {
	var text strings.Builder
	text.WriteString("scrape_configs: []\ncollectors:\n")
	for _, name := range allCollectors() {
		fmt.Fprintf(&text, "  %s: {enabled: %t, cpu_budget_percent: 0}\n", name, slices.Contains(names, name))
	}
	return text.String()
}

// compareCosts compares the CPU seconds that a unit of the work takes.
func compareCosts(b *testing.B, do func(*testing.B) float64) {
	b.Run("all", func(b *testing.B) { compareCost(b, do, allCollectors()...) })
	if testing.Short() {
		return
	}
	for _, name := range allCollectors() {
		b.Run(name, func(b *testing.B) { compareCost(b, do, name) })
	}
}

func compareCost(b *testing.B, do func(*testing.B) float64, names ...string) {
	cost := func(names ...string) float64 {
		p := startPlugin(b, costConfig(names...))
		defer p.kill()
		time.Sleep(span(2 * time.Second))
		return do(b)
	}
	cost() // what is done once
	var ratios []float64
	for turn := 0; b.Loop(); turn++ {
		var with, without float64
		if turn%2 == 0 {
			without = cost()
		}
		with = cost(names...)
		if turn%2 == 1 {
			without = cost()
		}
		ratios = append(ratios, with/without)
	}
	slices.Sort(ratios)
	b.ReportMetric(100*(ratios[len(ratios)/2]-1), "%-more")
	b.ReportMetric(100*(ratios[0]-1), "%-more-least")
	b.ReportMetric(100*(ratios[len(ratios)-1]-1), "%-more-most")
	b.ReportMetric(0, "ns/op")
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

// idleCosts reports what promscope takes of a CPU, with a poll each second, while nothing is
// asked of the machine.
func idleCosts(b *testing.B) {
	share := func(names ...string) float64 {
		p := startPlugin(b, costConfig(names...))
		defer p.kill()
		client := probetest.NewClient(p.socket, probetest.Options{Host: hostName})
		defer client.Close()
		poll := func(d time.Duration) {
			if _, err := client.PollFor(b.Context(), max(1, int(span(d)/time.Second)), time.Second); err != nil {
				b.Fatal(err)
			}
		}
		poll(10 * time.Second)
		return cpuShare(b, p.Process.Pid, func() { poll(time.Minute) })
	}
	var off, on []float64
	for b.Loop() {
		off, on = append(off, share()), append(on, share(allCollectors()...))
	}
	for unit, shares := range map[string][]float64{"%CPU-off": off, "%CPU-on": on} {
		slices.Sort(shares)
		b.ReportMetric(shares[len(shares)/2], unit)
	}
	b.ReportMetric(0, "ns/op")
}
