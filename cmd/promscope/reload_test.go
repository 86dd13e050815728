package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// gauge returns a figure of promscope's own metrics.
func (p *plugin) gauge(t *testing.T, name string) float64 {
	t.Helper()
	found := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(p.metrics(t))
	if found == nil {
		t.Fatalf("there is no %s", name)
	}
	v, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestReloadKeeps: while one rule changes again and again, each other metric has a
// sample for each scrape, rates do not dip, and nothing is left over.
func TestReloadKeeps(t *testing.T) {
	t.Parallel()
	const interval = 500 * time.Millisecond
	start := time.Now()
	exporter := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		// It grows by a hundred a second, whenever it is asked.
		fmt.Fprintf(w, "work_total %.3f\none 1\ntwo 2\npart{name=\"a\"} 1\npart{name=\"b\"} 2\n", 100*time.Since(start).Seconds())
	}))
	defer exporter.Close()
	config := func(rule string) string {
		return noPresets + fmt.Sprintf(`
global: {scrape_interval: 500ms}
scrape_configs: [{job_name: kept, static_configs: [{targets: ["%s"]}]}]
collectors: {iowait: {enabled: true, interval: 500ms}, http: {enabled: false}} # http has a descriptor for each server of the machine
rules:
  - {metric: changed, label: Changed, expr: %s, node: host}
  - {metric: work, label: Work, expr: "rate(work_total[4s])", node: host}
  - {metric: "part_${name}", label: "Part ${name}", expr: part, node: host}
  - {metric: cpu, label: CPU seconds, expr: "sum(rate(promscope_host_cpu_seconds_total[4s]))", node: host}
`, exporter.Listener.Addr(), rule)
	}
	file := writeConfig(t, config("one"))
	p := startPlugin(t, "", "--config.file="+file, "--web.enable-lifecycle")
	client := probe(t, p)
	kept := []string{"work", "part_a", "part_b", "cpu"}
	for _, metric := range kept {
		await(t, client, metric)
	}
	time.Sleep(5 * time.Second) // until the rates' windows are full

	began := time.Now()
	dates := map[string]map[time.Time]float64{}
	for _, metric := range kept {
		dates[metric] = map[time.Time]float64{}
	}
	reload := func(i int) {
		t.Helper()
		if err := os.WriteFile(file, []byte(config([]string{"one", "two"}[i%2])), 0o644); err != nil {
			t.Fatal(err)
		}
		resp, err := http.Post(p.web+"/-/reload", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("reload: %s:\n%s", resp.Status, p.output)
		}
	}
	reloads := 0
	run := func(n int, every time.Duration) {
		for range n {
			reloads++
			reload(reloads)
			time.Sleep(every)
			report := poll(t, client, 1)
			for _, metric := range kept {
				m := report.Metric("Host", hostNode, metric)
				if m == nil {
					t.Fatalf("%s is not there after %d reloads", metric, reloads)
				}
				for _, s := range m.Samples {
					if s.Date.After(began) {
						dates[metric][s.Date] = s.Value
					}
				}
			}
		}
	}
	run(10, 230*time.Millisecond)
	goroutines, descriptors := p.gauge(t, "go_goroutines"), openFiles(p.Process.Pid).own()
	run(40, 230*time.Millisecond)
	eventually(t, 10*time.Second, "no more goroutines and descriptors than before", func() error {
		if g, d := p.gauge(t, "go_goroutines"), openFiles(p.Process.Pid).own(); g > goroutines+5 || d > descriptors+5 {
			return fmt.Errorf("%v goroutines, %v before; %d descriptors, %d before", g, goroutines, d, descriptors)
		}
		return nil
	})

	for _, metric := range kept {
		var first, last time.Time
		for date := range dates[metric] {
			if first.IsZero() || date.Before(first) {
				first = date
			}
			if date.After(last) {
				last = date
			}
		}
		want := int(last.Sub(first).Round(interval)/interval) + 1
		if got := len(dates[metric]); got < want-1 || got > want+1 || want < 15 { // a busy machine may miss one
			t.Errorf("%s has %d samples in %s, want %d", metric, got, last.Sub(first), want)
		}
	}
	for date, rate := range dates["work"] {
		if rate < 70 || rate > 130 { // what a busy machine's scrapes are off; a window that begins anew is half empty
			t.Errorf("the rate is %v at %s, want 100", rate, date)
		}
	}
	if strings.Contains(p.output.String(), "level=WARN") {
		t.Errorf("warnings:\n%s", p.output)
	}
}

// TestAutoReload: a change of a rule file is loaded, and one that is wrong is tried once.
func TestAutoReload(t *testing.T) {
	t.Parallel()
	file := writeConfig(t, noPresets+"\nrule_files: [\"*.rules\"]\n")
	p := startPlugin(t, "", "--config.file="+file, "--config.auto-reload-interval=100ms")
	rules := filepath.Join(filepath.Dir(file), "a.rules")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(rules, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	logged := func(text string, n int) func() error {
		return func() error {
			if got := strings.Count(p.output.String(), text); got < n {
				return errNotYet
			}
			return nil
		}
	}
	write("rules: [{metric: a, label: A, expr: vector(3), node: host}]")
	eventually(t, 10*time.Second, "the reload", logged("was loaded anew", 1))
	await(t, probe(t, p), "a")
	write("rules: [{metric: a")
	eventually(t, 10*time.Second, "the refusal", logged("Reload failed", 1))
	time.Sleep(500 * time.Millisecond)
	if err := logged("Reload failed", 2)(); err == nil {
		t.Error("the same files were tried twice")
	}
	write("rules: []")
	eventually(t, 10*time.Second, "the next reload", logged("was loaded anew", 2))
}
