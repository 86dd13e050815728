package scrape

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/bridge/scrape/request"
	"github.com/promscope/promscope/bridge/store"
)

// tolerance is how late a scrape may be and still get the timestamp that it
// was due at, if that is less than 1 % of the interval. Even spacing makes
// rates smooth.
const tolerance = 2 * time.Millisecond

// loop scrapes one target, independent of all others.
type loop struct {
	target  *job.Target
	key     string
	scraper scraper
	want    func(name []byte) bool // nil: everything is parsed
	narrow  *narrower              // nil: all is asked for
	quoter  *request.Quoter
	shared  *shared

	app       *appender
	synthetic syntheticSeries
	whose     whose
	failed    bool // the last scrape
	// promptCommits is how many of the next commits rules look at soon, because
	// the target has changed.
	promptCommits int

	cancel context.CancelFunc

	// next is when the next scrape is due, or the one that was broken off, and left the
	// status at the end. They are read when the loop has ended.
	next time.Time
	left TargetStatus

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
	own       func(origin labels.Labels, said Testimony) (own labels.Labels, withheld string)
}

func newLoop(t *job.Target, s scraper, quoter *request.Quoter, sh *shared) *loop {
	parsesAll := parsesAll(t.Job, sh.sel)
	l := &loop{
		target:        t,
		key:           t.Key(),
		scraper:       s,
		quoter:        quoter,
		shared:        sh,
		app:           newAppender(t, sh),
		promptCommits: commitsAfterChange,
		status: TargetStatus{
			Job:        t.Job.JobName,
			URL:        quoter.Secrets().URL(t.URL),
			Labels:     t.Public,
			Discovered: t.Discovered,
			Interval:   t.Interval,
			Timeout:    t.Timeout,
			Health:     HealthUnknown,
			ParsesAll:  parsesAll,
		},
	}
	if parsesAll == "" {
		l.want = wanted(sh.sel)
	}
	l.narrow = newNarrower(t, sh.sel, parsesAll)
	l.synthetic.retarget(sh.store, t.Job, t.Public)
	return l
}

// run scrapes until ctx is done. If parent is not, the target alone is gone,
// and its series go stale.
func (l *loop) run(ctx, parent context.Context) {
	defer l.scraper.close()
	defer l.account(TargetStatus{})
	defer func() { l.left = l.Status() }()
	l.start()

	early, first := l.firstScrapes(time.Now())
	if late := time.Since(l.next); late < l.target.Interval {
		early, first = time.Time{}, l.next
		if late > 0 {
			// It was due while the configuration was loaded.
			if l.scrape(ctx, first); ctx.Err() != nil {
				return
			}
			first = first.Add(l.target.Interval)
		}
	}
	l.next = first
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
	ticker := time.NewTicker(l.target.Interval)
	defer ticker.Stop()
	// Round strips the monotonic clock: what is counted are wall times.
	due := time.Now().Round(0)
	for {
		at := time.Now().Round(0)
		for at.Sub(due) >= l.target.Interval {
			due = due.Add(l.target.Interval)
		}
		if late := at.Sub(due); late >= 0 && late <= min(tolerance, l.target.Interval/100) {
			at = due
		}
		l.next = at
		l.scrape(ctx, at)
		if ctx.Err() == nil {
			l.next = due.Add(l.target.Interval)
		}
		select {
		case <-ctx.Done():
			l.endUnless(parent, at)
			return
		case <-ticker.C:
		}
	}
}

// soon is how long a new target waits for its first scrape, at most: somebody who has
// just started a program looks for it now.
const soon = time.Second

// firstScrapes returns when the regular scrapes begin, at the target's offset in the
// interval. If that is not soon, it also returns when to scrape once before. The two
// are at least a quarter of the interval apart, for the sake of rates. Targets inside of
// this process are scraped together, at whole intervals: that spares an idle machine
// wake-ups, and no exporter has to be spared.
func (l *loop) firstScrapes(now time.Time) (early, first time.Time) {
	interval := l.target.Interval
	if l.target.URL == nil && interval <= soon {
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
	l.synthetic.append(l.app.batch, l.target.Job, l.target, l.app.at, &res)
	if failed := res.err != nil && partial == nil; failed != l.failed {
		l.failed, l.promptCommits = failed, commitsAfterChange
	}
	l.note(at, &res) // first: the status of a sample that is seen is there
	l.app.batch.Commit(at, l.commitInterval())
	if res.err == nil {
		l.narrow.learn(ctx, l.namesOf)
	}
}

// commitsAfterChange is how many commits rules look at soon after a target has
// changed: its series begin with the first one, and their rates with the second.
const commitsAfterChange = 2

// commitInterval returns the interval of the next commit, which decides how long rules
// may wait for the samples of other targets before they look at it. That is the
// target's interval. After a change, when the target is new, fails, answers again or is
// served by another process, rules look at it soon.
func (l *loop) commitInterval() time.Duration {
	if l.promptCommits == 0 {
		return l.target.Interval
	}
	l.promptCommits--
	return min(l.target.Interval, soon)
}

// end marks all series of the target stale.
func (l *loop) end(at time.Time) {
	l.app.begin(at)
	l.app.cache.fail(l.app.stale)
	for _, s := range l.synthetic.liveSeries() {
		l.app.stale(s)
	}
	l.app.batch.Commit(at, min(l.target.Interval, soon))
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

// offset is the time until the target's next scrape. Scrapes of different
// targets are spread over the interval by hash, and those of one target stay
// at the same offset through restarts.
func offset(key string, interval time.Duration, now time.Time) time.Duration {
	h := fnv.New64a()
	h.Write([]byte(key))
	at := time.Duration(mix(h.Sum64()) % uint64(interval))
	into := time.Duration(now.UnixNano() % int64(interval))
	return (at - into + interval) % interval
}

// mix spreads what FNV leaves in the low bits of similar keys.
func mix(h uint64) uint64 {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], h*0x9e3779b97f4a7c15)
	return binary.BigEndian.Uint64(b[:])
}
