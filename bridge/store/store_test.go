package store_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/promscope/promscope/bridge/store"
)

// selectors parses one selector for each rule.
func selectors(t testing.TB, window time.Duration, exprs ...string) []store.Selector {
	t.Helper()
	var list []store.Selector
	for rule, expr := range exprs {
		ms, err := parser.NewParser(parser.Options{}).ParseMetricSelector(expr)
		if err != nil {
			t.Fatalf("selector %s: %v", expr, err)
		}
		list = append(list, store.Selector{Rule: rule, Matchers: ms, Window: window})
	}
	return list
}

func series(t testing.TB, st *store.Store, ss ...string) *store.Series {
	t.Helper()
	s, ok := st.Series(labels.FromStrings(ss...))
	if !ok {
		t.Fatalf("%v is not selected", ss)
	}
	return s
}

// dump returns all samples between the times as text.
func dump(t testing.TB, st *store.Store, mint, maxt int64, selector string) []string {
	t.Helper()
	ms := selectors(t, 0, selector)[0].Matchers
	q, err := st.Querier(mint, maxt)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	set := q.Select(t.Context(), true, nil, ms...)
	var (
		got []string
		it  chunkenc.Iterator
	)
	for set.Next() {
		it = set.At().Iterator(it)
		for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
			var v any
			switch kind {
			case chunkenc.ValFloat:
				_, f := it.At()
				if v = f; value.IsStaleNaN(f) {
					v = "stale"
				}
			case chunkenc.ValFloatHistogram:
				_, v = it.AtFloatHistogram(nil)
			default:
				t.Fatalf("value of type %v", kind)
			}
			got = append(got, fmt.Sprintf("%s %v @%d", set.At().Labels(), v, it.AtT()))
		}
	}
	if err := set.Err(); err != nil {
		t.Fatal(err)
	}
	return got
}

func at(ms int64) time.Time { return time.UnixMilli(ms) }

func TestCommitIsAtomicAndAnnounced(t *testing.T) {
	var commits []store.Commit
	sel := store.NewSelection(selectors(t, time.Minute, `a`, `b{x="1"}`, `{__name__=~"a|b"}`, `{__name__=~".*c",x!=""}`))
	st := store.New(sel, store.Options{OnCommit: func(c store.Commit) { commits = append(commits, c) }}, nil)

	b := st.Batch()
	b.Append(series(t, st, "__name__", "a"), 1000, 1)
	b.Append(series(t, st, "__name__", "b", "x", "2"), 1000, 2)
	if got := dump(t, st, 0, math.MaxInt64, `{__name__!=""}`); got != nil {
		t.Fatalf("before the commit: %v", got)
	}
	if res := b.Commit(at(1000), time.Second); res != (store.Appended{Samples: 2}) {
		t.Errorf("first commit: %+v", res)
	}
	b.Append(series(t, st, "__name__", "abc", "x", "2"), 2000, 3)
	b.AppendStale(series(t, st, "__name__", "b", "x", "2"), 2000)
	b.Commit(at(2000), 5*time.Second)

	want := []string{
		`{__name__="a"} 1 @1000`,
		`{__name__="abc", x="2"} 3 @2000`,
		`{__name__="b", x="2"} 2 @1000`,
		`{__name__="b", x="2"} stale @2000`,
	}
	if diff := cmp.Diff(want, dump(t, st, 0, math.MaxInt64, `{__name__!=""}`)); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
	wantCommits := []store.Commit{
		{Time: at(1000), Interval: time.Second, Rules: []int{0, 2}},
		{Time: at(2000), Interval: 5 * time.Second, Rules: []int{2, 3}},
	}
	if diff := cmp.Diff(wantCommits, commits); diff != "" {
		t.Errorf("commits (-want +got):\n%s", diff)
	}
}

