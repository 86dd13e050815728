package scrape

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"runtime/debug"
	"slices"
	"time"

	"github.com/promscope/promscope/bridge/exposition"
	"github.com/promscope/promscope/bridge/scrape/request"
)

// result is what a scrape came to.
type result struct {
	counts
	duration  time.Duration
	bytes     int64
	mediaType string
	err       error
}

// collect fetches and appends an exposition. It asks for what rules need, if the target
// allows that, else for all.
func (l *loop) collect(ctx context.Context, at time.Time) (res result) {
	n := l.narrow
	if query := n.ask(at); query != nil {
		res.err = l.fetch(ctx, query, &res)
		if n.narrowed(l.app.taken(), &res) {
			return res
		}
		l.again(&res)
	}
	l.app.learns = n.learns(at)
	defer func() { l.app.learns = false }()
	res.err = l.fetch(ctx, nil, &res)
	if n != nil && res.err == nil {
		n.full(at, l.app.taken(), slices.Sorted(maps.Keys(l.app.collectors)), &res)
	}
	return res
}

// fetchOnce fetches and appends one exposition.
func (l *loop) fetchOnce(ctx context.Context, query url.Values, res *result) (err error) {
	a, err := l.scraper.scrape(ctx, time.UnixMilli(l.app.at), query)
	if err != nil {
		return err
	}
	defer a.close()
	l.followOrigin(l.scraper.origin(ctx))

	r, release := l.shared.borrow()
	defer release()
	res.mediaType = a.mediaType
	options := exposition.Options{Parser: l.target.Job.ParserOptions(), WantName: l.want, Labels: l.app.labels, Take: l.app.take}
	options.WholeStart = l.failed || a.contentType != l.contentType
	l.contentType = a.contentType
	if l.app.learns {
		options.WantName = func(name []byte) bool { return l.want(name) || isCollector(name) }
		options.Labels, options.Take = nil, nil
	}
	if want := options.WantName; want != nil && l.app.witness.awaits {
		options.WantName = func(name []byte) bool {
			l.app.witness.hearName(name) // also if nothing of it is parsed
			return want(name)
		}
	}
	r.Reset(a.body, a.mediaType, options)
	defer func() {
		// The parser is given whatever a target sends.
		if p := recover(); p != nil {
			l.shared.logger.Error("Parsing an exposition panicked", "job", l.target.Job.JobName, "panic", p, "stack", string(debug.Stack()))
			err = request.NewError("panic", fmt.Errorf("parsing panicked: %v", p))
		}
		res.bytes, res.counts = r.Size(), l.app.counts
		l.read(r)
	}()
	if err := l.app.exposition(ctx, r); err != nil {
		return err
	}
	if a.partial != nil {
		return &partialError{a.partial}
	}
	return nil
}

// partialError marks a scrape that failed although all that it read is good.
type partialError struct{ error }

func (e *partialError) Unwrap() error { return e.error }

// borrow lends a reader for a scrape until release is called.
func (s *shared) borrow() (r *exposition.Reader, release func()) {
	r, _ = s.readers.Get().(*exposition.Reader)
	if r == nil {
		r = new(exposition.Reader)
	}
	return r, func() {
		r.Release()
		s.readers.Put(r)
	}
}
