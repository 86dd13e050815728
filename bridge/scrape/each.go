package scrape

import (
	"errors"
	"io"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/textparse"

	"github.com/promscope/promscope/bridge/scrape/request"
)

// eachSample hands on the samples that a parser finds, one at a time: the series as it is
// exposed, the timestamp in ms or nil, and the value, or a histogram instead of one.
func eachSample(p textparse.Parser, take func(exposed []byte, ts *int64, v float64, h *histogram.FloatHistogram) error) error {
	for {
		kind, err := p.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return request.NewError("parse", err)
		case kind == textparse.EntrySeries:
			exposed, ts, v := p.Series()
			err = take(exposed, ts, v, nil)
		case kind == textparse.EntryHistogram:
			exposed, ts, h, fh := p.Histogram()
			if h != nil {
				fh = h.ToFloat(nil)
			}
			err = take(exposed, ts, 0, fh)
		}
		if err != nil {
			return err
		}
	}
}
