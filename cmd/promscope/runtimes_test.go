package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/procfs"

	"github.com/promscope/promscope/bridge/plugin/probetest"
)

// nodeServer is a directory with a program for Node.js and the real prom-client,
// from the npm registry.
var nodeServer = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(buildDir, "node")
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "prom-client")); err == nil {
		return dir, nil // in a sandbox: installed outside
	}
	if err := os.CopyFS(dir, os.DirFS("testdata/node")); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "ci", "--prefix="+dir, "--ignore-scripts", "--no-audit", "--no-fund")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return dir, nil
})

// Programs on the JVM, with the names of both generations of Prometheus's client
// library for Java, and promscope with its default job.
func TestJVM(t *testing.T) {
	t.Parallel()
	java, jcmd := program(t, "default-jdk-headless", "java"), program(t, "default-jdk-headless", "jcmd")
	if !inSandbox(t, ownNetwork|ownProcesses) {
		return
	}
	client := probe(t, startPlugin(t, allShown))
	poll(t, client, 1)

	jvms := map[string]*process{}
	for i, names := range []string{"client_java", "simpleclient"} {
		port := strconv.Itoa(9400 + i)
		jvms[names] = start(t, java, "-XX:+UseG1GC", "-Xmx64m", filepath.Join("testdata", "java", "JVM.java"), port, names)
	}
	awaitListener(t, "127.0.0.1:9400")
	awaitListener(t, "127.0.0.1:9401")
	began := time.Now()
	programs, truths := []local{}, map[string]truth{}
	for names, p := range jvms {
		programs = append(programs, local{
			names, processNode(p), "Process",
			[]string{
				"promscope_jvm_heap", "promscope_jvm_heap_full", "promscope_jvm_threads",
				"promscope_process_fds_used",
			},
			[]string{"promscope_jvm_gc_time"},
		})
		truths[processNode(p)] = func(r *probetest.Report) error { return sameAsJcmd(t, jcmd, p, r) }
	}
	follow(t, client, began, programs, truths)

	report := poll(t, client, 1)
	onlyOn(t, report, "promscope_jvm_", jvms["client_java"], jvms["simpleclient"])
	sameLabels(t, report, map[string]string{
		"promscope_jvm_heap": "JVM heap used", "promscope_jvm_heap_full": "JVM heap full",
		"promscope_jvm_threads": "JVM threads", "promscope_jvm_gc_time": "JVM time in GC",
	})
	for _, p := range jvms {
		vanishes(t, client, p)
	}
}

// sameAsJcmd compares a report with what the JVM says of itself another way: its
// performance counters, and its heap's own account.
func sameAsJcmd(t *testing.T, jcmd string, p *process, r *probetest.Report) error {
	ask := func(command string) func(pattern string) float64 {
		out, err := exec.CommandContext(t.Context(), jcmd, strconv.Itoa(p.Process.Pid), command).CombinedOutput()
		if err != nil {
			t.Fatalf("jcmd %s: %v\n%s", command, err, out)
		}
		return func(pattern string) float64 {
			found := regexp.MustCompile(pattern).FindSubmatch(out)
			if found == nil {
				t.Fatalf("jcmd %s says no %s:\n%s", command, pattern, out)
			}
			v, _ := strconv.ParseFloat(string(found[1]), 64)
			return v
		}
	}
	counter := ask("PerfCounter.print")
	heap := 1024 * ask("GC.heap_info")(`garbage-first heap .* used (\d+)K`)
	const maxHeap = 64 << 20
	// Of System.gc(), which the program calls all the time; since the JVM's start.
	collecting := 100 * counter(`sun\.gc\.collector\.1\.time=(\d+)`) / counter(`sun\.os\.hrt\.ticks=(\d+)`)
	node := processNode(p)
	return errors.Join(
		about(r, node, "promscope_jvm_threads", counter(`java\.threads\.live=(\d+)`), 0),
		about(r, node, "promscope_jvm_heap", heap, 6<<20),
		about(r, node, "promscope_jvm_heap_full", 100*heap/maxHeap, 10),
		about(r, node, "promscope_jvm_gc_time", collecting, 0.5*collecting),
		sameAsProc(p, r),
	)
}

// A program on Node.js with prom-client, and promscope with its default job.
func TestNode(t *testing.T) {
	t.Parallel()
	node := program(t, "nodejs", "node", "nodejs")
	dir, err := nodeServer()
	if err != nil {
		unmet(t, "needs prom-client from the npm registry: %v", err)
	}
	if !inSandbox(t, ownNetwork|ownProcesses) {
		return
	}
	client := probe(t, startPlugin(t, allShown))
	poll(t, client, 1)

	const url = "http://127.0.0.1:9300"
	p := start(t, node, "--trace-gc", "--max-semi-space-size=1", filepath.Join(dir, "server.js"), "9300")
	awaitListener(t, "127.0.0.1:9300")
	began := time.Now()
	asked := traffic(t, url+"/", url+"/nosuch")
	programs := []local{{
		"prom-client", processNode(p), "Process",
		[]string{
			"promscope_nodejs_heap", "promscope_nodejs_eventloop_lag", "promscope_nodejs_handles",
			"promscope_process_fds_used",
		},
		[]string{"promscope_nodejs_gc_time", "promscope_handler_requests", "promscope_handler_errors", "promscope_handler_p99"},
	}}
	follow(t, client, began, programs, map[string]truth{
		processNode(p): func(r *probetest.Report) error { return sameAsV8(t, p, url+"/heap", asked(), r) },
	})

	report := poll(t, client, 1)
	onlyOn(t, report, "promscope_nodejs_", p)
	sameLabels(t, report, map[string]string{
		"promscope_nodejs_heap": "Node.js heap used", "promscope_nodejs_eventloop_lag": "Loop lag p99 (ms)",
		"promscope_nodejs_handles": "Node.js active handles", "promscope_nodejs_gc_time": "Node.js time in GC",
	})
	vanishes(t, client, p)
}

