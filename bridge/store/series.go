package store

import (
	"math"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
)

// Series is a handle on one series, from [Store.Series]. It outlives the
// store's memory of the series: appending to one that was forgotten brings it
// back, empty.
type Series struct {
	labels labels.Labels
	match  *match // shared

	// Below is guarded by the store's mutex.

	next *Series // the next of the same hash
	ring
}

// Labels returns the series's label set.
func (s *Series) Labels() labels.Labels { return s.labels }

// known tells whether the series is in the store's index: if it has samples.
func (s *Series) known() bool { return s.n > 0 }

type sample struct {
	t int64
	v float64
}

// ring holds a series's newest samples, ascending in time.
type ring struct {
	slots []slot
	// histograms runs parallel to slots, and is nil until the series carries
	// a native histogram. An entry is nil where the sample is a float. Behind
	// a pointer, since most series have none.
	histograms *[]*histogram.FloatHistogram
	newest     int64 // time of the newest sample
	head, n    int32
}

// slot is a sample in 12 bytes instead of 16. Each second's samples of a window of 25 s
// make a selected series take 670 bytes instead of 763, with all that the scraper knows
// of it (TestBytesPerSeries; the bar is 700), and 100,000 series in the store 62 MB
// instead of 72. The value is in halves because a uint64 would be aligned to 8 bytes.
type slot struct {
	t      uint32 // the low half of the time
	lo, hi uint32 // of the value's bits
}

// span is how far apart the samples of a ring may lie for the low halves of
// their times to tell them apart: 49 days.
const span = math.MaxUint32

// at returns where the i-th sample is, from the oldest.
func (r *ring) at(i int) int {
	if i += int(r.head); i >= len(r.slots) {
		i -= len(r.slots)
	}
	return i
}

// time returns the time of the i-th sample.
func (r *ring) time(i int) int64 {
	return r.newest - int64(uint32(r.newest)-r.slots[r.at(i)].t)
}

// sample returns the i-th sample.
func (r *ring) sample(i int) sample {
	s := &r.slots[r.at(i)]
	return sample{
		t: r.newest - int64(uint32(r.newest)-s.t),
		v: math.Float64frombits(uint64(s.hi)<<32 | uint64(s.lo)),
	}
}

// histogram returns the histogram of the i-th sample, if it is one.
func (r *ring) histogram(i int) *histogram.FloatHistogram {
	if r.histograms == nil {
		return nil
	}
	return (*r.histograms)[r.at(i)]
}

// last returns the newest sample; the ring must not be empty.
func (r *ring) last() (sample, *histogram.FloatHistogram) {
	i := int(r.n) - 1
	return r.sample(i), r.histogram(i)
}

// push appends a sample newer than all others, and forgets those that lie
// further than window back of it, but for one: a range that begins between two
// samples can see the one before it only by that.
func (r *ring) push(s sample, h *histogram.FloatHistogram, window int64) (dropped int) {
	for r.n > 1 && r.time(1) <= s.t-window || r.n > 0 && r.time(0) < s.t-span {
		r.drop()
		dropped++
	}
	if int(r.n) == len(r.slots) {
		r.grow(s.t, window)
	}
	i := r.at(int(r.n))
	r.n++
	r.newest = s.t
	bits := math.Float64bits(s.v)
	r.slots[i] = slot{t: uint32(s.t), lo: uint32(bits), hi: uint32(bits >> 32)}
	if h != nil && r.histograms == nil {
		hs := make([]*histogram.FloatHistogram, len(r.slots))
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
		pace := max(1, (now-r.time(0))/int64(n))
		size = min(int(window/pace)+2, 2*n)
		size = max(size, n+1+n/8)
	}
	slots := make([]slot, size)
	k := copy(slots, r.slots[r.head:])
	copy(slots[k:], r.slots[:r.head])
	if r.histograms != nil {
		hs := make([]*histogram.FloatHistogram, size)
		for i := range n {
			hs[i] = r.histogram(i)
		}
		r.histograms = &hs
	}
	r.slots, r.head = slots, 0
}

// find returns the range [lo, hi) of samples with mint <= t <= maxt.
func (r *ring) find(mint, maxt int64) (lo, hi int) {
	hi = int(r.n)
	for hi > 0 && r.time(hi-1) > maxt {
		hi--
	}
	// The window holds tens of samples, most of them asked for: from the old
	// end it is the shorter way.
	for lo < hi && r.time(lo) < mint {
		lo++
	}
	return lo, hi
}
