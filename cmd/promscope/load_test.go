package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
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

// BenchmarkPollUnderLoad polls a promscope that scrapes 100,000 series a second, of
// ten exporters or of one, and reports 10,000 metrics of 2,000 processes, all of which
// change each second. It reports the 99th percentile of the polls, and what promscope
// itself takes. The exporters are a process of their own: promscope shares the machine
// with them, but does not wait for their garbage collections. A poll includes what the
// poller takes to decode the answer.
func BenchmarkPollUnderLoad(b *testing.B) {
	for _, exporters := range []int{10, 1} {
		b.Run(fmt.Sprintf("exporters=%d", exporters), func(b *testing.B) { pollUnderLoad(b, exporters) })
	}
}

func pollUnderLoad(b *testing.B, exporters int) {
	load, addresses := startRole(b, 0, nil, fmt.Sprintf("load %d", exporters))
	config := "presets: []\nglobal: {scrape_interval: 1s}\ncollectors: {http: {enabled: false}}\n" +
		"scrape_configs: [{job_name: load, static_configs: [{targets: [" + addresses + "]}]}]\nrules:\n"
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

	polls := probetest.NewClient(p.socket, probetest.Options{Host: hostName, Timeout: 5 * time.Second})
	defer polls.Close()
	b.ReportMetric(cpuShare(b, p.Process.Pid, func() {
		for b.Loop() {
			if _, err := polls.Fetch(b.Context()); err != nil {
				b.Fatal(err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}), "%CPU")
	b.ReportMetric(float64(polls.Latency(0.5).Microseconds()), "p50-µs")
	b.ReportMetric(float64(polls.Latency(0.99).Microseconds()), "p99-µs")
	p.kill() // for the next benchmark to have the machine
	load.kill()
}

// playLoad is that many exporters of five series for each of the processes that it
// starts, and of others that no rule selects. It prints their addresses.
func playLoad(argument string) error {
	exporters, err := strconv.Atoi(argument)
	if err != nil {
		return err
	}
	bodies := make([]bytes.Buffer, exporters)
	for i := range loadProcesses {
		cmd := exec.Command("sleep", "600")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			return err
		}
		for m := range loadMetrics {
			fmt.Fprintf(&bodies[i%exporters], "load%d{pid=\"%d\"} %d\n", m, cmd.Process.Pid, i%100)
		}
	}
	for i := range loadSeries - loadMetrics*loadProcesses {
		fmt.Fprintf(&bodies[i%exporters], "other_%d{i=\"%d\"} %d\n", i%1000, i, i)
	}
	addresses := make([]string, exporters)
	for i := range bodies {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		addresses[i] = strconv.Quote(listener.Addr().String())
		go func() {
			_ = http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/plain; version=0.0.4")
				_, _ = w.Write(bodies[i].Bytes())
			}))
		}()
	}
	fmt.Println(strings.Join(addresses, ","))
	return nil
}