func TestSelection(t *testing.T) {
	sel := store.NewSelection(append(
		selectors(t, time.Minute, `up{job="node"}`, `{__name__=~"node_.+",mode=~"idle|iowait"}`, `x`),
		store.Selector{Rule: 0, Window: time.Hour, Matchers: []*labels.Matcher{
			labels.MustNewMatcher(labels.MatchRegexp, model.MetricNameLabel, "x|y"),
			labels.MustNewMatcher(labels.MatchNotEqual, model.MetricNameLabel, "y"),
		}},
	))
	for name, want := range map[string]bool{
		"up": true, "node_cpu": true, "node_": false, "x": true, "y": false, "xx": false, "": false,
	} {
		if got := sel.Name([]byte(name)); got != want {
			t.Errorf("Name(%q) = %v", name, got)
		}
	}
	for _, c := range []struct {
		labels labels.Labels
		want   store.Match
	}{
		{labels.FromStrings("__name__", "up", "job", "node"), store.Match{Rules: []int{0}, Window: time.Minute}},
		{labels.FromStrings("__name__", "up", "job", "other"), store.Match{}},
		{labels.FromStrings("__name__", "node_cpu", "mode", "idle"), store.Match{Rules: []int{1}, Window: time.Minute}},
		{labels.FromStrings("__name__", "node_cpu"), store.Match{}},
		{labels.FromStrings("__name__", "x"), store.Match{Rules: []int{0, 2}, Window: time.Hour}},
	} {
		got, ok := sel.Match(c.labels)
		if diff := cmp.Diff(c.want, got); diff != "" || ok != (len(c.want.Rules) > 0) {
			t.Errorf("Match(%s) = %v (-want +got):\n%s", c.labels, ok, diff)
		}
	}
	name := []byte("node_disk_io_time_seconds_total")
	if n := testing.AllocsPerRun(100, func() { sel.Name(name) }); n != 0 {
		t.Errorf("Name allocates %v times", n)
	}
}

func TestRetention(t *testing.T) {
	st := store.New(store.NewSelection(selectors(t, 10*time.Second, `a`)), store.Options{}, nil)
	s := series(t, st, "__name__", "a")
	b := st.Batch()
	for i := range int64(100) {
		b.Append(s, i*1000, float64(i))
		b.Commit(at(i*1000), time.Second)
	}
	got := dump(t, st, 0, math.MaxInt64, `a`)
	// The window of 10 s back of 99 s, and the sample that begins it.
	if len(got) != 11 || got[0] != `{__name__="a"} 89 @89000` || got[10] != `{__name__="a"} 99 @99000` {
		t.Errorf("kept %d samples: %v", len(got), got)
	}
	if diff := cmp.Diff(got[3:6], dump(t, st, 92000, 94999, `a`)); diff != "" {
		t.Errorf("a part of it (-want +got):\n%s", diff)
	}
}

func TestGrowingRing(t *testing.T) {
	// Intervals that change while the ring wraps around.
	st := store.New(store.NewSelection(selectors(t, 30*time.Second, `a`)), store.Options{}, nil)
	s := series(t, st, "__name__", "a")
	b := st.Batch()
	var want []string
	var times []int64
	now := int64(0)
	for i := range 500 {
		now += []int64{1000, 5000, 100, 700}[i/50%4]
		b.Append(s, now, float64(i))
		b.Commit(at(now), time.Second)
		times = append(times, now)
		want = append(want, fmt.Sprintf(`{__name__="a"} %d @%d`, i, now))
		begin := slices.IndexFunc(times, func(t int64) bool { return t > now-30000 })
		if diff := cmp.Diff(want[max(0, begin-1):], dump(t, st, 0, math.MaxInt64, `a`)); diff != "" {
			t.Fatalf("after %d samples (-want +got):\n%s", i+1, diff)
		}
	}
}

// TestLongGap has times of which the halves that are kept are alike.
func TestLongGap(t *testing.T) {
	const round = 1 << 32
	st := store.New(store.NewSelection(selectors(t, 3*round*time.Millisecond, `a`)), store.Options{}, nil)
	s := series(t, st, "__name__", "a")
	b := st.Batch()
	for _, now := range []int64{-7, 0, round - 8, round + 5, 3 * round, 3*round + 1} {
		b.Append(s, now, float64(now))
	}
	if res := b.Commit(at(0), time.Second); res.Samples != 6 {
		t.Errorf("commit: %+v", res)
	}
	want := []string{`{__name__="a"} 1.2884901888e+10 @12884901888`, `{__name__="a"} 1.2884901889e+10 @12884901889`}
	if diff := cmp.Diff(want, dump(t, st, math.MinInt64, math.MaxInt64, `a`)); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
}

