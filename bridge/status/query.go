package status

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"

	"github.com/promscope/promscope/bridge/view"
	"github.com/promscope/promscope/mapping"
	"github.com/promscope/promscope/mapping/expr"
	"github.com/promscope/promscope/mapping/secret"
)

const (
	// queryTimeout bounds a query of the pages or the API. The engine itself
	// stops at it.
	queryTimeout = 10 * time.Second

	// queryRemarks bounds the warnings, and the infos, of an answer.
	queryRemarks = 10

	// defaultStep is that of a subquery which gives none.
	defaultStep = 5 * time.Second
)

// queryLimits are what a query may use, and what it does not say itself.
type queryLimits struct {
	Samples  int
	Lookback time.Duration
	Fill     func(query string) (string, error) // puts windows in place of variables, as in rules
}

// LongestLookback is how long some rule takes a sample for its series' value. A
// query does the same, so that it finds whatever a rule does.
func LongestLookback(set *mapping.Set) time.Duration {
	longest := 15 * time.Second
	for _, r := range set.Rules() {
		longest = max(longest, r.Lookback())
	}
	return longest
}

// queryStore answers a query of the pages or the API from a store, with Prometheus's
// engine. What is wrong with the query is a *view.QueryError.
func queryStore(ctx context.Context, store storage.Queryable, q view.Query, limits queryLimits) (view.Result, error) {
	engine := promql.NewEngine(promql.EngineOpts{
		MaxSamples:               limits.Samples,
		Timeout:                  queryTimeout,
		Parser:                   parser.NewParser(parser.Options{}),
		EnableAtModifier:         true,
		EnableNegativeOffset:     true,
		NoStepSubqueryIntervalFn: func(int64) int64 { return defaultStep.Milliseconds() },
	})
	opts := promql.NewPrometheusQueryOpts(false, limits.Lookback, nil)
	if len(q.Expr) > expr.MaxBytes {
		return view.Result{}, &view.QueryError{Kind: view.ErrorBadData, Err: fmt.Errorf("the expression has %d bytes; a query may have %d", len(q.Expr), expr.MaxBytes)}
	}
	text, err := limits.Fill(q.Expr)
	if err != nil {
		return view.Result{}, &view.QueryError{Kind: view.ErrorBadData, Err: err}
	}
	var query promql.Query
	if q.Step > 0 {
		query, err = engine.NewRangeQuery(ctx, store, opts, text, q.Start, q.End, q.Step)
	} else {
		query, err = engine.NewInstantQuery(ctx, store, opts, text, q.End)
	}
	if err != nil {
		return view.Result{}, &view.QueryError{Kind: view.ErrorBadData, Err: err}
	}
	defer query.Close()
	result := query.Exec(ctx)
	if result.Err != nil {
		return view.Result{}, &view.QueryError{Kind: queryErrorKind(result.Err), Err: result.Err}
	}
	warnings, infos := result.Warnings.AsStrings(text, queryRemarks, queryRemarks)
	answer, err := queryResult(result.Value)
	answer.Warnings, answer.Infos = warnings, infos
	return answer, err
}

func queryErrorKind(err error) view.QueryErrorKind {
	var (
		canceled promql.ErrQueryCanceled
		timeout  promql.ErrQueryTimeout
		storage  promql.ErrStorage
	)
	switch {
	case errors.As(err, &canceled):
		return view.ErrorCanceled
	case errors.As(err, &timeout):
		return view.ErrorTimeout
	case errors.As(err, &storage):
		return view.ErrorInternal
	}
	return view.ErrorExecution
}

// queryResult copies a result out of the engine's memory.
func queryResult(v parser.Value) (view.Result, error) {
	switch v := v.(type) {
	case promql.String:
		return view.Result{Type: view.TypeString, String: v.V}, nil
	case promql.Scalar:
		return view.Result{Type: view.TypeScalar, Series: []view.Series{{Points: []view.Point{pointModel(v.T, v.V, nil)}}}}, nil
	case promql.Vector:
		r := view.Result{Type: view.TypeVector, Series: make([]view.Series, 0, len(v))}
		for _, s := range v {
			r.Series = append(r.Series, view.Series{Labels: secret.Labels(s.Metric), Points: []view.Point{pointModel(s.T, s.F, s.H)}})
		}
		return r, nil
	case promql.Matrix:
		r := view.Result{Type: view.TypeMatrix, Series: make([]view.Series, 0, len(v))}
		for _, s := range v {
			r.Series = append(r.Series, seriesModel(s))
		}
		return r, nil
	default:
		return view.Result{}, fmt.Errorf("unexpected result of type %s", v.Type())
	}
}

// seriesModel merges a series' floats and histograms, both ascending, by time.
func seriesModel(s promql.Series) view.Series {
	w := view.Series{Labels: secret.Labels(s.Metric), Points: make([]view.Point, 0, len(s.Floats)+len(s.Histograms))}
	floats, histograms := s.Floats, s.Histograms
	for len(floats)+len(histograms) > 0 {
		if len(histograms) == 0 || len(floats) > 0 && floats[0].T <= histograms[0].T {
			w.Points = append(w.Points, pointModel(floats[0].T, floats[0].F, nil))
			floats = floats[1:]
			continue
		}
		w.Points = append(w.Points, pointModel(histograms[0].T, 0, histograms[0].H))
		histograms = histograms[1:]
	}
	return w
}

func pointModel(t int64, v float64, h *histogram.FloatHistogram) view.Point {
	p := view.Point{Time: time.UnixMilli(t), Value: v}
	if h == nil {
		return p
	}
	p.Histogram = &view.Histogram{Count: h.Count, Sum: h.Sum}
	for it := h.AllBucketIterator(); it.Next(); {
		b := it.At()
		if b.Count == 0 {
			continue
		}
		p.Histogram.Buckets = append(p.Histogram.Buckets, view.Bucket{
			Boundaries: boundaries(b.LowerInclusive, b.UpperInclusive), Lower: b.Lower, Upper: b.Upper, Count: b.Count,
		})
	}
	return p
}

// boundaries is Prometheus's code for which ends belong to a bucket.
func boundaries(lower, upper bool) int {
	switch {
	case lower && upper:
		return 3
	case lower:
		return 1
	case upper:
		return 0
	}
	return 2
}
