package explain

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/promscope/promscope/bridge/config"
	"github.com/promscope/promscope/bridge/pipeline"
	"github.com/promscope/promscope/bridge/pipeline/pipelinetest"
	"github.com/promscope/promscope/bridge/scrape"
	"github.com/promscope/promscope/bridge/status"
	"github.com/promscope/promscope/bridge/view"
	"github.com/promscope/promscope/mapping"
)

const explainHead = `
scrape_configs: []
presets: []
collectors: {http: {enabled: false}, iowait: {enabled: false}}
`

// testLive is a promscope that does not scrape.
func testLive(t *testing.T, yaml string) (*pipeline.Runtime, *Live) {
	t.Helper()
	r := pipelinetest.New(t, yaml)
	return r, NewLive(r, status.New(r, status.Options{}))
}

// explained is an answer as the terminal shows it, which is to say all of want and
// nothing of never.
func explained(t *testing.T, e view.Explanation, err error, want []string, never ...string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := e.WriteText(&b, time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, part := range want {
		if !strings.Contains(b.String(), part) {
			t.Errorf("explain %s lacks %q:\n%s", e.Subject, part, b.String())
		}
	}
	for _, part := range never {
		if strings.Contains(b.String(), part) {
			t.Errorf("explain %s says %q:\n%s", e.Subject, part, b.String())
		}
	}
}

// A series is told where the element went that it is part of, not what else its rule
// puts on that node; and a node what it does not get.
func TestExplainDropped(t *testing.T) {
	r, l := testLive(t, explainHead+`
limits: {max_metrics_per_rule: 2}
rules:
  - {metric: "q_${name}", label: "Queue ${name}", expr: app_queue, node: {process: pid}}
  - {metric: twice, label: Twice, expr: app_twice, node: {process: pid}}
  - {metric: ratio, label: Ratio, expr: app_a / app_b, node: {process: pid}}
  - {metric: total, label: Total, expr: sum by (pid) (app_twice), node: {process: pid}}
  - {metric: named, label: Named, expr: app_named, node: {process: proc}}
  - {metric: "t_${name}", label: "Top ${name}", top: 1, expr: app_top, node: {process: pid}}
  - {metric: "b_${name}", label: "Bottom ${name}", bottom: 1, expr: app_bottom, node: {process: pid}}
  - {metric: "m_${name}", label: "Many ${name}", top: 3, expr: app_many, node: {process: pid}}
`)
	pid := fmt.Sprint(os.Getpid())
	now := time.Now().Truncate(time.Millisecond)
	pipelinetest.Commit(t, r, now, map[string]any{
		`app_queue{name="q1",pid="` + pid + `"}`: 1.0,
		`app_queue{name="q2",pid="` + pid + `"}`: 2.0,
		`app_queue{name="q5",pid="` + pid + `"}`: 5.0,
		`app_queue{name="q6",pid="` + pid + `"}`: 6.0,
		`app_twice{k="a",pid="` + pid + `"}`:     1.0,
		`app_twice{k="b",pid="` + pid + `"}`:     2.0,
		`app_a{pid="` + pid + `"}`:               0.0,
		`app_b{pid="` + pid + `"}`:               0.0,
		`app_named{proc="worker-a"}`:             1.0,
		`app_top{name="a",pid="` + pid + `"}`:    1.0,
		`app_top{name="b",pid="` + pid + `"}`:    2.0,
		`app_bottom{name="a",pid="` + pid + `"}`: 1.0,
		`app_bottom{name="b",pid="` + pid + `"}`: 2.0,
		`app_many{name="a",pid="` + pid + `"}`:   1.0,
		`app_many{name="b",pid="` + pid + `"}`:   2.0,
		`app_many{name="c",pid="` + pid + `"}`:   3.0,
	})
	node := "→ vm;" + pid
	const limit = "metric_limit: more than limits.max_metrics_per_rule = 2 values of ${name}"
	both := `ambiguous: nothing says which of these elements counts, so none is shown; write sum, max or topk around the expression, ` +
		`or select one target: app_twice{k="a", pid="` + pid + `"}, app_twice{k="b", pid="` + pid + `"}`
	for subject, test := range map[string]struct{ want, never []string }{
		`app_queue{name="q6"}`: {[]string{"shown on 1 node", node + " q_q6\n"}, []string{"dropped"}},
		`app_queue{name="q2"}`: {[]string{"but what comes of it is dropped: metric_limit.", "dropped: " + limit}, []string{"shown on", "→"}},
		`app_twice{k="b"}`: {[]string{
			"Selected by 2 rules, shown on 1 node.", "process/twice  app_twice\n    dropped: " + both, "process/total  app_twice\n    " + node,
		}, nil},
		"app_a":                {[]string{"is dropped: value.", "dropped: value: NaN is no number that Scope could show"}, nil},
		`app_top{name="a"}`:    {[]string{"dropped: metric_limit: more than the rule's top = 1 values of ${name}"}, nil},
		`app_bottom{name="b"}`: {[]string{"dropped: metric_limit: more than the rule's bottom = 1 values of ${name}"}, nil},
		`app_many{name="a"}`:   {[]string{"dropped: " + limit}, nil}, // top is more than the limit
		"app_named":            {[]string{`dropped: bad_id: proc="worker-a" is no pid`}, nil},
		"process/named":        {[]string{`dropped: bad_id: proc="worker-a" is no pid`}, nil},
		pid: {[]string{
			"Scope is told 7 metrics of this node.", "process/q_${name}  " + limit + " (2 elements)",
			"process/ratio  value: NaN", "process/twice  " + both + " (2 elements)",
		}, []string{"process/named", "process/total  "}},
	} {
		e, err := l.Explain(t.Context(), subject)
		explained(t, e, err, test.want, test.never...)
	}
}

// Of a node whose id is part of another's it is not said what the other lacks.
func TestExplainDropsOfTheNodeItself(t *testing.T) {
	r, l := testLive(t, explainHead+`
rules:
  - {metric: a, label: A, expr: a, node: {process: pid}}
  - {metric: c, label: C, expr: c, node: {container: id, regex: '/docker/(.*)'}}
  - {metric: h, label: H, expr: h, node: host}
`)
	container := strings.Repeat("0123456789abcdef", 4)
	pipelinetest.Commit(t, r, time.Now(), map[string]any{`a{pid="4194304"}`: 1.0, `c{id="/podman/` + container + `"}`: 1.0, "h": math.NaN()})
	for subject, want := range map[string]string{
		"4194304":        "process/a  dead: process 4194304 does not exist, or began after the sample",
		"419430":         "no rule has a value for it.",
		container:        `container/c  no_match: regex does not match id="/podman/` + container + `"`,
		"vm;<host>":      "Scope is told nothing about host vm: rule host/h has a value for it, and drops it (value).",
		"host":           "host/h  value: NaN is no number",
		"vm":             "node vm;<host>",
		"another;<host>": "nothing goes by that name",
	} {
		e, err := l.Explain(t.Context(), subject)
		explained(t, e, err, []string{want})
	}
}

// What a full store refuses is exposed all the same, and nothing says otherwise.
func TestExplainFullStore(t *testing.T) {
	r, l := testLive(t, explainHead+`
limits: {max_series: 1}
rules:
  - {metric: a, label: A, expr: a, node: host}
  - {metric: b, label: B, expr: b, node: host}
`)
	pipelinetest.Commit(t, r, time.Now(), map[string]any{"a": 1.0})
	pipelinetest.Commit(t, r, time.Now(), map[string]any{"b": 1.0})
	if st := l.source.Status(t.Context()); st.Series != 1 || st.Refused != 1 {
		t.Errorf("status: %+v", st)
	}
	f := l.facts(t.Context(), l.runtime.Pipeline())
	f.Exposed = serves(t, "a", "b")
	e, err := f.Explain(t.Context(), "b")
	explained(t, e, err, []string{
		"Selected by 1 rule and exposed, but not stored: limit: the store keeps as many series as limits.max_series = 1 allows.",
		"Of what b selects, 1 series is exposed, but not stored: limit",
	}, "shown on", "has arrived")
	e, err = f.Explain(t.Context(), "host/a")
	explained(t, e, err, nil, "not stored")
}

// serves are targets with these series, to be asked.
func serves(t *testing.T, exposed ...string) func(context.Context, []*labels.Matcher) exposedAnswer {
	t.Helper()
	var all []labels.Labels
	for _, text := range exposed {
		l, err := parser.NewParser(parser.Options{}).ParseMetric(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
	return func(_ context.Context, matchers []*labels.Matcher) exposedAnswer {
		return exposedAnswer{series: matching(all, matchers)}
	}
}

// A rule without series is told why, as a name that nobody has is.
func TestExplainIdleRule(t *testing.T) {
	_, l := testLive(t, explainHead+`
rules:
  - {metric: typo, label: Typo, expr: app_qeue, node: host}
  - {metric: refused, label: Refused, expr: 'app_mode{mode="iowat", zone="a"}', node: host}
  - {metric: down, label: Down, expr: 'gone{job="payments"}', node: host}
  - {metric: soon, label: Soon, expr: soon, node: host}
`)
	f := l.facts(t.Context(), l.runtime.Pipeline())
	f.Exposed = serves(t, "app_queue", "app_speed_seconds_total", "app_spend_seconds", `app_mode{mode="idle"}`, `app_mode{mode="iowait",zone="a"}`, "soon")
	for _, job := range []string{"payments", "shop"} {
		f.Targets = append(f.Targets, scrape.TargetStatus{
			Job: job, Labels: labels.FromStrings("job", job, "instance", job+":1"), Health: scrape.HealthDown, LastError: "refused",
		})
	}
	down := downTargets(f.Targets)
	serving := f.Exposed
	f.Exposed = func(ctx context.Context, matchers []*labels.Matcher) exposedAnswer {
		answer := serving(ctx, matchers)
		answer.problems = slices.Clone(down)
		return answer
	}
	for subject, test := range map[string]struct{ want, never []string }{
		"host/typo": {[]string{"Never evaluated", "No target that is up serves app_qeue. Similar names: app_queue.", "Target payments payments:1 is down", "Target shop shop:1 is down"}, []string{"arrived"}},
		"host/refused": {[]string{
			`Of 2 series of app_mode, 2 are refused by mode="iowat": there it is "idle", "iowait".`,
			`Of 2 series of app_mode, 1 is refused by zone="a": there it is no such label.`,
		}, []string{"No target"}},
		"host/down":          {[]string{"Target payments payments:1 is down, so what it serves is not known: refused."}, []string{"Target shop"}},
		"host/soon":          {[]string{"Of what soon selects, 1 series is exposed, but not stored: no scrape has brought a sample of it that is recent enough."}, nil},
		"app_qeue":           {[]string{"Similar names: app_queue."}, nil},
		"app_queu":           {[]string{"Similar names: app_queue."}, nil},
		"app_speed_seconds":  {[]string{"Similar names: app_speed_seconds_total."}, nil},
		"pap_queue":          {[]string{"Similar names: app_queue."}, nil},
		`app_mode{mode="x"}`: {[]string{`Of 2 series of app_mode, 2 are refused by mode="x": there it is "idle", "iowait".`}, nil},
	} {
		e, err := f.Explain(t.Context(), subject)
		explained(t, e, err, test.want, test.never...)
	}
}

// What targets serve that were not asked is not known, and nothing says otherwise.
func TestExplainTargetsNotAsked(t *testing.T) {
	_, l := testLive(t, explainHead+"rules: [{metric: typo, label: Typo, expr: app_qeue, node: host}]\n")
	f := l.facts(t.Context(), l.runtime.Pipeline())
	var x exposed
	if problem := x.turn(t.Context(), time.Minute); problem != "" {
		t.Fatal(problem)
	}
	f.Exposed = func(ctx context.Context, _ []*labels.Matcher) exposedAnswer {
		return exposedAnswer{problems: []string{x.turn(ctx, time.Minute)}, partial: true}
	}
	for subject, want := range map[string][]string{
		"host/typo": {"Whether a target serves app_qeue is not known.", "ask again in 1m0s"},
		"app_qeue":  {"no series of the store or of a target that answered", "Rule host/typo asks for it, by app_qeue.", "ask again in 1m0s"},
	} {
		e, err := f.Explain(t.Context(), subject)
		explained(t, e, err, want, "No target", "no target")
	}
	f.Exposed = serves(t)
	e, err := f.Explain(t.Context(), "app_qeue")
	explained(t, e, err, []string{"no series of a target or of the store", "Rule host/typo asks for it, by app_qeue: no target that is up serves it."}, "not known")
}

// A name that many processes have, and a series that feeds many nodes, are explained
// in part, and the rest is counted.
func TestExplainMany(t *testing.T) {
	r, l := testLive(t, explainHead+`
rules:
  - {metric: queue, label: Queue, expr: app_queue * on () group_left app_weight, node: {process: pid}}
`)
	samples := map[string]any{"app_weight": 2.0, `app_queue{pid="` + fmt.Sprint(os.Getpid()) + `"}`: 1.0}
	for i := range 25 {
		samples[fmt.Sprintf(`app_queue{pid="%d"}`, 1<<22+i)] = 1.0 // beyond the last pid
	}
	pipelinetest.Commit(t, r, time.Now(), samples)
	e, err := l.Explain(t.Context(), "app_weight")
	explained(t, e, err, []string{"shown on at least 1 node.", "→ vm;" + fmt.Sprint(os.Getpid()), "and 6 more"}, "what comes of it is dropped")

	f := l.facts(t.Context(), l.runtime.Pipeline())
	for pid := range 300 {
		f.Nodes = append(f.Nodes, view.Node{Key: fmt.Sprintf("vm;%d", pid), Topology: "Process", ID: fmt.Sprint(pid), Name: "postgres"})
	}
	e, err = f.Explain(t.Context(), "postgres")
	explained(t, e, err, []string{"280 more nodes go by that name"})
	if len(e.Nodes) != explainedNodes {
		t.Errorf("%d nodes are explained, want %d", len(e.Nodes), explainedNodes)
	}
}

// Of many elements some of both kinds are shown.
func TestSomeOf(t *testing.T) {
	for _, test := range []struct{ shown, dropped, wantShown, wantDropped, more int }{
		{0, 0, 0, 0, 0}, {4, 6, 4, 6, 0}, {20, 20, 5, 5, 30}, {20, 3, 7, 3, 13}, {2, 20, 2, 8, 12}, {20, 0, 10, 0, 10}, {0, 20, 0, 10, 10},
	} {
		var elements []*mapping.Element
		for range test.dropped {
			elements = append(elements, &mapping.Element{Dropped: mapping.DropDead})
		}
		for range test.shown {
			elements = append(elements, &mapping.Element{})
		}
		some, more := someOf(elements, 10)
		dropped := 0
		for _, e := range some {
			if e.Dropped != "" {
				dropped++
			}
		}
		if len(some)-dropped != test.wantShown || dropped != test.wantDropped || more != test.more {
			t.Errorf("of %d on nodes and %d dropped: %d and %d, and %d more", test.shown, test.dropped, len(some)-dropped, dropped, more)
		}
	}
}

// A question during a reload is answered from one set of rules.
func TestExplainDuringReload(t *testing.T) {
	r, l := testLive(t, explainHead+"rules: [{metric: a, label: A, expr: a, node: host}, {metric: b, label: B, expr: b, node: host}]\n")
	before := r.Pipeline()
	file := filepath.Join(t.TempDir(), "promscope.yml")
	if err := os.WriteFile(file, []byte(explainHead+"rules: [{metric: c, label: C, expr: c, node: host}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, list := config.Flags{File: file, PluginsRoot: t.TempDir(), Host: "vm"}.Load()
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	next, err := r.NewPipeline(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.Use(next)
	t.Cleanup(func() {
		if err := before.Close(); err != nil {
			t.Error(err)
		}
	})
	f := l.facts(t.Context(), before)
	f.Exposed = serves(t)
	e, err := f.Explain(t.Context(), "host/b")
	explained(t, e, err, []string{"rule host/b (B)", "No target that is up serves b."})
}

// A line of a node's Info section has its origin too.
func TestExplainRow(t *testing.T) {
	r, l := testLive(t, explainHead+`rules: [{row: version, label: Version, expr: app_info, value: "${version}", node: {process: pid}}]`)
	pid := fmt.Sprint(os.Getpid())
	pipelinetest.Commit(t, r, time.Now(), map[string]any{`app_info{pid="` + pid + `",version="7.2.4"}`: 1.0})
	e, err := l.Explain(t.Context(), pid)
	explained(t, e, err, []string{"Scope is told 1 line of this node's Info section.", "Version = 7.2.4  (version)", "rule         process/version", "expression   app_info"}, "nothing")
}

// Files whose series have no room are refused, as their target would be.
func TestExplainOfflineFullStore(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	file := write("promscope.yml", explainHead+"limits: {max_series: 1}\nrules:\n  - {metric: a, label: A, expr: a, node: host}\n")
	exposition := write("a.txt", "a{k=\"1\"} 1\na{k=\"2\"} 2\n")
	_, err := ReplayFiles(t.Context(), config.Flags{File: file, Host: "vm"}, Offline{Expositions: []string{exposition}}, `a{k="2"}`)
	if err == nil || !strings.Contains(err.Error(), "after 2 series: limits.max_series of 1 exceeded: rules select more of this target alone") {
		t.Errorf("error %v", err)
	}
}

// Values that JSON has no numbers for must not break an explanation.
func TestExplainOddValues(t *testing.T) {
	r, l := testLive(t, explainHead+"rules: [{metric: a, label: A, expr: a, node: host}]\n")
	now := time.Now().Truncate(time.Second)
	for name, tc := range map[string]struct {
		value any
		want  float64
	}{
		"infinity":  {math.Inf(1), math.MaxFloat64},
		"histogram": {&histogram.FloatHistogram{Count: 3, Sum: 6, ZeroCount: 3}, 3},
	} {
		now = now.Add(time.Millisecond)
		pipelinetest.Commit(t, r, now, map[string]any{"a": tc.value})
		x, err := l.Explain(t.Context(), "a")
		if err != nil || len(x.Series) != 1 || x.Series[0].Last == nil || x.Series[0].Last.Value != tc.want {
			t.Errorf("%s: %v, %+v", name, err, x)
		}
	}
	now = now.Add(time.Millisecond)
	pipelinetest.Commit(t, r, now, map[string]any{"a": math.NaN()})
	if x, err := l.Explain(t.Context(), "a"); err != nil || len(x.Series) != 1 || x.Series[0].Last != nil {
		t.Errorf("NaN: %v, %+v", err, x)
	}
}
