package main

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/procfs"

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
		p := startPlugin(b, "")
		client := probetest.NewClient(p.socket, probetest.Options{Host: hostName})
		if _, err := client.PollFor(b.Context(), 10, time.Second); err != nil {
			b.Fatal(err)
		}
		before, began := processCPU(b, p.Process.Pid), time.Now()
		if _, err := client.PollFor(b.Context(), 30, time.Second); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(100*(processCPU(b, p.Process.Pid)-before).Seconds()/time.Since(began).Seconds(), "%CPU")
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
		client.Close()
		_ = p.Process.Kill()
		<-p.done
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
