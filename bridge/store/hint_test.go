package store_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/promscope/promscope/bridge/store"
)

// A histogram says that it goes on with the one before only where that is so.
func TestHints(t *testing.T) {
	st := store.New(store.NewSelection(selectors(t, time.Minute, `a`)), store.Options{}, nil)
	s := series(t, st, "__name__", "a")
	one := func(first, second float64) *histogram.FloatHistogram {
		return &histogram.FloatHistogram{
			Schema: 2, Count: first + second,
			PositiveSpans:   []histogram.Span{{Offset: 0, Length: 2}},
			PositiveBuckets: []float64{first, second},
		}
	}
	gauge := one(9, 9)
	gauge.CounterResetHint = histogram.GaugeType
	var want []histogram.CounterResetHint
	for i, step := range []struct {
		h    *histogram.FloatHistogram // nil is a stale marker
		want histogram.CounterResetHint
	}{
		{one(1, 1), histogram.UnknownCounterReset}, // the first
		{one(1, 2), histogram.NotCounterReset},
		{one(1, 2), histogram.NotCounterReset},
		{one(0, 4), histogram.UnknownCounterReset}, // more in all, but less in one bucket
		{one(0, 5), histogram.NotCounterReset},
		{nil, 0},
		{one(7, 7), histogram.UnknownCounterReset}, // of another process, perhaps
		{gauge, histogram.GaugeType},
	} {
		ms := int64(i+1) * 1000
		b := st.Batch()
		if step.h == nil {
			b.AppendStale(s, ms)
		} else {
			b.AppendHistogram(s, ms, step.h)
			want = append(want, step.want)
		}
		b.Commit(at(ms), time.Second)
	}
	q, err := st.Querier(0, 1<<60)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	var got []histogram.CounterResetHint
	for set := q.Select(t.Context(), true, nil, selectors(t, 0, `a`)[0].Matchers...); set.Next(); {
		it := set.At().Iterator(nil)
		for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
			if kind == chunkenc.ValFloatHistogram {
				_, h := it.AtFloatHistogram(nil)
				got = append(got, h.CounterResetHint)
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("hints (-want +got):\n%s", diff)
	}
}
