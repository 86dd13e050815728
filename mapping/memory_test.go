package mapping

import (
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// memory is a storage.Queryable of series that are all known in advance, by metric
// name. It must not be written to while it is read.
type memory map[string][]*promql.Series

// Append adds a sample. Samples of a series have to come in ascending order.
func (m memory) Append(l labels.Labels, t time.Time, v parser.SequenceValue) {
	name := l.Get(model.MetricNameLabel)
	i := slices.IndexFunc(m[name], func(s *promql.Series) bool { return labels.Equal(s.Metric, l) })
	if i < 0 {
		i = len(m[name])
		m[name] = append(m[name], &promql.Series{Metric: l})
	}
	switch s := m[name][i]; {
	case v.Omitted:
	case v.Histogram != nil:
		s.Histograms = append(s.Histograms, promql.HPoint{T: t.UnixMilli(), H: v.Histogram})
	default:
		s.Floats = append(s.Floats, promql.FPoint{T: t.UnixMilli(), F: v.Value})
	}
}

// Load adds a series in the notation of Prometheus's unit tests for rules, with
// samples at start, start + interval and so on.
func (m memory) Load(series string, start time.Time, interval time.Duration) error {
	l, values, err := parser.NewParser(parser.Options{}).ParseSeriesDesc(series)
	if err != nil {
		return fmt.Errorf("parsing series %q: %w", series, err)
	}
	for i, v := range values {
		m.Append(l, start.Add(time.Duration(i)*interval), v)
	}
	return nil
}

// Querier implements storage.Queryable.
func (m memory) Querier(mint, maxt int64) (storage.Querier, error) {
	return &storage.MockQuerier{SelectMockFunction: func(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
		set := &memorySeries{at: -1}
		for name, list := range m {
			if slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return m.Name == model.MetricNameLabel && !m.Matches(name) }) {
				continue
			}
			for _, s := range list {
				if !matchAll(matchers, s.Metric) {
					continue
				}
				own := promql.Series{
					Metric:     s.Metric,
					Floats:     cut(s.Floats, mint, maxt, func(p promql.FPoint) int64 { return p.T }),
					Histograms: cut(s.Histograms, mint, maxt, func(p promql.HPoint) int64 { return p.T }),
				}
				if len(own.Floats)+len(own.Histograms) > 0 {
					set.series = append(set.series, promql.NewStorageSeries(own))
				}
			}
		}
		return set
	}}, nil
}

func matchAll(matchers []*labels.Matcher, l labels.Labels) bool {
	return !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(l.Get(m.Name)) })
}

// cut returns the samples from mint to maxt, without copying them.
func cut[P any](points []P, mint, maxt int64, at func(P) int64) []P {
	from, _ := slices.BinarySearchFunc(points, mint, func(p P, t int64) int { return int(at(p) - t) })
	to, _ := slices.BinarySearchFunc(points, maxt+1, func(p P, t int64) int { return int(at(p) - t) })
	return points[from:to]
}

type memorySeries struct {
	series []storage.Series
	at     int
}

func (s *memorySeries) Next() bool                      { s.at++; return s.at < len(s.series) }
func (s *memorySeries) At() storage.Series              { return s.series[s.at] }
func (*memorySeries) Err() error                        { return nil }
func (*memorySeries) Warnings() annotations.Annotations { return nil }
