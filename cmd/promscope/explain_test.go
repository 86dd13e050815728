package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/promscope/promscope/bridge/view"
)

// askWhy asks a running promscope by the command.
func askWhy(t *testing.T, p *plugin, subject string) (string, view.Explanation) {
	t.Helper()
	var text, data, stderr bytes.Buffer
	ctx := context.WithoutCancel(t.Context())
	if code := run(ctx, []string{"explain", "--url", p.web, subject}, &text, &stderr); code != 0 && code != 1 {
		t.Fatalf("explain %s: exit code %d: %s", subject, code, stderr.String())
	}
	run(ctx, []string{"explain", "--url", p.web, "--json", subject}, &data, &stderr)
	var e view.Explanation
	if err := json.Unmarshal(data.Bytes(), &e); err != nil {
		t.Fatalf("explain --json %s: %v in %q, %s", subject, err, data.String(), stderr.String())
	}
	return text.String(), e
}

const explainRules = `
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: node
    static_configs: [{targets: ["%s"]}]
  - job_name: shop
    static_configs: [{targets: ["%s"]}]
    metric_relabel_configs:
      - {source_labels: [__name__], regex: shop_debug_.*, action: drop}
  - job_name: gone
    static_configs: [{targets: ["%s"]}]
presets: [iowait]
rules:
  - metric: cpu_user
    label: CPU user
    format: percent
    expr: 100 * avg(rate(node_cpu_seconds_total{mode="user"}[$__rate_interval]))
    node: host
  - metric: shop_queue
    label: Shop queue
    expr: shop_queue_length
    node: {process: worker_pid}
  - metric: shop_ratio
    label: Shop ratio
    expr: shop_queue_length / on (job) group_left () shop_queue_length
    node: host
`

// Everything that users ask is answered by the running promscope, about real
// targets.
func TestExplain(t *testing.T) {
	t.Parallel()
	path, err := nodeExporter()
	if err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	node := start(t, path, "--web.listen-address="+address)
	pid, dead := os.Getpid(), "4194304"
	shop := newExporter(t, fmt.Sprintf("shop_queue_length{worker_pid=%q} 3\nshop_queue_length{worker_pid=%q} 4\nshop_queue_length 5\nshop_debug_x 1\n",
		strconv.Itoa(pid), dead))
	p := startPlugin(t, fmt.Sprintf(explainRules, address, shop.address(), freeAddress(t)))
	await(t, probe(t, p), "cpu_user")

	// A series that a rule takes, and one that the same rule refuses.
	text, e := askWhy(t, p, `node_cpu_seconds_total{cpu="0"}`)
	byMode := map[string]view.SeriesExplanation{}
	for _, s := range e.Series {
		byMode[s.Labels["mode"]] = s
	}
	user, idle := byMode["user"], byMode["idle"]
	switch {
	case len(byMode) != 8:
		t.Errorf("%d modes of node_cpu_seconds_total, want 8:\n%s", len(byMode), text)
	case len(user.Selected) != 1 || user.Selected[0].Rule != "host/cpu_user" || len(user.Selected[0].Nodes) != 1 || user.Last == nil:
		t.Errorf("mode user: %+v", user)
	case user.Labels["target_pid"] != strconv.Itoa(node.Process.Pid) || user.Target == nil || user.Target.Instance != address:
		t.Errorf("mode user is not served by node_exporter: %+v", user)
	case len(idle.Selected) != 0 || len(idle.Refused) != 1 || idle.Refused[0].Matcher != `mode="user"` || idle.Refused[0].Value != "idle":
		t.Errorf("mode idle: %+v", idle)
	case idle.Target == nil || idle.Target.Instance != address || idle.Last != nil:
		t.Errorf("mode idle is served by %+v", idle.Target)
	}
	contains(t, text, `wants mode="user", the series has "idle"`, "No rule selects it", "→ vm;<host>", "served by    node "+address+", up")

	// One that no rule asks for, and what is not known at all.
	text, _ = askWhy(t, p, "node_load5")
	contains(t, text, "No rule asks for this metric.", "served by    node "+address)
	text, _ = askWhy(t, p, "node_cpu_seconds")
	contains(t, text, "Similar names: node_cpu_seconds_total", "Target gone ", "is down, so what it serves is not known", "connection refused")
	text, _ = askWhy(t, p, "shop_debug_x")
	contains(t, text, "Job shop serves shop_debug_x, but its metric_relabel_configs drop or rename it.")

	// Rules: what became of each element.
	text, e = askWhy(t, p, "process/shop_queue")
	if len(e.Rules) != 1 || e.Rules[0].Dropped["dead"] != 1 || e.Rules[0].Dropped["no_label"] != 1 || e.Rules[0].Points != 1 {
		t.Errorf("process/shop_queue: %+v", e.Rules)
	}
	contains(t, text, "dropped: dead", "dropped: no_label", fmt.Sprintf("→ vm;%d", pid), "shop_queue_length  3 series, kept for", "promscope.yml:", "targets      shop ")
	text, _ = askWhy(t, p, "Shop ratio")
	contains(t, text, "The last evaluation failed.", "many-to-many matching not allowed")

	// Nodes: one that is reported, one that is not.
	text, e = askWhy(t, p, strconv.Itoa(pid))
	if len(e.Nodes) != 1 || len(e.Nodes[0].Origins) != 1 || e.Nodes[0].Origins[0].Rule != "process/shop_queue" {
		t.Errorf("node %d: %+v", pid, e.Nodes)
	}
	contains(t, text, "Shop queue = 3", "expression   shop_queue_length", "targets      shop "+shop.address())
	text, _ = askWhy(t, p, dead)
	contains(t, text, "Scope is told nothing about process "+dead+": rule process/shop_queue has a value for it, and drops it (dead).")
	text, _ = askWhy(t, p, "host")
	contains(t, text, "node vm;<host>", "CPU user =")
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is missing in:\n%s", part, text)
		}
	}
}