func TestRefusedSamples(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	st := store.New(store.NewSelection(selectors(t, time.Minute, `a`)), store.Options{MaxSeries: 2}, reg)
	b := st.Batch()
	for i := range 3 {
		b.Append(series(t, st, "__name__", "a", "i", fmt.Sprint(i)), 1000, 1)
	}
	b.Append(series(t, st, "__name__", "a", "i", "0"), 1000, 1) // the same again
	b.Append(series(t, st, "__name__", "a", "i", "0"), 1000, 2)
	b.Append(series(t, st, "__name__", "a", "i", "1"), 999, 2)
	b.AppendHistogram(series(t, st, "__name__", "a", "i", "1"), 1000, &histogram.FloatHistogram{})
	b.Append(series(t, st, "__name__", "a", "i", "1"), 999-time.Minute.Milliseconds(), 2)
	want := store.Appended{Samples: 2, OutOfOrder: 1, Duplicates: 2, TooOld: 1, Limited: 1}
	if diff := cmp.Diff(want, b.Commit(at(1000), time.Second)); diff != "" {
		t.Errorf("commit (-want +got):\n%s", diff)
	}
	if got := st.Len(); got != 2 {
		t.Errorf("%d series", got)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
	if n := testutil.ToFloat64(collector(t, reg, "promscope_store_series")); n != 2 {
		t.Errorf("promscope_store_series is %v", n)
	}
}

// Two batches that have room each, and not both: the one that asked first has it, whichever is
// committed first.
func TestHold(t *testing.T) {
	st := store.New(store.NewSelection(selectors(t, time.Minute, `a`)), store.Options{MaxSeries: 5}, nil)
	batchOf := func(name string) *store.Batch {
		b := st.Batch()
		for i := range 3 {
			b.Append(series(t, st, "__name__", "a", name, fmt.Sprint(i)), 1000, 1)
		}
		return b
	}
	first, second, unasked := batchOf("first"), batchOf("second"), batchOf("unasked")
	if err := errors.Join(first.Hold(), first.Hold()); err != nil {
		t.Fatal(err)
	}
	const want = "limits.max_series of 5 exceeded: there is room for 2 more, and rules select 3 new ones of this target"
	if err := second.Hold(); err == nil || err.Error() != want {
		t.Errorf("error %v", err)
	}
	if got := unasked.Commit(at(1000), time.Second); got.Samples != 2 || got.Limited != 1 {
		t.Errorf("one that did not ask: %+v", got)
	}
	if got := first.Commit(at(1000), time.Second); got.Samples != 3 {
		t.Errorf("the first: %+v", got)
	}

	// What is given up gives its room back.
	st = store.New(store.NewSelection(selectors(t, time.Minute, `a`)), store.Options{MaxSeries: 5}, nil)
	first, second = batchOf("first"), batchOf("second")
	if err := first.Hold(); err != nil {
		t.Fatal(err)
	}
	first.Reset()
	if err := second.Hold(); err != nil {
		t.Error(err)
	}
	if got := second.Commit(at(1000), time.Second); got.Samples != 3 {
		t.Errorf("the second: %+v", got)
	}
}

// collector wraps one gathered metric for testutil.
func collector(t testing.TB, reg *prometheus.Registry, name string) prometheus.Collector {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, mf := range families {
		if mf.GetName() == name {
			g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name})
			g.Set(mf.GetMetric()[0].GetGauge().GetValue())
			return g
		}
	}
	t.Fatalf("no metric %s", name)
	return nil
}

func TestForgetting(t *testing.T) {
	st := store.New(store.NewSelection(selectors(t, 5*time.Second, `a`)), store.Options{MaxSeries: 2}, nil)
	gone, lives := series(t, st, "__name__", "a", "i", "gone"), series(t, st, "__name__", "a", "i", "lives")
	b := st.Batch()
	for now := int64(0); now <= 60_000; now += 1000 {
		if now < 10_000 {
			b.Append(gone, now, 1)
		}
		b.Append(lives, now, 1)
		b.Commit(at(now), time.Second)
	}
	if got := st.Len(); got != 1 {
		t.Errorf("%d series after one has gone", got)
	}
	// Its handle goes on to be good, and so does another for the same labels.
	b.Append(gone, 61_000, 2)
	b.Append(series(t, st, "__name__", "a", "i", "gone"), 62_000, 3)
	if res := b.Commit(at(62_000), time.Second); res.Samples != 2 {
		t.Errorf("after coming back: %+v", res)
	}
	want := []string{`{__name__="a", i="gone"} 2 @61000`, `{__name__="a", i="gone"} 3 @62000`}
	if diff := cmp.Diff(want, dump(t, st, 0, math.MaxInt64, `a{i="gone"}`)); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
}

