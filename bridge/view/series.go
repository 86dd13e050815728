package view

import (
	"context"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// Series is a series with its last sample.
type Series struct {
	Labels labels.Labels
	At     time.Time
	Value  float64 // the count of a histogram
}

// SelectSeries returns the series that matchers select in a stretch of time, but
// for those that have ended, sorted by labels.
func SelectSeries(ctx context.Context, store storage.Queryable, matchers []*labels.Matcher, from, to time.Time) []Series {
	querier, err := store.Querier(from.UnixMilli(), to.UnixMilli())
	if err != nil {
		return nil
	}
	defer func() { _ = querier.Close() }() // the store's has no errors
	var found []Series
	set := querier.Select(ctx, true, nil, matchers...)
	for set.Next() {
		series := set.At()
		s := Series{Labels: series.Labels()}
		for it := series.Iterator(nil); ; {
			kind := it.Next()
			if kind == chunkenc.ValNone {
				break
			}
			s.At = time.UnixMilli(it.AtT())
			switch kind {
			case chunkenc.ValFloat:
				_, s.Value = it.At()
			case chunkenc.ValFloatHistogram:
				_, h := it.AtFloatHistogram(nil)
				s.Value = h.Count
			default: // the store has no others
			}
		}
		if !value.IsStaleNaN(s.Value) {
			found = append(found, s)
		}
	}
	return found
}
