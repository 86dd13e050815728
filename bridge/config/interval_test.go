package config

import (
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

const intervals = `
global: {scrape_interval: 15s}
collectors: {iowait: {interval: 1s}, http: {interval: 2s}}
scrape_configs:
  - {job_name: fast, scrape_interval: 3s, static_configs: [{targets: [a]}]}
  - {job_name: slow, scrape_interval: 1m, static_configs: [{targets: [b]}]}
  - {job_name: usual, static_configs: [{targets: [c]}]}
`

func TestInterval(t *testing.T) {
	for selector, want := range map[string]time.Duration{
		`node_load1`:                                time.Minute,
		`node_load1{job="fast"}`:                    3 * time.Second,
		`node_load1{job=~"fast|usual"}`:             15 * time.Second,
		`node_load1{job!="slow"}`:                   15 * time.Second,
		`node_load1{job="nowhere"}`:                 time.Minute,
		`promscope_cpu_seconds_total`:               time.Second,
		`promscope_host_cpu_seconds_total`:          time.Second,
		`promscope_http_requests_total{pid="1"}`:    2 * time.Second,
		`{__name__=~"promscope_http_.*"}`:           2 * time.Second,
		`promscope_http_requests_total{job="slow"}`: time.Minute, // of another promscope
		`{__name__!~"promscope_http_.*", pid!=""}`:  time.Minute,
		`promscope_scrapes_total`:                   15 * time.Second,
		`go_goroutines{job="promscope"}`:            15 * time.Second,
	} {
		if got := mustParse(t, intervals).interval(matchers(t, selector)); got != want {
			t.Errorf("%s: got %s, want %s", selector, got, want)
		}
	}
}

func TestIntervalWithoutJobs(t *testing.T) {
	c := mustParse(t, "global: {scrape_interval: 7s}\nscrape_configs: []\ncollectors: {iowait: {enabled: false}}\n")
	for _, selector := range []string{`node_load1`, `promscope_cpu_seconds_total`} {
		if got := c.interval(matchers(t, selector)); got != 7*time.Second {
			t.Errorf("%s: got %s, want that of global", selector, got)
		}
	}
}

// A job whose series may carry any job label is admitted by every matcher.
func TestIntervalOfRenamedJobs(t *testing.T) {
	for _, renaming := range []string{
		"honor_labels: true",
		"relabel_configs: [{target_label: job, replacement: x}]",
		"metric_relabel_configs: [{regex: '(.*)', action: labelmap}]",
		"relabel_configs: [{source_labels: [a], regex: '(.*)', target_label: '$1', replacement: x}]",
		"static_configs: [{targets: [a], labels: {job: x}}]",
	} {
		c := mustParse(t, "scrape_configs:\n  - {job_name: fast, static_configs: [{targets: [a]}]}\n  - {job_name: slow, scrape_interval: 1m, "+renaming+"}\n")
		if got := c.interval(matchers(t, `up{job="x"}`)); got != time.Minute {
			t.Errorf("%s: got %s", renaming, got)
		}
	}
}

func matchers(t *testing.T, selector string) []*labels.Matcher {
	t.Helper()
	m, err := parser.NewParser(parser.Options{}).ParseMetricSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
