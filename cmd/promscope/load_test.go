package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
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
func BenchmarkPollUnderLoad(b *testing.B) {
	body := loadExposition(b)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = w.Write(body)
	}))
	defer server.Close()

	config := "presets: []\nglobal: {scrape_interval: 1s}\ncollectors: {http: {enabled: false}}\nscrape_configs: [{job_name: load, static_configs: [{targets: [\"" +
		server.Listener.Addr().String() + "\"]}]}]\nrules:\n"
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

// loadExposition has five series for each of the processes that it starts, and
// others that no rule selects.
func loadExposition(b *testing.B) []byte {
	b.Helper()
	var body bytes.Buffer
	pids := make([]int, loadProcesses)
	for i := range pids {
		cmd := exec.Command("sleep", "600")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
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
	return body.Bytes()
}
