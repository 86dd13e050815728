package config

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFed(t *testing.T) {
	const jobs = `
scrape_configs:
  - {job_name: node, static_configs: [{targets: [a]}]}
  - {job_name: local, listener_sd_configs: [{ports: [9090]}]}
`
	const none = "scrape_configs: []\n"
	for _, tc := range []struct {
		config, selector string
		want             bool
	}{
		{jobs, `node_load1`, true},
		{jobs, `node_load1{job="node"}`, true},
		{jobs, `node_load1{job=~"node|other"}`, true},
		{jobs, `node_load1{job="nod"}`, false},
		{jobs, `{job="nod", mode="x"}`, false},
		{jobs, `{mode="x"}`, true},
		{jobs, `promscope_cpu_seconds_total`, true},
		{jobs, `promscope_cpu_secondss_total`, false},
		{jobs, `promscope_cpu_secondss_total{job="node"}`, true}, // of another promscope
		{jobs, `promscope_http_request_duration_seconds_bucket`, true},
		{jobs, `promscope_http_request_duration_bucket`, false},
		{jobs, `{__name__=~"promscope_http_.*"}`, true},
		{jobs, `{__name__=~"promscope_htp|promscope_x"}`, false},
		{jobs, `{__name__=~"promscope_htp|node_load1"}`, true},
		{jobs + "collectors: {http: {enabled: false}}\n", `promscope_http_requests_total`, false},
		{jobs + "collectors: {http: {enabled: false}}\n", `promscope_cpu_seconds_total`, true},
		{none, `node_load1`, false},
		{none, `promscope_scrapes_total`, true},
		{none, `go_goroutines`, true},
		{none, `up{job="promscope"}`, true},
		{none, `{mode="x"}`, true},
		{"scrape_configs: [{job_name: x, honor_labels: true, static_configs: [{targets: [a]}]}]\n", `node_load1{job="y"}`, true},
		{"scrape_configs: [{job_name: x, file_sd_configs: [{files: [x.json]}]}]\n", `node_load1{job="y"}`, true},
		{"scrape_configs: [{job_name: x, http_sd_configs: [{url: \"http://x/\"}]}]\n", `node_load1{job="y"}`, true},
		{"scrape_configs: [{job_name: x, static_configs: [{targets: [a], labels: {job: y}}]}]\n", `node_load1{job="y"}`, true},
	} {
		got, hint := mustParse(t, tc.config).fed(matchers(t, tc.selector))
		if got != tc.want || (hint == "") != got {
			t.Errorf("%s%s: got %t, hint %q, want %t", tc.config, tc.selector, got, hint, tc.want)
		}
	}
}

// What to do about a rule that starves.
func TestFedHint(t *testing.T) {
	const jobs = `
scrape_configs:
  - {job_name: node, static_configs: [{targets: [a]}]}
  - {job_name: local, listener_sd_configs: [{ports: [9090]}]}
`
	for _, tc := range []struct{ config, selector, want string }{
		{jobs, `node_load1{job="lokal"}`, "jobs are node, local, and promscope for its own metrics"},
		{jobs, `node_load1{job="promscope"}`, "jobs are node, local, and promscope for its own metrics"},
		{"scrape_configs: []\n", `node_load1`, "scrape_configs has no job, and promscope has its own metrics only"},
		{jobs, `promscope_cpu_secondss_total`, "did you mean promscope_cpu_seconds_total?"},
		{jobs, `promscope_x`, "docs/metrics.md lists promscope's own metrics"},
		{jobs + "collectors: {http: {enabled: false}}\n", `promscope_http_requests_total`, "the collector http is not enabled"},
	} {
		if _, got := mustParse(t, tc.config).fed(matchers(t, tc.selector)); got != tc.want {
			t.Errorf("%s%s: got %q, want %q", tc.config, tc.selector, got, tc.want)
		}
	}
}

// A rule that starves is warned of at its selector.
func TestStarvingRule(t *testing.T) {
	const config = `
scrape_configs: [{job_name: node, static_configs: [{targets: [a]}]}]
presets: []
rules:
  - metric: load
    label: Load of the machine
    priority: 0.5
    expr: node_load1{job="nod"}
    node: host
`
	_, list := Parse("promscope.yml", []byte(config))
	want := `promscope.yml:8:11: warning: no job and no collector has series for node_load1{job="nod"}
    8 |     expr: node_load1{job="nod"}
      |           ^
jobs are node, and promscope for its own metrics`
	if len(list) != 1 || list[0].Error() != want {
		t.Errorf("got %v, want:\n%s", list, want)
	}
}

// docs/metrics.md is compared to what is registered by another test.
func TestOwnMetrics(t *testing.T) {
	doc, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(promscope_[a-z_]+)`").FindAllStringSubmatch(string(doc), -1) {
		want = append(want, m[1])
	}
	slices.Sort(want)
	if *update {
		if err := os.WriteFile("own_metrics.txt", []byte(strings.Join(want, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("own_metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, strings.Fields(string(got))); diff != "" {
		t.Errorf("own_metrics.txt is not up to date with docs/metrics.md, run with -update (-want +got):\n%s", diff)
	}
}
