package main

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/procfs"
)

var reloads = flag.Int("reloads", 30, "how many reloads TestReloads does")

// TestReloads loads one configuration after another, under load: with another rule, with
// other settings of the collectors, without collectors, and one that is refused. They
// leave goroutines, descriptors, maps, programs and memory as they were, and at no time
// is a collector there twice.
//
//	go test ./cmd/promscope -run TestReloads -v -timeout 30m -reloads 1000
func TestReloads(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		unmet(t, "needs root, for the collector http")
	}
	exporter := newExporter(t, manySeries(500))
	traffic(t, "http://"+exporter.address())
	// The programs that are counted are those of http. pressure holds three descriptors for
	// each cgroup of a container, and other tests make such ones.
	const others = "pressure: {enabled: false}, wait: {enabled: false}, disk: {enabled: false}, tcp: {enabled: false}, exits: {enabled: false}, "
	config := func(rule, collectors string) string {
		return noPresets + fmt.Sprintf(`
global: {scrape_interval: 1s}
scrape_configs: [{job_name: load, static_configs: [{targets: ["%s"]}]}]
collectors: %s
rules:
  - {metric: changed, label: Changed, expr: %s, node: host}
  - {metric: good, label: Good, expr: count(good), node: host}
  - {metric: requests, label: Requests, expr: sum by (pid) (promscope_http_requests_total), node: {process: pid}}
`, exporter.address(), strings.Replace(collectors, "{", "{"+others, 1), rule)
	}
	// The machine's other servers come and go, and each takes a descriptor.
	_, port, err := net.SplitHostPort(exporter.address())
	if err != nil {
		t.Fatal(err)
	}
	first := fmt.Sprintf("{http: {ports: {include: [%s]}}}", port)
	another := fmt.Sprintf("{http: {ports: {include: [%s, 1]}}, iowait: {interval: 2s}}", port)
	const none = "{http: {enabled: false}, iowait: {enabled: false}}"
	type step struct {
		config  string
		refused bool
		running int // collectors http
	}
	var steps []step
	for i := range 6 { // most reloads are of rules
		steps = append(steps, step{config(fmt.Sprintf("vector(%d)", i+2), first), false, 1})
	}
	steps = append(steps,
		step{config("vector(", another), true, 1},
		step{config("vector(9)", another), false, 1},
		step{config("vector(9)", none), false, 0},
		step{config("vector(1)", first), false, 1},
	)
	file := writeConfig(t, steps[len(steps)-1].config)
	p := startPlugin(t, "", "--config.file="+file, "--web.enable-lifecycle")
	client := probe(t, p)
	await(t, client, "good")
	one := openFiles(p.Process.Pid).kernel
	if one == 0 {
		unmet(t, "the collector http does not run here:\n%s", p.output)
	}

	load := func(n int) {
		t.Helper()
		step := steps[n%len(steps)]
		if err := os.WriteFile(file, []byte(step.config), 0o600); err != nil {
			t.Fatal(err)
		}
		resp, err := http.Post(p.web+"/-/reload", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if (resp.StatusCode != http.StatusOK) != step.refused {
			t.Fatalf("reload %d: %s:\n%s", n, resp.Status, p.output)
		}
		if got := openFiles(p.Process.Pid).kernel; got != step.running*one {
			t.Fatalf("after reload %d there are %d maps, programs and links, want %d times %d", n, got, step.running, one)
		}
		if _, err := client.Poll(t.Context()); err != nil {
			t.Fatalf("after reload %d: %v", n, err)
		}
	}
	type state struct {
		goroutines  float64
		descriptors int
		memory      uint64
	}
	now := func() state {
		status, err := procStatus(p.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		return state{p.gauge(t, "go_goroutines"), openFiles(p.Process.Pid).own(), status.RssAnon}
	}
	for n := range 2 * len(steps) { // the first ones fill caches
		load(n)
	}
	before := now()
	began := time.Now()
	for n := range *reloads / len(steps) * len(steps) {
		load(n)
		if (n+1)%100 == 0 {
			t.Logf("%d reloads in %s: %+v", n+1, time.Since(began).Round(time.Second), now())
		}
	}
	eventually(t, 10*time.Second, "no more than before", func() error {
		after := now()
		if after.goroutines > before.goroutines+5 || after.descriptors > before.descriptors+5 || after.memory > before.memory*5/4+8<<20 {
			return fmt.Errorf("%+v, before %+v", after, before)
		}
		return nil
	})
	t.Logf("%d reloads took %s each: %+v, before %+v", *reloads, (time.Since(began) / time.Duration(*reloads)).Round(time.Millisecond), now(), before)
	await(t, client, "good")
}

func procStatus(pid int) (procfs.ProcStatus, error) {
	proc, err := procfs.NewProc(pid)
	if err != nil {
		return procfs.ProcStatus{}, err
	}
	return proc.NewStatus()
}