// The API answers what the pages show, about a running pipeline.
func TestStatusAPI(t *testing.T) {
	t.Parallel()
	up := newExporter(t, "# TYPE up_metric gauge\nup_metric{k=\"v\"} 4\nother 1\n")
	p := startPlugin(t, fmt.Sprintf(`
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: up
    static_configs: [{targets: ["%s"]}]
  - job_name: down
    static_configs: [{targets: ["%s"]}]
  - job_name: dropped
    static_configs: [{targets: ["x:1"]}]
    relabel_configs: [{action: drop, source_labels: [__address__], regex: "x:1"}]
presets: [iowait]
collectors: {http: {enabled: false}}
rules:
  - {metric: shown, label: Shown, expr: up_metric, node: host}
`, up.address(), freeAddress(t)))
	client := probe(t, p)
	await(t, client, "shown")
	poll(t, client, 3)

	var targets struct{ Targets []view.Target }
	api(t, p, "targets", &targets)
	health := map[string]view.Target{}
	for _, target := range targets.Targets {
		health[target.Job] = target
	}
	if u := health["up"]; u.Health != view.HealthUp || u.Samples != 2 || u.Kept != 1 || u.Labels["target_pid"] == "" || u.LastDurationSeconds <= 0 {
		t.Errorf("target up: %+v", u)
	}
	if d := health["down"]; d.Health != view.HealthDown || !strings.Contains(d.Error, "refused") {
		t.Errorf("target down: %+v", d)
	}
	if d := health["dropped"]; d.Health != view.HealthDropped || d.Error == "" {
		t.Errorf("dropped target: %+v", d)
	}

	var rules struct{ Rules []view.Rule }
	api(t, p, "rules?q=host/shown", &rules)
	if len(rules.Rules) != 1 {
		t.Fatalf("rules: %+v", rules)
	}
	if r := rules.Rules[0]; r.Points != 1 || r.State() != view.RuleOK || len(r.Selectors) != 1 || r.Selectors[0].Series != 1 || r.Selectors[0].RetentionSeconds != 3 {
		t.Errorf("rule: %+v", r)
	}

	var nodes struct{ Nodes []view.Node }
	api(t, p, "nodes", &nodes)
	found := false
	for _, n := range nodes.Nodes {
		for _, m := range n.Metrics {
			found = found || n.Key == hostNode && n.ID == hostName && m.ID == "shown" && m.Rule == "host/shown" && len(m.Samples) > 1
		}
	}
	if !found {
		t.Errorf("nodes: %+v", nodes)
	}

	var collectors struct{ Collectors []view.Collector }
	api(t, p, "collectors", &collectors)
	for _, c := range collectors.Collectors {
		want := view.CollectorOn
		if c.Name == "http" {
			want = view.CollectorOff
		}
		if c.State != want || c.Help == "" || want == view.CollectorOn && (c.LastGather.IsZero() || c.Series == 0) {
			t.Errorf("collector: %+v", c)
		}
	}

	var scope view.Scope
	api(t, p, "scope", &scope)
	if scope.Host != hostName || scope.Socket != p.socket || len(scope.Pollers) != 1 || scope.Pollers[0].Polls < 3 || scope.Pollers[0].AnswerBytes == 0 ||
		!strings.Contains(scope.Pollers[0].Process, strconv.Itoa(os.Getpid())) || scope.Report.Nodes != 1 || scope.Report.EncodeSeconds <= 0 {
		t.Errorf("scope: %+v", scope)
	}

	var query struct {
		Result []struct {
			Metric map[string]string
			Value  []any
		}
	}
	api(t, p, "query?query=2*up_metric", &query)
	if len(query.Result) != 1 || query.Result[0].Metric["k"] != "v" || query.Result[0].Value[1] != "8" {
		t.Errorf("query: %+v", query)
	}
	api(t, p, "query?query=count_over_time(up_metric[$__rate_interval])", &query)
	if len(query.Result) != 1 {
		t.Errorf("query with $__rate_interval: %+v", query)
	}
	for expr, want := range map[string]int{"up_metric[": 400, "sum(up_metric": 400, "up_metric+on()up_metric": 200, "up_metric+on(x)group_left()(other,": 400} {
		if status, _, err := get(t.Context(), p.web+"/api/v1/query?query="+strings.ReplaceAll(expr, "+", "%2B")); err != nil || status != want {
			t.Errorf("query %s: status %d, %v, want %d", expr, status, err, want)
		}
	}

	// What a refused reload leaves behind.
	config := p.config(t)
	if err := os.WriteFile(config, []byte("rules: [{metric: x}]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	before := configuration(t, p)
	p.hangup(t)
	eventually(t, 5*time.Second, "the refused reload", func() error {
		if c := configuration(t, p); !strings.Contains(c.ReloadError, "label is missing") || c.Reloaded.IsZero() || !c.Loaded.Equal(before.Loaded) {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
	if err := os.WriteFile(config, []byte("scrape_configs: []\npresets: []\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	p.hangup(t)
	eventually(t, 5*time.Second, "the next reload", func() error {
		if c := configuration(t, p); c.ReloadError != "" || !c.Loaded.After(before.Loaded) {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
}

func configuration(t *testing.T, p *plugin) view.Configuration {
	t.Helper()
	var c view.Configuration
	api(t, p, "configuration", &c)
	return c
}

func api(t *testing.T, p *plugin, endpoint string, data any) {
	t.Helper()
	status, body, err := get(t.Context(), p.web+"/api/v1/"+endpoint)
	if err != nil || status != http.StatusOK {
		t.Fatalf("%s: status %d, %v: %s", endpoint, status, err, body)
	}
	envelope := struct{ Data any }{data}
	if err := json.Unmarshal([]byte(body), &envelope); err != nil {
		t.Fatalf("%s: %v in %s", endpoint, err, body)
	}
}

// config is the configuration file that the plugin was started with.
func (p *plugin) config(t *testing.T) string {
	t.Helper()
	for _, arg := range p.Args {
		if file, is := strings.CutPrefix(arg, "--config.file="); is {
			return filepath.Clean(file)
		}
	}
	t.Fatal("started without a configuration")
	return ""
}

// hangup asks for a reload as a user would.
func (p *plugin) hangup(t *testing.T) {
	t.Helper()
	if err := p.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}
