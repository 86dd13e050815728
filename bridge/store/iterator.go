package store

import (
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/annotations"
)

// seriesSet walks the series of one select.
type seriesSet struct {
	series []resultSeries
	at     int
}

func (s *seriesSet) Next() bool {
	s.at++
	return s.at < len(s.series)
}

func (s *seriesSet) At() storage.Series              { return &s.series[s.at] }
func (*seriesSet) Err() error                        { return nil }
func (*seriesSet) Warnings() annotations.Annotations { return nil }
func (s *resultSeries) Labels() labels.Labels        { return s.labels }
func (s *resultSeries) Iterator(it chunkenc.Iterator) chunkenc.Iterator {
	if it, ok := it.(*iterator); ok {
		*it = iterator{series: s, i: -1}
		return it
	}
	return &iterator{series: s, i: -1}
}

// timestamp is in Unix milliseconds. An alias, because vet takes a method Seek
// of a literal int64 for a failed attempt at io.Seeker.
type timestamp = int64

// iterator walks the samples of one series.
type iterator struct {
	series *resultSeries
	i      int
}

func (it *iterator) Next() chunkenc.ValueType {
	if it.i < len(it.series.samples) {
		it.i++
	}
	return it.kind()
}

func (it *iterator) Seek(t timestamp) chunkenc.ValueType {
	it.i = max(it.i, 0)
	for it.i < len(it.series.samples) && it.series.samples[it.i].t < t {
		it.i++
	}
	return it.kind()
}

func (it *iterator) kind() chunkenc.ValueType {
	switch {
	case it.i >= len(it.series.samples):
		return chunkenc.ValNone
	case it.series.histograms != nil && it.series.histograms[it.i] != nil:
		return chunkenc.ValFloatHistogram
	default:
		return chunkenc.ValFloat
	}
}

func (it *iterator) At() (int64, float64) {
	s := it.series.samples[it.i]
	return s.t, s.v
}

// AtHistogram is never asked for: all histograms are kept as floats.
func (it *iterator) AtHistogram(*histogram.Histogram) (int64, *histogram.Histogram) {
	return it.AtT(), nil
}

// AtFloatHistogram returns a copy: the engine changes what it is given.
func (it *iterator) AtFloatHistogram(h *histogram.FloatHistogram) (int64, *histogram.FloatHistogram) {
	own := it.series.histograms[it.i]
	if h == nil {
		return it.AtT(), own.Copy()
	}
	own.CopyTo(h)
	return it.AtT(), h
}

func (it *iterator) AtT() int64 { return it.series.samples[it.i].t }
func (*iterator) AtST() int64   { return 0 }
func (*iterator) Err() error    { return nil }
