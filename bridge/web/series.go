package web

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/promscope/promscope/bridge/format"
	"github.com/promscope/promscope/bridge/view"
)

// allMetrics lists what the store holds.
const allMetrics = `count by (__name__) ({__name__!=""})`

// rowsPerResult is how many elements of a result the series page shows.
const rowsPerResult = 200

// ranges are the spans of time that the series page offers. The store keeps
// what its rules look back at: minutes at most, as a rule.
func ranges() []string { return []string{"30s", "1m", "2m", "5m", "15m", "1h"} }

const defaultRange = "2m"

// seriesView is the body of the series page.
type seriesView struct {
	Expr   string
	Range  string
	Ranges []string
	// Metrics is what the store holds; empty where a query is answered.
	Metrics []seriesMetric
	Names   []string // for completion
	Error   string
	Type    view.ValueType
	Chart   *chart
	Rows    []seriesRow
	More    int
	Notes   []string
	Took    float64
	// Covers is the span of time that the points cover, where that is less
	// than what was asked for.
	Covers float64
}

// seriesMetric is a metric in the store.
type seriesMetric struct {
	Name   string
	Series int
}

// seriesRow is an element of a result.
type seriesRow struct {
	Class   string
	Name    string
	Labels  []view.Fact
	Subject string // for explain; empty for what is no series of the store
	Value   string
	Exact   string
}

