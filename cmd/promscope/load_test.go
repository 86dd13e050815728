package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/promscope/promscope/bridge/plugin/probetest"
)

const (
	loadProcesses = 2_000   // nodes
	loadMetrics   = 5       // of each node
	loadSeries    = 100_000 // exposed, scraped each second
)

// BenchmarkPollUnderLoad polls a promscope that scrapes 100,000 series a second
// and reports 10,000 metrics of 2,000 processes, all of which change each second.
// It reports the 99th percentile of the polls, and what promscope itself takes.
// The exporter is a process of its own, and the poller does not unpack what it gets:
// promscope shares the machine with them, but does not wait for their garbage
// collections.
func BenchmarkPollUnderLoad(b *testing.B) {
	_, address := startRole(b, 0, nil, "load 127.0.0.1:0")
	config := "presets: []\nglobal: {scrape_interval: 1s}\ncollectors: {http: {enabled: false}}\nscrape_configs: [{job_name: load, static_configs: [{targets: [\"" +
		address + "\"]}]}]\nrules:\n"
	for i := range loadMetrics {
		config += fmt.Sprintf("  - {metric: m%d, label: M%d, expr: 'load%d + time() * 0', node: {process: pid}}\n", i, i, i)
	}
	p := startPlugin(b, config)
	client := probetest.NewClient(p.socket, probetest.Options{Host: hostName, Timeout: 5 * time.Second})
	defer client.Close()
	eventually(b, time.Minute, "all nodes", func() error {
		report, err := client.Poll(b.Context())
		if err != nil {
			return err
		}
		if t := report.Topologies["Process"]; t == nil || len(t.Nodes) < loadProcesses {
			return errNotYet
		}
		return nil
	})

	before, begin := processCPU(b, p.Process.Pid), time.Now()
	polls := probetest.NewClient(p.socket, probetest.Options{Host: hostName, Timeout: 5 * time.Second})
	defer polls.Close()
	for b.Loop() {
		if err := polls.Fetch(b.Context()); err != nil {
			b.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	b.ReportMetric(float64(polls.Latency(0.5).Microseconds()), "p50-µs")
	b.ReportMetric(float64(polls.Latency(0.99).Microseconds()), "p99-µs")
	b.ReportMetric(100*(processCPU(b, p.Process.Pid)-before).Seconds()/time.Since(begin).Seconds(), "%CPU")
}

// playLoad is an exporter of five series for each of the processes that it starts,
// and of others that no rule selects.
func playLoad(address string) error {
	var body bytes.Buffer
	pids := make([]int, loadProcesses)
	for i := range pids {
		cmd := exec.Command("sleep", "600")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			return err
		}
		pids[i] = cmd.Process.Pid
	}
	for i := range loadMetrics {
		for _, pid := range pids {
			fmt.Fprintf(&body, "load%d{pid=\"%d\"} %d\n", i, pid, pid%100)
		}
	}
	for i := range loadSeries - loadMetrics*loadProcesses {
		fmt.Fprintf(&body, "other_%d{i=\"%d\"} %d\n", i%1000, i, i)
	}
	return serveRole(address, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = w.Write(body.Bytes())
	}))
}
