package scrape

import (
	"context"
	"io"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/exposition"
	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/bridge/store"
)

// A Replay scrapes a target whose expositions are given to it, out of files. It
// relabels, limits and marks series stale as a scrape does. Two things differ. It adds
// no `up` and no `scrape_*` series, since nobody asked the target. It takes no
// timestamps from the expositions, since these may be years old.
type Replay struct {
	app      *appender
	reader   exposition.Reader
	interval time.Duration
	series   []ReplayedSeries
}

// Replayed is what one exposition came to.
type Replayed struct {
	Samples int // exposed
	Kept    int // of the samples, those that the store's selection takes
	// Series are all that were exposed, in their order.
	Series []ReplayedSeries
}

// ReplayedSeries is what metric_relabel_configs made of an exposed series.
type ReplayedSeries struct {
	Before labels.Labels // with the target's labels
	After  labels.Labels // empty if the series was dropped
}

// NewReplay returns a replay of a job's target with these labels. Those of the given
// names tell of the process that answers.
func NewReplay(config *job.Config, public labels.Labels, origin []string, st *store.Store) *Replay {
	own := *config
	own.HonorTimestamps = false
	r := &Replay{interval: time.Duration(config.ScrapeInterval)}
	r.app = newAppender(&job.Target{Job: &own, Public: public}, &shared{store: st, sel: st.Selection()})
	r.app.retarget(public, public.MatchLabels(true, origin...))
	r.app.observe = func(before, after labels.Labels) {
		r.series = append(r.series, ReplayedSeries{Before: before, After: after})
	}
	return r
}

// Scrape commits an exposition to the store, with the timestamp at. An exposition
// that fails a scrape is an error, and leaves the store as it was. The result then
// tells how many samples came before the error.
func (r *Replay) Scrape(ctx context.Context, at time.Time, body io.Reader, mediaType string) (Replayed, error) {
	r.series = nil
	// The appender observes only series that it does not remember.
	r.app.cache.relabel()
	r.app.begin(at)
	r.reader.Reset(body, mediaType, exposition.Options{Parser: r.app.job.ParserOptions()})
	if err := r.app.exposition(ctx, &r.reader); err != nil {
		r.app.batch.Reset()
		return Replayed{Samples: r.app.counts.exposed}, err
	}
	r.app.cache.succeed(r.app.stale)
	r.app.batch.Commit(at, r.interval)
	return Replayed{Samples: r.app.counts.exposed, Kept: r.app.counts.kept, Series: r.series}, nil
}
