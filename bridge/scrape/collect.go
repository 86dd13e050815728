package scrape

import (
	"context"
	"fmt"
	"net/url"
	"runtime/debug"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

// collect fetches and appends an exposition: of what rules need, if the target
// can be asked for it, else of all.
func (l *loop) collect(ctx context.Context, at time.Time) (res result) {
	n := l.narrow
	if query := n.ask(at); query != nil {
		res.err = l.fetch(ctx, query, &res)
		if n.narrowed(l.app.cache.taken(), &res) {
			return res
		}
		l.app.batch.Reset()
		l.app.begin(at)
		res = result{}
	}
	var seen []labels.Labels
	if n != nil {
		l.app.observe = func(series labels.Labels) {
			if isCollector([]byte(series.Get(model.MetricNameLabel))) {
				seen = append(seen, series)
			}
		}
		defer func() { l.app.observe = nil }()
	}
	res.err = l.fetch(ctx, nil, &res)
	if n != nil && res.err == nil {
		n.full(at, l.app.cache.taken(), collectorsIn(seen), &res)
	}
	return res
}

// fetch fetches and appends the exposition that a query gives.
func (l *loop) fetch(ctx context.Context, query url.Values, res *result) (err error) {
	if err := l.forcedError(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, l.target.timeout)
	defer cancel()
	ex, err := l.source.open(ctx, query)
	if err != nil {
		return err
	}
	defer ex.close()
	l.follow(l.source.origin(ctx))

	f, release := l.shared.borrow()
	defer release()
	res.media = ex.media
	want, labels := l.want, l.app.labels
	if l.app.observe != nil && want != nil {
		want = func(name []byte) bool { return l.want(name) || isCollector(name) }
		labels = nil
	}
	filter, window := f.choose(ex, l.target.job, want, labels)
	defer func() {
		// The parser is given whatever a target sends.
		if r := recover(); r != nil {
			l.shared.logger.Error("Parsing an exposition panicked", "job", l.target.job.JobName, "panic", r, "stack", string(debug.Stack()))
			err = &failure{"panic", fmt.Errorf("parsing panicked: %v", r)}
		}
		res.bytes, res.counts = window.size, l.app.counts
	}()
	if err := l.app.exposition(ctx, filter, ex.media); err != nil {
		return err
	}
	if ex.partial != nil {
		return &partialError{ex.partial}
	}
	return nil
}

// choose returns the filter for an exposition.
func (f *filters) choose(ex exposition, job *Config, want func([]byte) bool, labels *preselector) (filter, *window) {
	switch {
	case ex.media == mediaProto:
		f.proto.reset(ex.body, job.parserOptions(), want)
		return &f.proto, &f.proto.window
	case job.ConvertClassicHistogramsToNHCB:
		// Buckets are converted together, however many lines they take.
		f.whole.reset(ex.body)
		return &f.whole, &f.whole.window
	default:
		f.text.reset(ex.body, ex.media == mediaOpenMetrics, want, labels)
		return &f.text, &f.text.window
	}
}

// follow puts the labels of the process that answers onto the target's series.
func (l *loop) follow(origin labels.Labels) {
	if labels.Equal(origin, l.origin) {
		return
	}
	l.origin, l.news = origin, newsScrapes
	lb := labels.NewBuilder(l.target.public)
	origin.Range(func(o labels.Label) {
		if !l.target.public.Has(o.Name) {
			lb.Set(o.Name, o.Value)
		}
	})
	target := lb.Labels()
	l.app.retarget(target, origin)
	l.app.cache.orphan(l.report.retarget(l.shared.store, l.target.job, target)...)
	l.mu.Lock()
	l.status.Labels = target
	l.mu.Unlock()
}

// partialError marks a scrape that failed although all that it read is good.
type partialError struct{ error }

func (e *partialError) Unwrap() error { return e.error }

// filters holds the memory that a scrape needs while it lasts.
type filters struct {
	text  textFilter
	proto protoFilter
	whole wholeFilter
}

// borrow lends memory for a scrape until release is called.
func (s *shared) borrow() (f *filters, release func()) {
	f, _ = s.filters.Get().(*filters)
	if f == nil {
		f = new(filters)
	}
	return f, func() {
		f.release()
		s.filters.Put(f)
	}
}

// release lets go of the body, and of what an exposition out of the ordinary made
// the memory grow to, for a pool that is used each second is never emptied.
func (f *filters) release() {
	f.text.release()
	f.proto.release()
	f.whole.release()
}

// maxKept is how much of a buffer for pieces is kept from one scrape to the next.
// A piece goes over its size by a line or a family.
const maxKept = 4 * pieceSize

// emptied returns a buffer without its content, and without its memory if it grew
// beyond what is kept.
func emptied(b []byte) []byte {
	if cap(b) > maxKept {
		return nil
	}
	return b[:0]
}
