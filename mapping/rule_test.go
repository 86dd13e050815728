package mapping

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/promscope/promscope/mapping/document"
)

var update = flag.Bool("update", false, "write the expected messages in testdata")

// everyFive is a configuration in which each target is scraped every five seconds.
var everyFive = every(5 * time.Second)

// every is a configuration in which each target has the same scrape interval.
func every(interval time.Duration) Options {
	return Options{Interval: func([]*labels.Matcher) time.Duration { return interval }, MaxWindow: time.Hour}
}

// TestMessages compares what is said about the rule files in testdata with the
// text beside each: errors of rules and of sets in bad, remarks in warn.
func TestMessages(t *testing.T) {
	for _, dir := range []string{"bad", "warn"} {
		files, err := filepath.Glob(filepath.Join("testdata", dir, "*.yml"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no files: %v", err)
		}
		for _, file := range files {
			t.Run(dir+"/"+strings.TrimSuffix(filepath.Base(file), ".yml"), func(t *testing.T) {
				rules, list := LoadFile(file, everyFive)
				if len(list.Errors()) == 0 {
					var more document.List
					_, more = NewSet(rules)
					list = append(list, more...)
				}
				if dir == "bad" && len(list.Errors()) == 0 {
					t.Error("no error")
				}
				if dir == "warn" && (len(list.Errors()) > 0 || len(list) == 0) {
					t.Error("not only warnings")
				}
				got := list.Error() + "\n"
				golden := strings.TrimSuffix(file, ".yml") + ".txt"
				if *update {
					if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(golden)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), got); diff != "" {
					t.Errorf("messages differ (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func parseText(t testing.TB, text string, opts Options) ([]*Rule, document.List) {
	t.Helper()
	doc, err := document.Parse("rules.yml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return Parse(doc, doc.Root, opts)
}

// mustRules parses rules that have to be right.
func mustRules(t testing.TB, text string) []*Rule {
	t.Helper()
	rules, list := parseText(t, text, everyFive)
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	return rules
}

// mustSet makes a set of rules that have to be right.
func mustSet(t testing.TB, text string) *Set {
	t.Helper()
	set, list := NewSet(mustRules(t, text))
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	return set
}

func TestParse(t *testing.T) {
	rules := mustRules(t, `
- metric: cpu_iowait
  label: CPU iowait
  format: percent
  expr: 100 * avg(rate(node_cpu_seconds_total{mode="iowait"}[$__rate_interval]))
  node: host
- metric: disk_${device}_${op}
  label: Disk ${device} ${op} (ms)
  format: number
  max: 20
  priority: 7
  expr: x
  node: {container: id, regex: '/docker/([0-9a-f]{64})'}
- &p
  metric: p
  label: P
  format: integer
  expr: y
  node: {process: target_pid}
- <<: *p
  node: {pod: uid}
`)
	type view struct {
		Metric, Label string
		Format        Format
		Max, Priority float64
		Topology      Topology
		NodeLabel     string
		Regex         string
		Query         string
		Interval      time.Duration
		Lookback      time.Duration
		Line          int
		LabelNames    []string
	}
	var got []view
	for _, r := range rules {
		v := view{
			Metric: r.Metric, Label: r.Label, Format: r.Format, Max: r.Max, Priority: r.Priority,
			Topology: r.Topology, NodeLabel: r.NodeLabel, Query: r.Query, Interval: r.Interval, Lookback: r.Lookback(),
			Line: r.Position.Line, LabelNames: r.LabelNames(), Regex: r.NodeRegex(),
		}
		got = append(got, v)
	}
	const five, fifteen = 5 * time.Second, 15 * time.Second
	want := []view{
		{
			Metric: "cpu_iowait", Label: "CPU iowait", Format: FormatPercent, Max: 100, Topology: Host,
			Query:    `100 * avg(rate(node_cpu_seconds_total{mode="iowait"}[25s             ]))`,
			Interval: five, Lookback: fifteen, Line: 2,
		},
		{
			Metric: "disk_${device}_${op}", Label: "Disk ${device} ${op} (ms)", Max: 20, Priority: 7, Topology: Container,
			NodeLabel: "id", Regex: "/docker/([0-9a-f]{64})", Query: "x",
			Interval: five, Lookback: fifteen, Line: 7, LabelNames: []string{"device", "op"},
		},
		{
			Metric: "p", Label: "P", Format: FormatInteger, Topology: Process, NodeLabel: "target_pid",
			Query: "y", Interval: five, Lookback: fifteen, Line: 14,
		},
		{
			Metric: "p", Label: "P", Format: FormatInteger, Topology: Pod, NodeLabel: "uid",
			Query: "y", Interval: five, Lookback: fifteen, Line: 20,
		},
	}
	if diff := cmp.Diff(want, got, cmp.Transformer("empty", func(s []string) []string { return append([]string{}, s...) })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseEmpty(t *testing.T) {
	for _, text := range []string{"", "rules:", "rules: []", "[]"} {
		rules, list := parseText(t, text, everyFive)
		if len(rules) != 0 || len(list) != 0 {
			t.Errorf("%q: %d rules, %v", text, len(rules), list)
		}
	}
}

func TestLoadFileMissing(t *testing.T) {
	_, list := LoadFile("testdata/nosuch.yml", everyFive)
	want := "testdata/nosuch.yml: error: reading rules: open testdata/nosuch.yml: no such file or directory"
	if got := list.Error(); got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

// TestRateInterval: the window follows the slowest scrape that feeds the rule.
func TestRateInterval(t *testing.T) {
	opts := Options{MaxWindow: time.Hour, Interval: func(matchers []*labels.Matcher) time.Duration {
		for _, m := range matchers {
			if m.Name == "job" {
				d, err := time.ParseDuration(m.Value)
				if err != nil {
					t.Fatal(err)
				}
				return d
			}
		}
		return 5 * time.Second
	}}
	for _, tc := range []struct {
		expr, query string
		interval    time.Duration
	}{
		{`rate(x_total{job="1s"}[$__rate_interval])`, `rate(x_total{job="1s"}[5s              ])`, time.Second},
		{`rate(x_total{job="1s"}[${__rate_interval}])`, `rate(x_total{job="1s"}[5s                ])`, time.Second},
		{`rate(x_total{job="1s"}[$__rate_interval]) / rate(y_total{job="15s"}[$__rate_interval])`,
			`rate(x_total{job="1s"}[1m15s           ]) / rate(y_total{job="15s"}[1m15s           ])`, 15 * time.Second},
		{`rate(x_total{job="500ms"}[$__rate_interval] offset $__rate_interval)`,
			`rate(x_total{job="500ms"}[2s500ms         ] offset 2s500ms         )`, 500 * time.Millisecond},
		{`rate(x_total[$__rate_interval])`, `rate(x_total[25s             ])`, 5 * time.Second},
		{`max_over_time(x{job="1s",a="$__rate_interval"}[2 * $__rate_interval]) # $x`,
			`max_over_time(x{job="1s",a="$__rate_interval"}[2 * 5s              ]) # $x`, time.Second},
		{`max_over_time(x{job="2s"}[$__rate_interval:$__rate_interval])`,
			`max_over_time(x{job="2s"}[10s             :10s             ])`, 2 * time.Second},
		{`label_replace(x{job='2s'}, "a", "$1", "b", '(.*)$')`, `label_replace(x{job='2s'}, "a", "$1", "b", '(.*)$')`, 2 * time.Second},
		{`x{job="2s",a="\"$x",b=` + "`\\`" + `} # '`, `x{job="2s",a="\"$x",b=` + "`\\`" + `} # '`, 2 * time.Second},
		{`1`, `1`, 5 * time.Second},
	} {
		e, problems := parseExpression(tc.expr, opts)
		if len(problems) > 0 {
			t.Errorf("%s: %v", tc.expr, problems)
			continue
		}
		if e.text != tc.query || e.interval != tc.interval {
			t.Errorf("%s:\n got %q every %s\nwant %q every %s", tc.expr, e.text, e.interval, tc.query, tc.interval)
		}
	}
}

// TestWindows compares the windows that are asked of the store with the times
// that the engine is going to ask it for.
func TestWindows(t *testing.T) {
	for _, tc := range []struct {
		expr   string
		window time.Duration // of the first selector, without lookback
	}{
		{`x`, 0},
		{`x offset 20s`, 20 * time.Second},
		{`rate(x_total[25s])`, 25 * time.Second},
		{`rate(x_total[25s] offset 1m)`, 85 * time.Second},
		{`rate(x_total[2 * 30s])`, time.Minute},
		{`x offset (2 * 30s)`, time.Minute},
		{`max_over_time(rate(x_total[25s])[5m:10s])`, 325 * time.Second},
		{`max_over_time(rate(x_total[25s])[5m:])`, 325 * time.Second},
		{`max_over_time(rate(x_total[25s])[5m:10s] offset 1m)`, 385 * time.Second},
		{`max_over_time(max_over_time(x[5m:10s])[10m:1m] offset 1m)`, 16 * time.Minute},
		{`rate(x_total[25s] anchored)`, 25 * time.Second},
	} {
		e, problems := parseExpression(tc.expr, everyFive)
		if len(problems) > 0 {
			t.Errorf("%s: %v", tc.expr, problems)
			continue
		}
		if got := e.selectors[0].window; got != tc.window {
			t.Errorf("%s: window %s, want %s", tc.expr, got, tc.window)
		}
		at := time.Unix(1_700_000_000, 0)
		mint, maxt := promql.FindMinMaxTime(&parser.EvalStmt{Expr: e.expr, Start: at, End: at, LookbackDelta: e.lookback()})
		if maxt > at.UnixMilli() {
			t.Errorf("%s: the engine looks ahead", tc.expr)
		}
		kept := at.Add(-tc.window - e.lookback()).UnixMilli()
		if mint <= kept {
			t.Errorf("%s: the engine wants samples from %d, kept are those after %d", tc.expr, mint, kept)
		}
	}
}

func TestFed(t *testing.T) {
	opts := everyFive
	opts.Fed = func(matchers []*labels.Matcher) (bool, string) { return metricName(matchers) != "y", "there is x" }
	_, list := parseText(t, "[{metric: a, label: A, expr: x + y, node: host}]", opts)
	want := `rules.yml:1:34: warning: no job and no collector has series for y
    1 | [{metric: a, label: A, expr: x + y, node: host}]
      |                                  ^
there is x`
	if got := list.Error(); got != want {
		t.Errorf("got %s", got)
	}
}

// TestWindowOverflow: PromQL allows windows that add up to more than a duration.
func TestWindowOverflow(t *testing.T) {
	for _, expr := range []string{"rate(x_total[200y] offset 200y)", "max_over_time(max_over_time(x[200y])[100y:10y] offset 200y)"} {
		if _, problems := parseExpression(expr, everyFive); len(problems) != 1 || !strings.Contains(problems[0].message, "looks back") {
			t.Errorf("%s: %v", expr, problems)
		}
	}
}

func TestPreset(t *testing.T) {
	if _, list := Preset("iowiat", everyFive); list.Error() != "presets/iowiat.yml: error: unknown preset \"iowiat\"\ndid you mean iowait?" {
		t.Errorf("got %q", list.Error())
	}
}
