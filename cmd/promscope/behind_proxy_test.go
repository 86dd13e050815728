package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/promscope/promscope/bridge/plugin/probetest"
)

// TestBehindProxy scrapes a server through HAProxy, which hands on connections, and HAProxy's
// own exporter, all of it and a part. What the server says is on no process: HAProxy's is
// the only one that is known. The server does not say when it started.
func TestBehindProxy(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = io.WriteString(w, "# TYPE go_goroutines gauge\ngo_goroutines 7\n")
	}))
	t.Cleanup(server.Close)
	handsOn, exporter := freeAddress(t), freeAddress(t)
	config := filepath.Join(t.TempDir(), "cfg")
	write(t, config, fmt.Sprintf(`
defaults
  timeout client 1m
  timeout server 1m
  timeout connect 1s
listen hands_on
  mode tcp
  bind %s
  server s %s
frontend metrics
  mode http
  bind %s
  http-request use-service prometheus-exporter if { path /metrics }
`, handsOn, strings.TrimPrefix(server.URL, "http://"), exporter))
	haproxy := start(t, program(t, "haproxy", "haproxy"), "-db", "-f", config)
	awaitListener(t, handsOn)
	awaitListener(t, exporter)
	p := startPlugin(t, scrapedOften+noPresets+fmt.Sprintf(`
scrape_configs:
  - {job_name: behind, static_configs: [{targets: ["%s"]}]}
  - {job_name: proxy, static_configs: [{targets: ["%s"]}]}
  - {job_name: frontends, params: {scope: [frontend]}, static_configs: [{targets: ["%[2]s"]}]}
rules:
  - {metric: seen, label: Seen, expr: 'max(go_goroutines{job="behind"})', node: host}
  - {metric: behind, label: Behind, expr: go_goroutines, node: {process: target_pid}}
  - {metric: limit, label: Limit, expr: 'max by (target_pid) (haproxy_frontend_limit_sessions{job="proxy"})', node: {process: target_pid}}
  - {metric: part, label: Part, expr: 'max by (target_pid) (haproxy_frontend_limit_sessions{job="frontends"})', node: {process: target_pid}}
`, handsOn, exporter))
	node := hostName + ";" + strconv.Itoa(haproxy.Process.Pid)
	within(t, probe(t, p), time.Now(), 30*time.Second, "all three are scraped", func(r *probetest.Report) error {
		if _, ok := r.Value("Process", node, "behind"); ok {
			t.Fatal("what the server says is on HAProxy")
		}
		_, seen := r.Value("Host", hostNode, "seen")
		_, limit := r.Value("Process", node, "limit")
		_, part := r.Value("Process", node, "part")
		if !seen || !limit || !part {
			return errors.New("not yet: " + fmt.Sprint(seen, limit, part))
		}
		return nil
	})
	want := fmt.Sprintf("process %d (haproxy), has of itself: another process answers", haproxy.Process.Pid)
	if text, _ := askWhy(t, p, "go_goroutines"); !strings.Contains(text, want) {
		t.Errorf("explain lacks %q:\n%s", want, text)
	}
}