func TestHistograms(t *testing.T) {
	st := store.New(store.NewSelection(selectors(t, time.Minute, `h`)), store.Options{}, nil)
	s := series(t, st, "__name__", "h")
	b := st.Batch()
	h := &histogram.FloatHistogram{
		Count: 4, Sum: 8, PositiveSpans: []histogram.Span{{Offset: 1, Length: 1}}, PositiveBuckets: []float64{4},
	}
	b.Append(s, 1000, 1)
	b.AppendHistogram(s, 2000, h)
	b.AppendStale(s, 3000)
	b.Commit(at(3000), time.Second)
	want := []string{`{__name__="h"} 1 @1000`, `{__name__="h"} ` + h.String() + ` @2000`, `{__name__="h"} stale @3000`}
	if diff := cmp.Diff(want, dump(t, st, 0, math.MaxInt64, `h`)); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
}

func TestQueryThroughEngine(t *testing.T) {
	st := store.New(store.NewSelection(selectors(t, time.Minute, `c`, `g`)), store.Options{}, nil)
	b := st.Batch()
	for i := range int64(20) {
		now := i * 3000
		b.Append(series(t, st, "__name__", "c", "cpu", "0"), now, float64(30*i))
		b.Append(series(t, st, "__name__", "c", "cpu", "1"), now, float64(60*(i%7))) // resets
		if i < 10 {
			b.Append(series(t, st, "__name__", "g"), now, float64(i))
		} else {
			b.AppendStale(series(t, st, "__name__", "g"), now)
		}
		b.Commit(at(now), 3*time.Second)
	}
	engine := promql.NewEngine(promql.EngineOpts{
		MaxSamples: 1000, Timeout: time.Second, LookbackDelta: 9 * time.Second,
		Parser: parser.NewParser(parser.Options{}),
	})
	for expr, want := range map[string]string{
		`rate(c{cpu="0"}[15s])`:            `{cpu="0"} => 10 @[57000]`,
		`sum(irate(c[15s]))`:               `{} => 30 @[57000]`,
		`count(c)`:                         `{} => 2 @[57000]`,
		`g`:                                ``,
		`last_over_time(g[40s])`:           `{__name__="g"} => 9 @[57000]`,
		`rate(c{cpu="0"}[15s] offset 30s)`: `{cpu="0"} => 10 @[57000]`,
	} {
		q, err := engine.NewInstantQuery(t.Context(), st, nil, expr, at(57_000))
		if err != nil {
			t.Fatalf("%s: %v", expr, err)
		}
		res := q.Exec(t.Context())
		if res.Err != nil || res.String() != want {
			t.Errorf("%s = %q, %v; want %q", expr, res, res.Err, want)
		}
		q.Close()
	}
}

// TestConcurrency is for the race detector; it also checks that no query sees
// half a scrape: the two series of a batch always have the same number of
// samples.
func TestConcurrency(t *testing.T) {
	st := store.New(store.NewSelection(selectors(t, 20*time.Millisecond, `a`)), store.Options{}, nil)
	ctx, cancel := context.WithCancel(t.Context())
	var writers, readers sync.WaitGroup
	for w := range 2 {
		writers.Go(func() {
			x := series(t, st, "__name__", "a", "w", fmt.Sprint(w), "i", "x")
			y := series(t, st, "__name__", "a", "w", fmt.Sprint(w), "i", "y")
			b := st.Batch()
			for now := range int64(3000) {
				b.Append(x, now, 1)
				b.Append(y, now, 1)
				b.Commit(at(now), time.Millisecond)
			}
		})
	}
	for range 2 {
		readers.Go(func() {
			for ctx.Err() == nil {
				q, _ := st.Querier(0, math.MaxInt64)
				set := q.Select(ctx, false, nil, labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, "a"))
				newest := map[string]int64{}
				for set.Next() {
					it := set.At().Iterator(nil)
					for it.Next() != chunkenc.ValNone {
						w := set.At().Labels().Get("w")
						newest[w+set.At().Labels().Get("i")] = it.AtT()
					}
				}
				for _, w := range []string{"0", "1"} {
					if newest[w+"x"] != newest[w+"y"] {
						t.Errorf("half a scrape: %v", newest)
					}
				}
				q.Close()
			}
		})
	}
	writers.Wait()
	cancel()
	readers.Wait()
}

