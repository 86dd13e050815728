package config

import (
	"strings"
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

const slowJobs = `
global: {scrape_interval: 15s}
scrape_configs:
  - job_name: node
    static_configs: [{targets: ["localhost:9100"]}]
  - job_name: batch
    scrape_interval: 1h
    static_configs: [{targets: ["localhost:9091"]}]
`

// A rule that names no job does not look back five intervals of the slowest one, or the
// presets would not be loaded.
func TestIntervalOfSlowJobs(t *testing.T) {
	const forNode = "scrape_configs:\n  - {job_name: node, static_configs: [{targets: [a]}]}\n"
	for _, tt := range []struct {
		name, config, selector string
		want                   time.Duration
	}{
		{"no job", slowJobs, "node_load1", 15 * time.Second},
		{"another job", slowJobs, `node_load1{job="nowhere"}`, 15 * time.Second},
		{"the slow job", slowJobs, `node_load1{job="batch"}`, time.Hour},
		{"both jobs", slowJobs, `node_load1{job=~"node|batch"}`, time.Hour},
		{"2 minutes are usual", forNode + "  - {job_name: b, scrape_interval: 2m, static_configs: [{targets: [b]}]}\n", "x", 2 * time.Minute},
		{"121 s are not", forNode + "  - {job_name: b, scrape_interval: 121s, static_configs: [{targets: [b]}]}\n", "x", 5 * time.Second},
		{"global counts", "global: {scrape_interval: 10m}\n" + forNode + "  - {job_name: b, scrape_interval: 5s, static_configs: [{targets: [b]}]}\n", "x", 10 * time.Minute},
		{"slow jobs only", "scrape_configs:\n  - {job_name: a, scrape_interval: 5m, static_configs: [{targets: [a]}]}\n" +
			"  - {job_name: b, scrape_interval: 10m, static_configs: [{targets: [b]}]}\n", "x", 5 * time.Minute},
		{"beyond max_window", "global: {scrape_interval: 1h}\n" + forNode, "x", time.Hour},
	} {
		c := mustParse(t, tt.config)
		if got := c.interval(matchers(t, tt.selector)); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestSlowJobsAreToldOf(t *testing.T) {
	const want = `p.yml:7:22: warning: the job "batch" is scraped every 1h only: rules that name no job, as those of presets, show none of its rates
    7 |     scrape_interval: 1h
      |                      ^
give it a scrape_interval of 2m or less, or write rules that select job="batch"`
	const rule = "rules: [{metric: a, label: A, node: host, expr: 'sum(batch_runs_total{job=~\"batch|x\"})'}]\n"
	for config, want := range map[string]string{
		slowJobs: want,
		// Whoever writes a rule for it knows.
		slowJobs + rule: "",
		// All others are as slow.
		strings.Replace(slowJobs, "15s", "1h", 1): "",
	} {
		_, list := Parse("p.yml", []byte(config))
		if got := list.Warnings().Error(); got != want {
			t.Errorf("%s\ngot %s", config, got)
		}
	}
	// A rule of the user's has to fit.
	_, list := Parse("p.yml", []byte(slowJobs+strings.NewReplacer("sum(", "rate(", "})", "}[$__rate_interval])").Replace(rule)))
	if errors := list.Errors(); len(errors) != 1 || !strings.Contains(errors[0].Message, "looks back 5h, but") {
		t.Errorf("got %v", errors)
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

// A query has the windows that a rule with its expression has.
func TestFillVariables(t *testing.T) {
	c := mustParse(t, slowJobs)
	for query, want := range map[string]string{
		`rate(node_x_total[$__rate_interval])`:                                                 `rate(node_x_total[75s])`,
		`rate(node_x_total[$__mean_interval])`:                                                 `rate(node_x_total[75s])`,
		`rate(x_total{job="batch"}[$__rate_interval])`:                                         `rate(x_total{job="batch"}[5h])`,
		`irate(promscope_http_requests_total{job="promscope"}[$__rate_interval])`:              `irate(promscope_http_requests_total{job="promscope"}[5s])`,
		`rate(a_total[$__rate_interval]) + on () rate(b_total{job="batch"}[$__rate_interval])`: `rate(a_total[5h]) + on () rate(b_total{job="batch"}[5h])`,
		`vector(1)[$__rate_interval:1s]`:                                                       `vector(1)[75s:1s]`,
		`rate(x_total[$__rate_interval]) +`:                                                    `rate(x_total[75s]) +`, // what is wrong is told later
	} {
		got, err := c.FillVariables(query)
		if err != nil {
			t.Fatal(err)
		}
		durations := strings.NewReplacer("1m15s", "75s", " ", "")
		if durations.Replace(got) != durations.Replace(want) {
			t.Errorf("%s becomes %s, want %s", query, got, want)
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