// runQuery runs a query within the limits of this server.
func (p *pages) runQuery(ctx context.Context, q view.Query, timeout time.Duration) (view.Result, error) {
	if timeout <= 0 || timeout > p.opts.QueryTimeout {
		timeout = p.opts.QueryTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	select {
	case p.queries <- struct{}{}:
		defer func() { <-p.queries }()
	case <-ctx.Done():
		return view.Result{}, &view.QueryError{Kind: view.ErrorTimeout, Err: errors.New("too many queries at a time")}
	}
	result, err := p.source.Query(ctx, q)
	var known *view.QueryError
	switch {
	case err == nil || errors.As(err, &known):
		return result, err
	case errors.Is(err, context.DeadlineExceeded):
		return result, &view.QueryError{Kind: view.ErrorTimeout, Err: err}
	case errors.Is(err, context.Canceled):
		return result, &view.QueryError{Kind: view.ErrorCanceled, Err: err}
	}
	return result, &view.QueryError{Kind: view.ErrorExecution, Err: err}
}

func (p *pages) series(r *http.Request, v *frame) error {
	v.Title = "Series"
	body := &seriesView{Expr: strings.TrimSpace(r.FormValue("expr")), Range: r.FormValue("range"), Ranges: ranges()}
	v.Body = body
	if !slices.Contains(body.Ranges, body.Range) {
		body.Range = defaultRange
	}
	span, err := time.ParseDuration(body.Range)
	if err != nil {
		return err
	}
	metrics, err := p.storedMetrics(r.Context(), v.Now)
	if err != nil {
		body.Error = err.Error()
	}
	for _, m := range metrics {
		body.Names = append(body.Names, m.Name)
	}
	if body.Expr == "" {
		body.Metrics = metrics
		return nil
	}
	v.API = "api/v1/query?" + url.Values{"query": {body.Expr}}.Encode()
	started := time.Now()
	p.answer(r.Context(), body, v.Now, span)
	body.Took = time.Since(started).Seconds()
	if body.Error != "" {
		v.Code = http.StatusBadRequest
	}
	return nil
}

// storedMetrics returns the metrics in the store, by name.
func (p *pages) storedMetrics(ctx context.Context, now time.Time) ([]seriesMetric, error) {
	result, err := p.runQuery(ctx, view.Query{Expr: allMetrics, End: now}, 0)
	if err != nil {
		return nil, err
	}
	var metrics []seriesMetric
	for _, s := range result.Series {
		if len(s.Points) > 0 {
			metrics = append(metrics, seriesMetric{Name: s.Labels["__name__"], Series: int(s.Points[0].Value)})
		}
	}
	slices.SortFunc(metrics, func(a, b seriesMetric) int { return strings.Compare(a.Name, b.Name) })
	return metrics, nil
}

// answer runs the query twice, for the values of now and for the chart.
func (p *pages) answer(ctx context.Context, body *seriesView, now time.Time, span time.Duration) {
	instant, err := p.runQuery(ctx, view.Query{Expr: body.Expr, End: now}, 0)
	if err != nil {
		body.Error = err.Error()
		return
	}
	body.Type = instant.Type
	body.Notes = slices.Concat(instant.Warnings, instant.Infos)
	start := now.Add(-span)
	if instant.Type == view.TypeString {
		body.Rows = []seriesRow{{Value: instant.String}}
		return
	}
	lines := instant.Series
	var step time.Duration
	if instant.Type == view.TypeMatrix {
		// The samples themselves, over the range that the expression gives.
		for _, s := range lines {
			if len(s.Points) > 0 && s.Points[0].Time.Before(start) {
				start = s.Points[0].Time
			}
		}
	} else {
		// A step of a second shows each sample of the fastest targets.
		step = max(time.Second, (span / 180).Truncate(time.Second))
		matrix, err := p.runQuery(ctx, view.Query{Expr: body.Expr, Start: start, End: now, Step: step}, 0)
		if err != nil {
			body.Error = err.Error()
			return
		}
		lines = matrix.Series
	}
	rows(body, instant, lines)
	slices.SortStableFunc(lines, func(a, b view.Series) int { return strings.Compare(a.Labels.String(), b.Labels.String()) })
	body.Chart = newChart(lines, start, now, step*3/2)
	if first := firstPoint(lines); !first.IsZero() && first.Sub(start) > span/10 {
		body.Covers = now.Sub(first).Seconds()
	}
}

// firstPoint is the time of the oldest point.
func firstPoint(series []view.Series) time.Time {
	var first time.Time
	for _, s := range series {
		if len(s.Points) > 0 && (first.IsZero() || s.Points[0].Time.Before(first)) {
			first = s.Points[0].Time
		}
	}
	return first
}

// rows fills in the table: the values of now, each with the colour of its line.
// A line that has ended has a row without a value.
func rows(body *seriesView, instant view.Result, lines []view.Series) {
	type element struct {
		view.Labels
		key   string
		value *view.Point
	}
	byKey := map[string]*element{}
	var elements []*element
	for _, list := range [][]view.Series{instant.Series, lines} {
		for _, s := range list {
			key := s.Labels.String()
			if byKey[key] != nil {
				continue
			}
			e := &element{Labels: s.Labels, key: key}
			byKey[key] = e
			elements = append(elements, e)
		}
	}
	for _, s := range instant.Series {
		if n := len(s.Points); n > 0 {
			byKey[s.Labels.String()].value = &s.Points[n-1]
		}
	}
	slices.SortStableFunc(elements, func(a, b *element) int { return cmp.Compare(a.key, b.key) })
	// The colours are those that newChart gives to the same order of lines.
	drawnAt := map[string]int{}
	keys := make([]string, 0, len(lines))
	for _, s := range lines {
		keys = append(keys, s.Labels.String())
	}
	slices.Sort(keys)
	for i, key := range keys {
		if i < drawn {
			drawnAt[key] = i
		}
	}
	for i, e := range elements {
		if i == rowsPerResult {
			body.More = len(elements) - i
			break
		}
		row := seriesRow{Name: e.Labels["__name__"], Value: "–"}
		if at, ok := drawnAt[e.key]; ok {
			row.Class = lineClass(at)
		}
		for _, name := range e.Names() {
			row.Labels = append(row.Labels, view.Fact{Name: name, Value: e.Labels[name]})
		}
		if row.Name != "" {
			row.Subject = e.key
		}
		if p := e.value; p != nil {
			row.Exact = format.Float(p.Value)
			row.Value = format.Number(p.Value)
			if h := p.Histogram; h != nil {
				row.Value = "histogram of " + format.Number(h.Count)
				row.Exact = "count " + format.Float(h.Count) + ", sum " + format.Float(h.Sum)
			}
		}
		body.Rows = append(body.Rows, row)
	}
}
