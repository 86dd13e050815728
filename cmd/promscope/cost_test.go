package main

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
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
	const settle, measured = 15 * time.Second, time.Minute
	for b.Loop() {
		var share [2]float64
		for i, config := range []string{off, on} {
			p := startPlugin(b, config)
			time.Sleep(settle)
			before, began := processCPU(b, p.Process.Pid), time.Now()
			time.Sleep(measured)
			share[i] = 100 * (processCPU(b, p.Process.Pid) - before).Seconds() / time.Since(began).Seconds()
			if asked := value(p.metrics(b), `promscope_listener_probes_total{result="other"}`); (asked >= 500) != (config == on) {
				b.Errorf("%v listeners were asked", asked)
			}
			_ = p.Process.Kill()
			<-p.done
		}
		b.Logf("%.2f %% of a CPU without discovery, %.2f %% with it", share[0], share[1])
		b.ReportMetric(share[0], "%CPU-off")
		b.ReportMetric(share[1], "%CPU-on")
		b.ReportMetric(share[1]-share[0], "%CPU-discovery")
	}
}

// processCPU returns the CPU time of a process, to a hundredth of a second.
func processCPU(tb testing.TB, pid int) time.Duration {
	tb.Helper()
	content, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		tb.Fatal(err)
	}
	fields := strings.Fields(string(content[strings.LastIndexByte(string(content), ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}
