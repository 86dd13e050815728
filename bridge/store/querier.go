package store

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// Querier implements storage.Queryable, for readers that have time: pages and queries of
// people. It selects a few series at a time, so that a commit never waits for long. A
// select may see some series before a commit and others after it.
func (s *Store) Querier(mint, maxt int64) (storage.Querier, error) {
	return &querier{store: s, mint: mint, maxt: maxt}, nil
}

// Live returns the store as rules read it. A select sees each commit as a whole, or not.
//
// Live is without the series that have ended. Prometheus gives a rate of a target that is
// gone for as long as the window reaches back to its samples. From Live, the target is
// gone at once. One that failed for a scrape is back with its samples from before.
func (s *Store) Live() storage.Queryable { return liveStore{s} }

type liveStore struct{ *Store }

// Querier implements storage.Queryable.
func (s liveStore) Querier(mint, maxt int64) (storage.Querier, error) {
	return &querier{store: s.Store, mint: mint, maxt: maxt, live: true}, nil
}

// querier serves one query. What it selected is copied out of the rings, into
// memory that goes back to a pool when it is closed.
type querier struct {
	store      *Store
	mint, maxt int64
	live       bool
	arenas     []*arena
}

// arena is where the samples of one select are copied to.
type arena struct {
	samples    []sample
	histograms []*histogram.FloatHistogram
	series     []resultSeries
}

// resultSeries is one series of a query's result: a run of its arena's samples.
type resultSeries struct {
	labels     labels.Labels
	samples    []sample
	histograms []*histogram.FloatHistogram // nil, or parallel to samples
}

// Select implements storage.Querier.
func (q *querier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	if err := ctx.Err(); err != nil {
		return storage.ErrSeriesSet(err)
	}
	mint, maxt := q.mint, q.maxt
	if hints != nil {
		mint, maxt = max(mint, hints.Start), min(maxt, hints.End)
	}
	a, _ := q.store.arenas.Get().(*arena)
	if a == nil {
		a = new(arena)
	}
	q.arenas = append(q.arenas, a)

	q.store.each(ms, q.live, func(s *Series) { a.add(s, mint, maxt, q.live) })

	a.resolve()
	if sorted {
		slices.SortFunc(a.series, func(x, y resultSeries) int { return labels.Compare(x.labels, y.labels) })
	}
	if hints != nil && hints.Limit > 0 && len(a.series) > hints.Limit {
		a.series = a.series[:hints.Limit]
	}
	return &seriesSet{series: a.series, at: -1}
}

// add copies the samples of the series that lie in [mint, maxt]. With live, a
// series whose last one there is a stale marker is left out.
func (a *arena) add(s *Series, mint, maxt int64, live bool) {
	lo, hi := s.find(mint, maxt)
	if lo == hi || live && value.IsStaleNaN(s.sample(hi-1).v) {
		return
	}
	begin := len(a.samples)
	for i := lo; i < hi; i++ {
		a.samples = append(a.samples, s.sample(i))
	}
	v := resultSeries{labels: s.labels, samples: a.samples[begin:]}
	if s.histograms != nil {
		// Kept parallel to samples only from here on; most selects have none.
		for len(a.histograms) < begin {
			a.histograms = append(a.histograms, nil)
		}
		for i := lo; i < hi; i++ {
			a.histograms = append(a.histograms, s.histogram(i))
		}
		v.histograms = a.histograms[begin:]
	}
	a.series = append(a.series, v)
}

// resolve points all series into the arena's final memory: while it grew, the
// earlier ones were left with the memory that it outgrew, which would be kept
// alive until the query ends.
func (a *arena) resolve() {
	begin := 0
	for i := range a.series {
		v := &a.series[i]
		end := begin + len(v.samples)
		v.samples = a.samples[begin:end:end]
		if v.histograms != nil {
			v.histograms = a.histograms[begin:end:end]
		}
		begin = end
	}
}

// LabelValues implements storage.LabelQuerier. PromQL does not call it.
func (*querier) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, errors.ErrUnsupported
}

// LabelNames implements storage.LabelQuerier. PromQL does not call it.
func (*querier) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, errors.ErrUnsupported
}

// Close implements storage.Querier. Series of the query must not be used after.
func (q *querier) Close() error {
	for _, a := range q.arenas {
		clear(a.series)
		clear(a.histograms)
		a.samples, a.histograms, a.series = a.samples[:0], a.histograms[:0], a.series[:0]
		q.store.arenas.Put(a)
	}
	q.arenas = nil
	return nil
}

// browsed is how many series a reader that has time looks at before it lets a commit in.
const browsed = 256

// each calls f for every series that all matchers take. With atomic, no commit comes
// between two calls.
func (s *Store) each(ms []*labels.Matcher, atomic bool, f func(*Series)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, list := range s.lists(ms) {
		for chunk := range slices.Chunk(list, browsed) {
			eachOf(chunk, ms, f)
			if !atomic {
				s.mu.RUnlock()
				s.mu.RLock()
			}
		}
	}
}

// lists returns lists of the series that matchers may take. The mutex must be held. What
// is in a list stays there: lists only grow, or are replaced.
func (s *Store) lists(ms []*labels.Matcher) [][]*Series {
	for _, m := range ms {
		if m.Name == model.MetricNameLabel && m.Type == labels.MatchEqual {
			return [][]*Series{s.byName[m.Value]}
		}
	}
	return slices.Collect(maps.Values(s.byName))
}

func eachOf(list []*Series, ms []*labels.Matcher, f func(*Series)) {
next:
	for _, s := range list {
		for _, m := range ms {
			if !m.Matches(s.labels.Get(m.Name)) {
				continue next
			}
		}
		f(s)
	}
}