// What was forgotten comes back by its handle, also with earlier times.
func TestForget(t *testing.T) {
	reg := prometheus.NewRegistry()
	st := store.New(store.NewSelection(selectors(t, time.Minute, "a", "b")), store.Options{}, reg)
	a, b := series(t, st, "__name__", "a"), series(t, st, "__name__", "b")
	batch := st.Batch()
	batch.Append(a, 3_600_000, 1)
	batch.Append(b, 3_600_000, 2)
	batch.Commit(time.UnixMilli(3_600_000), time.Second)
	st.Forget()
	if n := st.Len(); n != 0 {
		t.Errorf("%d series are left", n)
	}
	batch.Append(a, 1_000, 3)
	if got := batch.Commit(time.UnixMilli(1_000), time.Second); got != (store.Appended{Samples: 1}) {
		t.Errorf("appended: %+v", got)
	}
	if diff := cmp.Diff([]string{`{__name__="a"} 3 @1000`}, dump(t, st, 0, 1e9, "a")); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
	if got := dump(t, st, 0, 1e9, "b"); len(got) != 0 {
		t.Errorf("samples of b: %v", got)
	}
	for name, want := range map[string]float64{"promscope_store_series": 1, "promscope_store_samples": 1} {
		if got := testutil.ToFloat64(collector(t, reg, name)); got != want {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
}

// TestReconfigure: what the new selection takes stays with its handles, for its rules
// and as long as its window. The rest is forgotten.
func TestReconfigure(t *testing.T) {
	reg := prometheus.NewRegistry()
	var commits []store.Commit
	st := store.New(store.NewSelection(selectors(t, time.Minute, "a", "b", "c")), store.Options{}, reg)
	handles := map[string]*store.Series{}
	at := func(second int) time.Time { return time.Unix(1_000_000+int64(second), 0) }
	commit := func(second int, names ...string) {
		b := st.Batch()
		for _, name := range names {
			if handles[name] == nil {
				handles[name], _ = st.Series(labels.FromStrings("__name__", name))
			}
			b.Append(handles[name], at(second).UnixMilli(), float64(second))
		}
		b.Commit(at(second), time.Second)
	}
	commit(1, "a", "b")
	handles["c"], _ = st.Series(labels.FromStrings("__name__", "c")) // without samples yet

	st.Reconfigure(store.NewSelection(selectors(t, 2*time.Minute, "x", "b", "c")),
		store.Options{OnCommit: func(c store.Commit) { commits = append(commits, c) }})
	if st.Len() != 1 {
		t.Errorf("%d series are left", st.Len())
	}
	commit(2, "a", "b", "c")
	if st.Len() != 2 {
		t.Errorf("%d series after the next scrape", st.Len())
	}
	if len(commits) != 1 || !slices.Equal(commits[0].Rules, []int{1, 2}) {
		t.Errorf("commits %+v", commits)
	}
	for name, want := range map[string][]float64{"a": nil, "b": {1, 2}, "c": {2}} {
		var got []float64
		for _, second := range []int{1, 2} {
			matcher := labels.MustNewMatcher(labels.MatchEqual, "__name__", name)
			for _, s := range store.Latest(t.Context(), st.Live(), []*labels.Matcher{matcher}, at(second), at(second)) {
				got = append(got, s.Value)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s has %v, want %v", name, got, want)
		}
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if got := f.GetMetric()[0].GetGauge().GetValue(); f.GetName() == "promscope_store_samples" && got != 3 {
			t.Errorf("%v samples by the metric", got)
		}
	}
}
