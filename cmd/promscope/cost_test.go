package main

import (
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/bridge/plugin/probetest"
)

// What discovery costs: the CPU time of all of promscope, with the discovery of
// the default configuration and without, on a machine with 2,000 processes and
// 5,000 listening sockets, 500 of them on the ports that are asked.
//
//	go test ./cmd/promscope -run '^$' -bench Discovery -benchtime 1x
//
// It takes some three minutes; a minute of each is measured, after what is done
// once.
func BenchmarkDiscovery(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root, for a network namespace")
	}
	crowd, _ := startRole(b, syscall.CLONE_NEWNET, nil, "crowd 2000 5000")
	_ = crowd
	const (
		off = "presets: [process]\ncollectors: {iowait: {enabled: false}, http: {enabled: false}}\nscrape_configs: []\n"
		on  = "presets: [process]\ncollectors: {iowait: {enabled: false}, http: {enabled: false}}\n"
	)
	settle, measured := 15*time.Second, span(time.Minute)
	for b.Loop() {
		var share [2]float64
		for i, config := range []string{off, on} {
			p := startPlugin(b, config)
			time.Sleep(settle)
			share[i] = cpuShare(b, p.Process.Pid, func() { time.Sleep(measured) })
			if asked := value(p.metrics(b), `promscope_listener_probes_total{result="other"}`); (asked >= 500) != (config == on) {
				b.Errorf("%v listeners were asked", asked)
			}
			p.kill()
		}
		b.Logf("%.2f %% of a CPU without discovery, %.2f %% with it", share[0], share[1])
		b.ReportMetric(share[0], "%CPU-off")
		b.ReportMetric(share[1], "%CPU-on")
		b.ReportMetric(share[1]-share[0], "%CPU-discovery")
	}
}

// What promscope costs while nothing happens: with the default configuration, a
// node_exporter and a poll each second, for half a minute. Other exporters that listen
// on this machine are scraped too, and count.
//
//	go test ./cmd/promscope -run '^$' -bench Idle -benchtime 1x
func BenchmarkIdle(b *testing.B) {
	path, err := nodeExporter()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		start(b, path, "--web.listen-address=127.0.0.1:9100")
		reportCost(b, "")
	}
}

// reportCost runs promscope for 40 s, with a poll each second, and reports its CPU time
// in the last 30 of them and its memory at the end. It returns its metrics then.
func reportCost(b *testing.B, config string) (exposition string) {
	b.Helper()
	p := startPlugin(b, config)
	client := probetest.NewClient(p.socket, probetest.Options{Host: hostName})
	defer client.Close()
	settle, measured := int(span(10*time.Second)/time.Second), int(span(30*time.Second)/time.Second)
	if _, err := client.PollFor(b.Context(), max(settle, 3), time.Second); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(cpuShare(b, p.Process.Pid, func() {
		if _, err := client.PollFor(b.Context(), measured, time.Second); err != nil {
			b.Fatal(err)
		}
	}), "%CPU")
	proc, err := procfs.NewProc(p.Process.Pid)
	if err != nil {
		b.Fatal(err)
	}
	memory, err := proc.NewStatus()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(memory.VmRSS)/(1<<20), "MiB-resident")
	b.ReportMetric(float64(memory.RssAnon)/(1<<20), "MiB-anonymous")
	exposition = p.metrics(b)
	p.kill()
	return exposition
}

// span is how long a benchmark measures that lasts for d. With -short it is to show that
// it runs, and no figure.
func span(d time.Duration) time.Duration {
	if testing.Short() {
		return d / 10
	}
	return d
}

// cpuShare returns what a process takes of a CPU while fn runs, in percent.
func cpuShare(tb testing.TB, pid int, fn func()) float64 {
	tb.Helper()
	before, began := cpuTime(tb, pid), time.Now()
	fn()
	return 100 * (cpuTime(tb, pid) - before).Seconds() / time.Since(began).Seconds()
}

// cpuTime returns the CPU time that a process has taken, by the kernel's clock of it, as
// clock_getcpuclockid(3) makes its id. The times in /proc are whole hundredths of a second.
func cpuTime(tb testing.TB, pid int) time.Duration {
	tb.Helper()
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &t); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(t.Nano())
}
