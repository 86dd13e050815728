package store

import (
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
)

// Series is a handle on one series, from [Store.Series]. It outlives the
// store's memory of the series: appending to one that was forgotten brings it
// back, empty.
type Series struct {
	labels labels.Labels
	hash   uint64
	match  *Match // shared

	// Below is guarded by the store's mutex.

	next *Series // the next of the same hash
	ring
	known bool // in the store's index
}

// Labels returns the series's label set.
func (s *Series) Labels() labels.Labels { return s.labels }

// Match tells what the series is kept for.
func (s *Series) Match() Match { return *s.match }

type sample struct {
	t int64
	v float64
}

// ring holds a series's newest samples, ascending in time.
type ring struct {
	samples []sample
	// histograms runs parallel to samples, and is nil until the series carries
	// a native histogram. An entry is nil where the sample is a float. Behind
	// a pointer, since most series have none.
	histograms *[]*histogram.FloatHistogram
	head, n    int32
}

func (r *ring) at(i int) int {
	if i += int(r.head); i >= len(r.samples) {
		i -= len(r.samples)
	}
	return i
}

// last returns the newest sample; the ring must not be empty.
func (r *ring) last() (sample, *histogram.FloatHistogram) {
	i := r.at(int(r.n) - 1)
	return r.samples[i], r.histogram(i)
}

// histogram returns the histogram at an index into samples, if there is one.
func (r *ring) histogram(i int) *histogram.FloatHistogram {
	if r.histograms == nil {
		return nil
	}
	return (*r.histograms)[i]
}

// push appends a sample newer than all others, and forgets those that lie
// further than window back of it, but for one: a range that begins between two
// samples can see the one before it only by that.
func (r *ring) push(s sample, h *histogram.FloatHistogram, window int64) (dropped int) {
	for r.n > 1 && r.samples[r.at(1)].t <= s.t-window {
		r.drop()
		dropped++
	}
	if int(r.n) == len(r.samples) {
		r.grow(s.t, window)
	}
	i := r.at(int(r.n))
	r.n++
	r.samples[i] = s
	if h != nil && r.histograms == nil {
		hs := make([]*histogram.FloatHistogram, len(r.samples))
		r.histograms = &hs
	}
	if r.histograms != nil {
		(*r.histograms)[i] = h
	}
	return dropped
}

func (r *ring) drop() {
	if r.histograms != nil {
		(*r.histograms)[r.head] = nil
	}
	r.head = int32(r.at(1))
	r.n--
}

// grow makes room for what the window holds at the pace seen so far, at most
// doubling, so that a ring ends at the size it needs and not at a power of two.
func (r *ring) grow(now, window int64) {
	size, n := 4, int(r.n)
	if n > 0 {
		pace := max(1, (now-r.samples[r.head].t)/int64(n))
		size = min(int(window/pace)+2, 2*n)
		size = max(size, n+1+n/8)
	}
	samples := make([]sample, size)
	r.copyTo(samples)
	if r.histograms != nil {
		hs := make([]*histogram.FloatHistogram, size)
		for i := range n {
			hs[i] = r.histogram(r.at(i))
		}
		r.histograms = &hs
	}
	r.samples, r.head = samples, 0
}

func (r *ring) copyTo(dst []sample) {
	head, n := int(r.head), int(r.n)
	k := copy(dst, r.samples[head:min(head+n, len(r.samples))])
	copy(dst[k:], r.samples[:n-k])
}

// find returns the range [lo, hi) of samples with mint <= t <= maxt.
func (r *ring) find(mint, maxt int64) (lo, hi int) {
	hi = int(r.n)
	for hi > 0 && r.samples[r.at(hi-1)].t > maxt {
		hi--
	}
	// The window holds tens of samples, most of them asked for: from the old
	// end it is the shorter way.
	for lo < hi && r.samples[r.at(lo)].t < mint {
		lo++
	}
	return lo, hi
}
