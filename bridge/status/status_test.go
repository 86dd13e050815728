package status

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/pipeline/pipelinetest"
	"github.com/promscope/promscope/bridge/plugin"
	"github.com/promscope/promscope/bridge/view"
	"github.com/promscope/promscope/bridge/web"
	"github.com/promscope/promscope/mapping"
)

const queryRules = `
scrape_configs: []
presets: []
collectors: {http: {enabled: false}, iowait: {enabled: false}}
limits: {max_evaluation_samples: 100}
rules:
  - {metric: a, label: A, expr: "a", node: host}
  - {metric: h, label: H, expr: "histogram_count(h)", node: host}
`

// TestQueryWithASlowJob: the window of a query is that of a rule, which does not follow a
// slow job that it does not name. A window of 5 h would have too many samples.
func TestQueryWithASlowJob(t *testing.T) {
	s := New(pipelinetest.New(t, strings.Replace(queryRules, "scrape_configs: []", `scrape_configs:
  - {job_name: fast, static_configs: []}
  - {job_name: slow, scrape_interval: 1h, static_configs: []}
`, 1)), Options{})
	r, err := s.Query(t.Context(), view.Query{Expr: "count_over_time(vector(1)[$__rate_interval:1s])", End: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Series[0].Points[0].Value; got != 25 {
		t.Errorf("the window has %v steps of 1 s, want 25", got)
	}
}

func TestQuery(t *testing.T) {
	r := pipelinetest.New(t, queryRules)
	s := New(r, Options{})
	now := time.Now().Truncate(time.Second)
	for i := range 5 {
		pipelinetest.Commit(t, r, now.Add(time.Duration(i-4)*time.Second), map[string]any{
			`a{k="v"}`: float64(i),
			"h":        &histogram.FloatHistogram{Count: 3, Sum: 6, ZeroCount: 1, PositiveSpans: []histogram.Span{{Offset: 1, Length: 1}}, PositiveBuckets: []float64{2}},
		})
	}
	query := func(expr string, step time.Duration) view.Result {
		t.Helper()
		r, err := s.Query(t.Context(), view.Query{Expr: expr, Start: now.Add(-2 * time.Second), End: now, Step: step})
		if err != nil {
			t.Fatalf("%s: %v", expr, err)
		}
		return r
	}
	if r := query("a", 0); r.Type != view.TypeVector || len(r.Series) != 1 || r.Series[0].Labels["k"] != "v" || r.Series[0].Points[0].Value != 4 || !r.Series[0].Points[0].Time.Equal(now) {
		t.Errorf("vector: %+v", r)
	}
	if r := query("a", time.Second); r.Type != view.TypeMatrix || len(r.Series) != 1 || len(r.Series[0].Points) != 3 {
		t.Errorf("range query: %+v", r)
	}
	if r := query("a[3s]", 0); r.Type != view.TypeMatrix || len(r.Series[0].Points) != 3 {
		t.Errorf("matrix: %+v", r)
	}
	if r := query("0/0", 0); r.Type != view.TypeScalar || !math.IsNaN(r.Series[0].Points[0].Value) {
		t.Errorf("scalar: %+v", r)
	}
	if r := query(`"text"`, 0); r.Type != view.TypeString || r.String != "text" {
		t.Errorf("string: %+v", r)
	}
	if r := query("rate(a[$__rate_interval])", 0); len(r.Series) != 1 || len(r.Infos) == 0 {
		t.Errorf("rate over $__rate_interval, with the remark that a is no counter: %+v", r)
	}
	result := query("h", 0)
	if h := result.Series[0].Points[0].Histogram; h == nil || h.Count != 3 || h.Sum != 6 || len(h.Buckets) != 2 || h.Buckets[0].Boundaries != 3 || h.Buckets[1].Count != 2 {
		t.Errorf("histogram: %+v", h)
	}

	for expr, want := range map[string]view.QueryErrorKind{
		"a +":                               view.ErrorBadData,
		"a + on () group_left h{":           view.ErrorBadData,
		"count_over_time(vector(1)[1h:1s])": view.ErrorExecution, // too many samples
		strings.Repeat("-", 9<<10) + "a":    view.ErrorBadData,   // parsing takes long
	} {
		_, err := s.Query(t.Context(), view.Query{Expr: expr, End: now})
		var known *view.QueryError
		if !errors.As(err, &known) || known.Kind != want {
			t.Errorf("%.40s: %v, want %s", expr, err, want)
		}
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	var known *view.QueryError
	if _, err := s.Query(canceled, view.Query{Expr: "a", End: now}); !errors.As(err, &known) || known.Kind != view.ErrorCanceled {
		t.Errorf("canceled: %v", err)
	}
}

// A request that is broken off leaves nobody else numbers of its own.
func TestRulesAfterBrokenRequest(t *testing.T) {
	r := pipelinetest.New(t, queryRules)
	s := New(r, Options{})
	pipelinetest.Commit(t, r, time.Now(), map[string]any{`a{k="v"}`: 1.0, `a{k="w"}`: 1.0})
	broken, cancel := context.WithCancel(t.Context())
	cancel()
	s.Rules(broken)
	if rules := s.Rules(t.Context()); rules[0].Selectors[0].Series != 2 {
		t.Errorf("selector %s finds %d series, want 2", rules[0].Selectors[0].Matchers, rules[0].Selectors[0].Series)
	}
}

// What does not fit into the report is not told.
func TestNodesLeftOut(t *testing.T) {
	r := pipelinetest.New(t, `
scrape_configs: []
presets: []
collectors: {http: {enabled: false}, iowait: {enabled: false}}
limits: {max_report_size: 1KiB}
rules: [{metric: a, label: A, expr: a, node: {process: pid}}]
`)
	s := New(r, Options{Pollers: func() []plugin.Poller { return nil }})
	result := mapping.Result{At: time.Now()}
	for pid := range 100 {
		result.Points = append(result.Points, mapping.Point{
			Topology: mapping.Process, ID: fmt.Sprint(1000 + pid), Template: mapping.Template{ID: "a", Label: "A"}, Value: 1,
		})
	}
	r.Report.Apply(result)
	r.Report.Publish(result.At)
	told := strings.Count(string(r.Report.JSON()), `"metrics":{`)
	leftOut := 0
	for _, n := range s.Nodes(t.Context()) {
		if n.LeftOut {
			leftOut++
		}
	}
	w := s.Scope(t.Context()).Report
	if told == 0 || leftOut != 100-told || w.Nodes != told || w.Metrics != told || w.LeftOut != leftOut {
		t.Errorf("%d nodes are told, %d left out, and the report's size is %+v", told, leftOut, w)
	}
}

// crowd is a bridge as large as the pages have to bear.
func crowd(t testing.TB) *Source {
	var config strings.Builder
	config.WriteString("scrape_configs: []\npresets: []\ncollectors: {http: {enabled: false}, iowait: {enabled: false}}\nlimits: {max_report_size: 32MiB}\nrules:\n")
	for i := range 500 {
		fmt.Fprintf(&config, "  - {metric: m%d, label: M%d, expr: 'sum by (pid) (m%d{x!=\"y\"})', node: {process: pid}}\n", i, i, i)
	}
	r := pipelinetest.New(t, config.String())
	p := r.Pipeline()
	now := time.Now()
	for tick := range 15 {
		at := now.Add(time.Duration(tick-14) * time.Second)
		batch := p.Store.Batch()
		for pid := 1; pid <= 5000; pid++ {
			for metric := range 5 {
				l := labels.FromStrings("__name__", fmt.Sprintf("m%d", (pid+metric)%500), "pid", fmt.Sprint(pid))
				series, ok := p.Store.Series(l)
				if !ok {
					t.Fatal("not selected")
				}
				batch.Append(series, at.UnixMilli(), float64(tick))
			}
		}
		batch.Commit(at, time.Second)
		for i := range 500 {
			result := mapping.Result{Rule: i, At: at}
			for n := range 50 {
				pid := (i+500*(n%10)+n/10)%5000 + 1
				result.Points = append(result.Points, mapping.Point{
					Topology: mapping.Process, ID: fmt.Sprint(pid), Value: float64(tick),
					Template: mapping.Template{ID: fmt.Sprintf("m%d", i), Label: fmt.Sprintf("M%d", i), Priority: 3 + float64(i)},
				})
			}
			r.Report.Apply(result)
		}
		r.Report.Publish(at)
	}
	return New(r, Options{Pollers: func() []plugin.Poller { return nil }, Loaded: func() Loaded { return Loaded{} }})
}

// pagesSource explains nothing.
type pagesSource struct{ *Source }

func (pagesSource) Explain(context.Context, string) (view.Explanation, error) {
	return view.Explanation{}, nil
}

// Pages of a crowd are there before anybody wonders.
func TestPagesOfCrowd(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 5,000 nodes")
	}
	s := crowd(t)
	pages, err := web.NewPages(pagesSource{s}, web.PageOptions{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(s.Nodes(t.Context())); n != 5000 {
		t.Fatalf("%d nodes", n)
	}
	for _, page := range []string{"/", "/targets", "/rules", "/nodes", "/scope", "/collectors", "/configuration", "/series"} {
		// The requirement is 300 ms; the rest is for a machine that is busy, which gets
		// some more goes too.
		const bound = 600 * time.Millisecond
		best := time.Hour
		for goes := 0; goes < 3 || best > bound && goes < 20; goes++ {
			start := time.Now()
			w := httptest.NewRecorder()
			pages.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, page, http.NoBody))
			if w.Code != http.StatusOK {
				t.Fatalf("%s: status %d", page, w.Code)
			}
			best = min(best, time.Since(start))
		}
		t.Logf("%s: %s", page, best)
		if best > bound {
			t.Errorf("%s took %s", page, best)
		}
	}
}

func BenchmarkSource(b *testing.B) {
	s := crowd(b)
	ctx := b.Context()
	for name, f := range map[string]func(){
		"targets":       func() { s.Targets(ctx) },
		"rules":         func() { s.Rules(ctx) },
		"nodes":         func() { s.Nodes(ctx) },
		"scope":         func() { s.Scope(ctx) },
		"configuration": func() { s.Configuration(ctx) },
		"counts": func() {
			s.counts.at = time.Time{}
			s.counts.of(ctx, s.runtime.Pipeline())
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
		})
	}
}
