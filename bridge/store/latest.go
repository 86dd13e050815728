package store

import (
	"context"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// LatestSample is a series with its newest sample.
type LatestSample struct {
	Labels labels.Labels
	At     time.Time
	Value  float64 // the count of a histogram
}

// Latest returns the newest samples in [from, to] of the series that matchers select,
// sorted by labels. A series that has ended is left out.
func Latest(ctx context.Context, store storage.Queryable, matchers []*labels.Matcher, from, to time.Time) []LatestSample {
	querier, err := store.Querier(from.UnixMilli(), to.UnixMilli())
	if err != nil {
		return nil
	}
	defer func() { _ = querier.Close() }() // the store's has no errors
	var found []LatestSample
	set := querier.Select(ctx, true, nil, matchers...)
	for set.Next() {
		series := set.At()
		s := LatestSample{Labels: series.Labels()}
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
