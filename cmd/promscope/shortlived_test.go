package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// The load of TestShortLived: 10,000 processes a minute.
const (
	shortLivedRate   = 166 // started a second
	shortLivedFor    = 10 * time.Second
	shortLivedGather = 5 * time.Second
)

// With 10,000 processes a minute that start, serve HTTP and die, while all collectors are at
// work and the discovery asks each that it finds, polls are valid and take no longer than
// those of a promscope that has nothing to do, each request is counted on its process, and
// in the end nothing is left of them.
//
// It does not run beside others: on a machine that has no time left the test itself is too late to
// read the counts of a process that has ended.
func TestShortLived(t *testing.T) {
	// Not in a pid namespace: the kernel counts HTTP by the pids of the first.
	if !inSandbox(t, ownNetwork, shortlived) {
		return
	}
	s := newSoak(t, shortLivedGather)
	// The rule's processes only: each that has a node is watched, by a descriptor. And the servers of
	// this test only: promscope finds those of other namespaces, too.
	s.p = startPlugin(t, noPresets+`
global: {scrape_interval: 1s}
scrape_configs: [{job_name: local, listener_sd_configs: [{ports: [10000-19999], exe: {include: ["`+s.server+`"]}, interval: 1s}]}]
collectors:
  http: {interval: `+shortLivedGather.String()+`, max_processes: 8192, cpu_budget_percent: 0, ports: {include: [10000-19999]}}
  wait: {cpu_budget_percent: 0}
  disk: {cpu_budget_percent: 0}
  pressure: {cpu_budget_percent: 0}
  iowait: {cpu_budget_percent: 0}
rules:
  - {metric: http_total, label: HTTP requests in all, expr: "sum by (pid) (promscope_http_requests_total)", node: {process: pid}}
`)
	if s.p.figure(t, `promscope_collector_running{collector="http"}`) != 1 {
		unmet(t, "the collector http does not run:\n%s", s.p.output)
	}
	other := &soak{t: t, p: startPlugin(t, nothingToScrape)}
	client, others := s.probe(), other.probe()

	type state struct {
		goroutines  float64
		descriptors int
	}
	left := func() state { return state{s.p.figure(t, "go_goroutines"), openFiles(s.p.Process.Pid).own()} }
	s.p.awaitReady(t)
	before := left()

	ctx, end := context.WithTimeout(t.Context(), shortLivedFor)
	defer end()
	watch, unwatch := context.WithCancel(t.Context())
	defer unwatch()
	var load, watchers sync.WaitGroup
	watchers.Go(func() { s.readCounts(watch) })
	load.Go(func() { s.churn(ctx, shortLivedRate) })
	began := time.Now()
	for ctx.Err() == nil {
		report, err := client.Poll(t.Context())
		if err != nil {
			s.failf("%v", err)
		} else {
			s.judge(report)
		}
		if _, err := others.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
		pause(ctx, 50*time.Millisecond)
	}
	load.Wait()
	took := time.Since(began)
	eventually(t, 60*time.Second, "the counts of all processes", s.ledger.open)
	unwatch()
	watchers.Wait()
	s.judgeLosses(s.p.metrics(t))
	if s.ledger.processes == 0 || 2*s.ledger.unread > s.ledger.processes {
		t.Errorf("too late: %s", s.ledger)
	}
	p50, p99, bare50, bare99 := client.Latency(0.5), client.Latency(0.99), others.Latency(0.5), others.Latency(0.99)
	t.Logf("%s in %s: polls take %s, p99 %s; of a promscope that has nothing to do %s, p99 %s",
		s.ledger, took.Round(time.Second), p50, p99, bare50, bare99)
	if p50 > max(20*time.Millisecond, 10*bare50) {
		t.Errorf("polls take %s, and %s of a promscope that has nothing to do", p50, bare50)
	}
	const few = 20 // of a thousand processes, if each left something
	eventually(t, 30*time.Second, "no more than before", func() error {
		if after := left(); after.descriptors > before.descriptors+few || after.goroutines > before.goroutines+few {
			return fmt.Errorf("%+v, before %+v", after, before)
		}
		return nil
	})
	if strings.Contains(s.p.output.String(), "level=ERROR") {
		t.Error("there are errors in the log")
	}
}
