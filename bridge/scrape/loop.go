package scrape

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/store"
	"github.com/promscope/promscope/mapping/secret"
)

// tolerance is how late a scrape may be and still get the timestamp that it
// was due at, if that is less than 1 % of the interval. Even spacing makes
// rates smooth.
const tolerance = 2 * time.Millisecond

// loop scrapes one target, on its own and whatever others do.
type loop struct {
	target  *target
	key     string
	scraper scraper
	want    func(name []byte) bool // nil: everything is parsed
	narrow  *narrower              // nil: all is asked for
	secrets *secret.Values
	shared  *shared

	app    *appender
	report reporter
	origin labels.Labels
	failed bool // the last scrape
	news   int  // so many scrapes to come tell more than new values

	cancel context.CancelFunc

	mu      sync.Mutex
	status  TargetStatus
	counted Health // as which the target is in the gauges
	forced  error  // each scrape fails with it
}

// shared is what the loops of a manager have in common.
type shared struct {
	store     *store.Store
	sel       *store.Selection
	logger    *slog.Logger
	metrics   *metrics
	readers   sync.Pool // of *exposition.Reader: the memory of scrapes in progress
	pids      pidTranslator
	pidLabels []string
}

func newLoop(t *target, s scraper, secrets *secret.Values, sh *shared) *loop {
	parsesAll := parsesAll(t.job, sh.sel)
	l := &loop{
		target:  t,
		key:     t.key(),
		scraper: s,
		secrets: secrets,
		shared:  sh,
		app:     newAppender(t, sh),
		news:    newsScrapes,
		status: TargetStatus{
			Job:        t.job.JobName,
			URL:        secrets.URL(t.url),
			Labels:     t.public,
			Discovered: t.discovered,
			Interval:   t.interval,
			Timeout:    t.timeout,
			Health:     HealthUnknown,
			ParsesAll:  parsesAll,
		},
	}
	if parsesAll == "" {
		l.want = sh.sel.Name
	}
	l.narrow = newNarrower(t, sh.sel, parsesAll)
	l.report.retarget(sh.store, t.job, t.public)
	return l
}

// run scrapes until ctx is done. If parent is not, the target alone is gone,
// and its series go stale.
func (l *loop) run(ctx, parent context.Context) {
	defer l.scraper.close()
	defer l.account(TargetStatus{})
	l.account(l.Status())

	early, first := l.firstScrapes(time.Now())
	if !early.IsZero() {
		if !sleepUntil(ctx, early) {
			return
		}
		at := time.Now().Round(0)
		l.scrape(ctx, at)
		if !sleepUntil(ctx, first) {
			l.endUnless(parent, at)
			return
		}
	} else if !sleepUntil(ctx, first) {
		return
	}
	ticker := time.NewTicker(l.target.interval)
	defer ticker.Stop()
	// Round strips the monotonic clock: what is counted are wall times.
	due := time.Now().Round(0)
	for {
		at := time.Now().Round(0)
		for at.Sub(due) >= l.target.interval {
			due = due.Add(l.target.interval)
		}
		if late := at.Sub(due); late >= 0 && late <= min(tolerance, l.target.interval/100) {
			at = due
		}
		l.scrape(ctx, at)
		select {
		case <-ctx.Done():
			l.endUnless(parent, at)
			return
		case <-ticker.C:
		}
	}
}

// soon is how long a new target waits for its first scrape, at most: whoever has
// just started a program looks for it now.
const soon = time.Second

// firstScrapes returns when the scrapes begin, at the target's offset in the
// interval, and if that is not soon, when to scrape once before. The two are a
// quarter of the interval apart at least, for the sake of rates. Targets inside of
// this process go together, on the whole interval: there is nobody to be spared, and
// an idle machine is woken once for all of them.
func (l *loop) firstScrapes(now time.Time) (early, first time.Time) {
	interval := l.target.interval
	if l.target.url == nil && interval <= soon {
		return time.Time{}, now.Truncate(interval).Add(interval)
	}
	first = now.Add(offset(l.key, interval, now))
	if interval <= soon {
		return time.Time{}, first
	}
	early = now.Add(offset(l.key, soon, now))
	if first.Sub(early) < interval/4 {
		first = first.Add(interval)
	}
	return early, first
}

// sleepUntil returns false if ctx is done before.
func sleepUntil(ctx context.Context, t time.Time) bool {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// endUnless marks all series of the target stale, unless all scraping ends. The
// last scrape was at that time.
func (l *loop) endUnless(parent context.Context, at time.Time) {
	if parent.Err() == nil {
		// Not in the millisecond of the last sample, which the marker would
		// clash with.
		l.end(at.Add(max(time.Since(at), time.Millisecond)))
	}
}

// scrape does one scrape with the timestamp at, and commits what came of it.
func (l *loop) scrape(ctx context.Context, at time.Time) {
	l.app.begin(at)
	start := time.Now()
	res := l.collect(ctx, at)
	if ctx.Err() != nil {
		// Not the target's failure: scraping ends.
		l.app.batch.Reset()
		return
	}
	var partial *partialError
	if res.err == nil || errors.As(res.err, &partial) {
		l.app.cache.succeed(l.app.stale)
	} else {
		l.app.batch.Reset()
		l.app.cache.fail(l.app.stale)
	}
	res.duration = time.Since(start)
	l.report.append(l.app.batch, l.target.job, l.target, l.app.at, &res)
	if failed := res.err != nil && partial == nil; failed != l.failed {
		l.failed, l.news = failed, newsScrapes
	}
	l.note(at, &res) // first: whoever sees the samples finds the status to them
	l.app.batch.Commit(at, l.pace())
	if res.err == nil {
		l.narrow.learn(ctx, l.namesOf)
	}
}

// newsScrapes is for how many scrapes a change is news: series begin with the
// first, and their rates with the second.
const newsScrapes = 2

// pace returns after what time rules are to look at this commit, if they do not
// have to anyhow. That is the interval; but a target that is new, or served by
// another process, or gone does not wait for those that feed the same rules.
func (l *loop) pace() time.Duration {
	if l.news == 0 {
		return l.target.interval
	}
	l.news--
	return min(l.target.interval, soon)
}

// end marks all series of the target stale.
func (l *loop) end(at time.Time) {
	l.app.begin(at)
	l.app.cache.fail(l.app.stale)
	for _, s := range l.report.liveSeries() {
		l.app.stale(s)
	}
	l.app.batch.Commit(at, min(l.target.interval, soon))
}

func (l *loop) force(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forced = err
}

func (l *loop) forcedError() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.forced
}
