// Package memstore is a storage.Queryable in plain memory: for tests of rules,
// whose series are all known in advance. It neither forgets nor locks.
package memstore

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// Store holds series with all their samples. The zero Store is empty. It must
// not be written to while it is read.
type Store struct {
	byName map[string][]*promql.Series
	byHash map[uint64]*promql.Series
}

// Append adds a sample. Samples of a series have to come in ascending order.
func (s *Store) Append(l labels.Labels, t time.Time, v parser.SequenceValue) {
	if v.Omitted {
		return
	}
	series := s.series(l)
	if v.Histogram != nil {
		series.Histograms = append(series.Histograms, promql.HPoint{T: t.UnixMilli(), H: v.Histogram})
		return
	}
	series.Floats = append(series.Floats, promql.FPoint{T: t.UnixMilli(), F: v.Value})
}

// AppendStale ends a series at the given time.
func (s *Store) AppendStale(l labels.Labels, t time.Time) {
	s.Append(l, t, parser.SequenceValue{Value: math.Float64frombits(value.StaleNaN)})
}

// Load appends a series in the notation of Prometheus's unit tests for rules,
// "metric{label=\"value\"} 1+2x10 _ stale", with samples at start, start +
// interval and so on.
func (s *Store) Load(series string, start time.Time, interval time.Duration) error {
	l, values, err := parser.NewParser(parser.Options{}).ParseSeriesDesc(series)
	if err != nil {
		return fmt.Errorf("parsing series %q: %w", series, err)
	}
	for i, v := range values {
		s.Append(l, start.Add(time.Duration(i)*interval), v)
	}
	return nil
}

func (s *Store) series(l labels.Labels) *promql.Series {
	h := l.Hash()
	if series, ok := s.byHash[h]; ok {
		return series
	}
	if s.byHash == nil {
		s.byHash, s.byName = map[uint64]*promql.Series{}, map[string][]*promql.Series{}
	}
	series := &promql.Series{Metric: l}
	s.byHash[h] = series
	name := l.Get(model.MetricNameLabel)
	s.byName[name] = append(s.byName[name], series)
	return series
}

// Querier implements storage.Queryable.
func (s *Store) Querier(mint, maxt int64) (storage.Querier, error) {
	return &querier{s, mint, maxt}, nil
}

type querier struct {
	store      *Store
	mint, maxt int64
}

func (q *querier) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	set := &seriesSet{at: -1}
	for _, series := range q.candidates(matchers) {
		if !matches(series.Metric, matchers) {
			continue
		}
		if view := q.cut(series); len(view.Floats)+len(view.Histograms) > 0 {
			set.series = append(set.series, promql.NewStorageSeries(view))
		}
	}
	return set
}

// candidates returns the series of the metric that the matchers name, or all.
func (q *querier) candidates(matchers []*labels.Matcher) []*promql.Series {
	for _, m := range matchers {
		if m.Name == model.MetricNameLabel && m.Type == labels.MatchEqual {
			return q.store.byName[m.Value]
		}
	}
	var all []*promql.Series
	for _, series := range q.store.byName {
		all = append(all, series...)
	}
	return all
}

func matches(l labels.Labels, matchers []*labels.Matcher) bool {
	for _, m := range matchers {
		if !m.Matches(l.Get(m.Name)) {
			return false
		}
	}
	return true
}

// cut returns the samples in the querier's range, without copying them.
func (q *querier) cut(s *promql.Series) promql.Series {
	view := promql.Series{Metric: s.Metric}
	from, _ := slices.BinarySearchFunc(s.Floats, q.mint, func(p promql.FPoint, t int64) int { return int(p.T - t) })
	to, _ := slices.BinarySearchFunc(s.Floats, q.maxt+1, func(p promql.FPoint, t int64) int { return int(p.T - t) })
	view.Floats = s.Floats[from:to]
	from, _ = slices.BinarySearchFunc(s.Histograms, q.mint, func(p promql.HPoint, t int64) int { return int(p.T - t) })
	to, _ = slices.BinarySearchFunc(s.Histograms, q.maxt+1, func(p promql.HPoint, t int64) int { return int(p.T - t) })
	view.Histograms = s.Histograms[from:to]
	return view
}

func (*querier) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (*querier) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (*querier) Close() error { return nil }

type seriesSet struct {
	series []storage.Series
	at     int
}

func (s *seriesSet) Next() bool                      { s.at++; return s.at < len(s.series) }
func (s *seriesSet) At() storage.Series              { return s.series[s.at] }
func (*seriesSet) Err() error                        { return nil }
func (*seriesSet) Warnings() annotations.Annotations { return nil }
