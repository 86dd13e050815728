package store

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// A rate ends with its target on the live view, and is whole again when the
// target is back after a scrape that failed.
func TestLive(t *testing.T) {
	name := labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, "c")
	st := New(NewSelection([]Selector{{Matchers: []*labels.Matcher{name}, Window: time.Minute}}), Options{}, prometheus.NewRegistry())
	s, ok := st.Series(labels.FromStrings(model.MetricNameLabel, "c"))
	if !ok {
		t.Fatal("the series is not selected")
	}
	samples := func(q storage.Queryable, at int64) int {
		querier, err := q.Querier(0, at)
		if err != nil {
			t.Fatal(err)
		}
		defer querier.Close()
		n := 0
		for set := querier.Select(context.Background(), false, nil, name); set.Next(); {
			for it := set.At().Iterator(nil); it.Next() != 0; {
				n++
			}
		}
		return n
	}
	add := func(at int64, stale bool) {
		b := st.Batch()
		if stale {
			b.AppendStale(s, at)
		} else {
			b.Append(s, at, 1)
		}
		b.Commit(time.UnixMilli(at), time.Second)
	}
	add(1000, false)
	add(2000, false)
	add(3000, true)
	if whole, live := samples(st, 3000), samples(st.Live(), 3000); whole != 3 || live != 0 {
		t.Errorf("after the stale marker: %d samples and %d live, want 3 and 0", whole, live)
	}
	if live := samples(st.Live(), 2500); live != 2 {
		t.Errorf("before the stale marker: %d live samples, want 2", live)
	}
	add(4000, false)
	if live := samples(st.Live(), 4000); live != 4 {
		t.Errorf("back again: %d live samples, want all 4", live)
	}
}
