package store

import (
	"math"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/value"
)

// Batch collects the samples of one scrape. Nothing of it is visible before
// Commit. A batch is reusable, and costs no memory while it is empty. It
// belongs to one goroutine.
type Batch struct {
	store *Store
	items *[]item // nil while it is empty
	held  int     // room in the store, for its new series
}

type item struct {
	series    *Series
	sample    sample
	histogram *histogram.FloatHistogram
}

// Appended tells what became of a batch.
type Appended struct {
	// Samples were taken.
	Samples int
	// OutOfOrder samples were older than their series's newest.
	OutOfOrder int
	// Duplicates had the timestamp of their series's newest, but another value.
	Duplicates int
	// TooOld samples were, at the time of the scrape, older than any rule looks back.
	TooOld int
	// Limited samples would have begun a series beyond Options.MaxSeries.
	Limited int
}

// Batch returns an empty batch.
func (s *Store) Batch() *Batch { return &Batch{store: s} }

// Append adds a float sample.
func (b *Batch) Append(s *Series, t int64, v float64) {
	b.add(item{series: s, sample: sample{t, v}})
}

// AppendStale adds a stale marker: from t on the series has no value.
func (b *Batch) AppendStale(s *Series, t int64) {
	b.Append(s, t, math.Float64frombits(value.StaleNaN))
}

// AppendHistogram adds a native histogram sample. The histogram is the store's
// from here on.
func (b *Batch) AppendHistogram(s *Series, t int64, h *histogram.FloatHistogram) {
	b.add(item{series: s, sample: sample{t: t}, histogram: h})
}

func (b *Batch) add(it item) {
	if b.items == nil {
		if b.items, _ = b.store.items.Get().(*[]item); b.items == nil {
			b.items = new([]item)
		}
	}
	*b.items = append(*b.items, it)
}

// Reset drops all samples.
func (b *Batch) Reset() {
	if b.items == nil {
		return
	}
	if b.held > 0 {
		b.store.mu.Lock()
		b.release()
		b.store.mu.Unlock()
	}
	clear(*b.items)
	*b.items = (*b.items)[:0]
	b.store.items.Put(b.items)
	b.items = nil
}

// Commit makes all samples visible at once, announces them, and empties the
// batch. The time is the scrape's, the interval the target's. A sample that
// cannot be taken is counted and hinders no other.
func (b *Batch) Commit(at time.Time, interval time.Duration) Appended {
	s := b.store
	var (
		res    Appended
		rules  ruleSet
		change int
	)
	var items []item
	if b.items != nil {
		items = *b.items
	}
	s.mu.Lock()
	b.release()
	for i := range items {
		change += s.append(&items[i], at.UnixMilli(), &res, &rules)
	}
	s.newest = max(s.newest, at.UnixMilli())
	if s.newest-s.swept >= sweepEvery.Milliseconds() {
		s.sweep(s.newest)
	}
	s.metrics.samples.Add(float64(change))
	s.metrics.series.Set(float64(s.series))
	onCommit := s.opts.OnCommit
	s.mu.Unlock()

	s.metrics.count(res)
	s.refused.Add(uint64(res.Limited))
	b.Reset()
	if list := rules.list(); len(list) > 0 && onCommit != nil {
		onCommit(Commit{Time: at, Interval: interval, Rules: list})
	}
	return res
}

// append takes one sample of a scrape at that time, and returns by how many the
// store's samples grew.
func (s *Store) append(it *item, at int64, res *Appended, rules *ruleSet) (change int) {
	k := it.series
	if sel := s.Selection(); !k.known() && (k.match == nil || k.match.selection != sel) {
		// The handle is from before a Reconfigure.
		if k.match = sel.match(k.labels); k.match == nil {
			return 0
		}
	}
	if it.sample.t < at-k.match.Window.Milliseconds() {
		res.TooOld++
		return 0
	}
	if !k.known() {
		if k = s.insert(k); k == nil {
			res.Limited++
			return 0
		}
	}
	if k.n > 0 {
		newest, h := k.last()
		switch {
		case it.sample.t < newest.t:
			res.OutOfOrder++
			return 0
		case it.sample.t == newest.t:
			if !it.same(newest, h) {
				res.Duplicates++
			}
			return 0
		}
		hint(it.histogram, h)
	}
	dropped := k.push(it.sample, it.histogram, k.match.Window.Milliseconds())
	res.Samples++
	rules.add(k.match.Rules)
	return 1 - dropped
}

// hint notes of a histogram that it goes on with the one before, as Prometheus's database
// does. Else each evaluation of a rate compares all buckets of all histograms in its
// window: that was a fifth of what 1,000 HTTP servers cost.
func hint(h, before *histogram.FloatHistogram) {
	if h != nil && before != nil && h.CounterResetHint == histogram.UnknownCounterReset && !h.DetectReset(before) {
		h.CounterResetHint = histogram.NotCounterReset
	}
}

// same tells whether the item repeats the sample.
func (it *item) same(s sample, h *histogram.FloatHistogram) bool {
	if it.histogram != nil || h != nil {
		return it.histogram != nil && h != nil && it.histogram.Equals(h)
	}
	return math.Float64bits(it.sample.v) == math.Float64bits(s.v)
}

// ruleSet is a set of small integers.
type ruleSet []uint64

func (r *ruleSet) add(rules []int) {
	for _, i := range rules {
		if need := i/64 + 1; need > len(*r) {
			*r = slices.Grow(*r, need-len(*r))[:need]
		}
		(*r)[i/64] |= 1 << (i % 64)
	}
}

func (r ruleSet) list() []int {
	var list []int
	for w, word := range r {
		for b := range 64 {
			if word&(1<<b) != 0 {
				list = append(list, w*64+b)
			}
		}
	}
	return list
}