// collection is a line of V8's own account: when it was, and how long it took.
var collection = regexp.MustCompile(`(\d+) ms: .* MB, .*?([\d.]+) / [\d.]+ ms`)

// sameAsV8 compares a report with what V8 says without prom-client, and with how
// often a second the program was asked for each of two pages, one of which fails.
func sameAsV8(t *testing.T, p *process, url string, asked float64, r *probetest.Report) error {
	_, body, err := get(t.Context(), url)
	if err != nil {
		return err
	}
	heap, err := strconv.ParseFloat(body, 64)
	if err != nil {
		return err
	}
	var collecting, at float64 // ms
	for _, line := range collection.FindAllStringSubmatch(p.output.String(), -1) {
		at, _ = strconv.ParseFloat(line[1], 64)
		took, _ := strconv.ParseFloat(line[2], 64)
		collecting += took
	}
	if at == 0 {
		return errors.New("V8 tells of no collection")
	}
	percent := 100 * collecting / at
	node := processNode(p)
	return errors.Join(
		about(r, node, "promscope_nodejs_heap", heap, 8<<20), // garbage comes and goes
		about(r, node, "promscope_nodejs_gc_time", percent, 0.8*percent),
		about(r, node, "promscope_handler_requests", 2*asked, 0.4*asked),
		about(r, node, "promscope_handler_errors", asked, 0.2*asked),
		sameAsProc(p, r),
	)
}

// truth compares what a report has on a node with what is known otherwise.
type truth func(*probetest.Report) error

// follow waits until programs are on their nodes, then with their rates, and then
// with what is true of them.
func follow(t *testing.T, client *probetest.Client, began time.Time, programs []local, truths map[string]truth) {
	t.Helper()
	within(t, client, began, 2*lookInterval, "all programs are on their nodes", func(r *probetest.Report) error {
		for _, l := range programs {
			if err := l.missing(r, l.gauges); err != nil {
				return err
			}
		}
		return nil
	})
	within(t, client, began, 2*lookInterval+2*scrapeInterval, "with their rates", func(r *probetest.Report) error {
		for _, l := range programs {
			if err := l.missing(r, l.rates); err != nil {
				return err
			}
		}
		return nil
	})
	// What was scraped is seconds old, and a rate is right when it has all its samples.
	within(t, client, time.Now(), 10*scrapeInterval, "and the numbers are right", func(r *probetest.Report) error {
		for node, same := range truths {
			if err := same(r); err != nil {
				return fmt.Errorf("%s: %w", node, err)
			}
		}
		return nil
	})
}

// about is an error unless a process node's metric is a value, give or take.
func about(r *probetest.Report, node, metric string, want, give float64) error {
	got, ok := r.Value("Process", node, metric)
	if !ok || got < want-give || got > want+give {
		return fmt.Errorf("%s is %g, want %g ± %g", metric, got, want, give)
	}
	return nil
}

// sameAsProc compares what client libraries say of any process with /proc.
func sameAsProc(p *process, r *probetest.Report) error {
	proc, err := procfs.NewProc(p.Process.Pid)
	if err != nil {
		return err
	}
	fds, err := proc.FileDescriptorsLen()
	if err != nil {
		return err
	}
	limits, err := proc.Limits()
	if err != nil {
		return err
	}
	percent := 100 / float64(limits.OpenFiles)
	return about(r, processNode(p), "promscope_process_fds_used", float64(fds)*percent, 4*percent) // connections come and go
}

// sameLabels compares the labels of metrics on process nodes.
func sameLabels(t *testing.T, r *probetest.Report, want map[string]string) {
	t.Helper()
	for metric, label := range want {
		if got := r.Topologies["Process"].Templates[metric].Label; got != label {
			t.Errorf("%s is called %q, want %q", metric, got, label)
		}
	}
}

// onlyOn checks that metrics with that prefix are on those processes and no other.
func onlyOn(t *testing.T, r *probetest.Report, prefix string, processes ...*process) {
	t.Helper()
	for key, n := range r.Topologies["Process"].Nodes {
		for metric := range n.Metrics {
			if strings.HasPrefix(metric, prefix) && !slices.ContainsFunc(processes, func(p *process) bool { return processNode(p) == key }) {
				t.Errorf("%s is on %s, too", metric, key)
			}
		}
	}
}

// vanishes ends a program and waits until its node is gone.
func vanishes(t *testing.T, client *probetest.Client, p *process) {
	t.Helper()
	terminate(t, p)
	within(t, client, time.Now(), 20*time.Second, "what has ended is gone", func(r *probetest.Report) error {
		if r.Topologies["Process"].Nodes[processNode(p)] != nil {
			return errors.New("still there")
		}
		return nil
	})
}
