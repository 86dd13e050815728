package scrape

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"log/slog"
	"slices"
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
	failed    bool // the last scrape, or there was none
	// contentType is that of the last answer. What answers with another one, or after a scrape
	// that failed, may be no exposition.
	contentType string
	// promptCommits is how many of the next commits rules look at soon, because
	// the target has changed.
	promptCommits int

	cancel context.CancelFunc // ends the loop

	// scraping is the context of its scrapes. A scrape under way may outlive the loop's manager,
	// if another one takes its place.
	scraping context.Context
	abort    context.CancelFunc
	done     chan struct{} // closed when the loop has ended

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
	knownBy   func(origin labels.Labels) (prefixes []string, ok bool)
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
		failed:        true,
		done:          make(chan struct{}),
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
	l.scraping, l.abort = context.WithCancel(context.Background())
	if parsesAll == "" {
		l.want = wanted(sh.sel)
	}
	l.narrow = newNarrower(t, sh.sel, parsesAll)
	l.synthetic.retarget(sh.store, t.Job, t.Public)
	return l
}

// run scrapes until ctx is done, in the place of another loop if that is not nil. If parent is
// not done, the target alone is gone, and its series go stale.
func (l *loop) run(ctx, parent context.Context, old *loop) {
	defer close(l.done)
	defer l.abort()
	stop := context.AfterFunc(ctx, func() {
		// What is inside of this process may be closed with its manager.
		if l.target.URL == nil || !handedOver(ctx) {
			l.abort()
		}
	})
	defer stop()
	if old != nil {
		l.await(old)
		l.takeOver(old)
	}
	l.start()
	l.scrapeOnTime(ctx)
	if l.left = l.Status(); parent.Err() == nil {
		l.end(time.Now())
	}
	l.account(func(s *TargetStatus) { *s = TargetStatus{} })
	l.scraper.close()
}

// scrapeOnTime scrapes when it is due, until ctx is done.
func (l *loop) scrapeOnTime(ctx context.Context) {
	// Round strips the monotonic clock: what is counted are wall times.
	now := time.Now().Round(0)
	regular := l.grid(l.target.Interval)
	due := l.first(now)
	timer := time.NewTimer(due.Sub(now))
	defer timer.Stop()
	for {
		l.next = due
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		now = time.Now().Round(0)
		at := now
		if now.Sub(due).Abs() <= min(tolerance, l.target.Interval/100) {
			at = due
		}
		l.next = at
		// The time until the next one is counted from here: the clock may be set during this one.
		due = regular.from(at.Add(l.target.Interval / 4))
		timer.Reset(due.Sub(now))
		if l.scrape(l.scraping, at); l.scraping.Err() != nil {
			return
		}
	}
}

// soon is how long a new target waits for its first scrape, at most: somebody who has
// just started a program looks for it now.
const soon = time.Second

// first returns when the first scrape is due: when the loop before this one would have done
// it, at once if that is past, or else soon. The regular ones begin a quarter of the interval
// after it at the earliest, for the sake of rates.
func (l *loop) first(now time.Time) time.Time {
	interval := l.target.Interval
	// It lies elsewhere if there was none, or if the clock was set.
	if left := l.next.Sub(now); left > -interval && left <= interval+interval/4 {
		return l.next
	}
	return l.grid(min(interval, soon)).from(now)
}

// grid are times that are an interval apart.
type grid struct {
	interval time.Duration
	offset   time.Duration // into the interval
}

// grid returns when to scrape the target at that interval. Scrapes of different targets are
// spread over the interval by hash, and those of one target stay at the same offset through
// restarts. Targets inside of this process are scraped together, at whole intervals: that
// spares an idle machine wake-ups, and no exporter has to be spared.
func (l *loop) grid(interval time.Duration) grid {
	if l.target.URL == nil {
		return grid{interval: interval}
	}
	h := fnv.New64a()
	h.Write([]byte(l.key))
	return grid{interval, time.Duration(mix(h.Sum64()) % uint64(interval))}
}

// from returns the first of the times that is not before t.
func (g grid) from(t time.Time) time.Time {
	into := (time.Duration(t.UnixNano()) - g.offset) % g.interval
	return t.Add((g.interval - into) % g.interval)
}

// mix spreads what FNV leaves in the low bits of similar keys.
func mix(h uint64) uint64 {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], h*0x9e3779b97f4a7c15)
	return binary.BigEndian.Uint64(b[:])
}

// SetBackBy is by how much the clock may be set back without a word: rules then have no new
// values for that long.
const SetBackBy = 2 * time.Second

// scrape does one scrape with the timestamp at, and commits what came of it.
func (l *loop) scrape(ctx context.Context, at time.Time) {
	l.app.begin(at)
	start := time.Now()
	res := l.collect(ctx, at)
	if ctx.Err() != nil || time.Until(at) > SetBackBy {
		// Not the target's failure: scraping ends, or the clock was set back. Samples of the
		// future would hold up those that follow, until that time comes again.
		l.app.batch.Reset()
		return
	}
	var partial *partialError
	if res.err == nil || errors.As(res.err, &partial) {
		l.app.cache.succeed(l.stale)
	} else {
		l.app.batch.Reset()
		l.app.cache.fail(l.stale)
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

// stale marks a series as gone, unless each scrape has a sample of it about itself. The loop
// before this one may have left such a series.
func (l *loop) stale(s *store.Series) {
	if !slices.Contains(l.synthetic.series[:], s) {
		l.app.stale(s)
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

// end marks all series of the target stale, whose loop has ended.
func (l *loop) end(now time.Time) {
	// Not in the millisecond of the last sample, which the marker would clash with.
	at := l.left.LastScrape.Add(time.Millisecond)
	now = now.Round(0)
	if ahead := at.Sub(now); ahead < 0 || ahead > SetBackBy {
		at = now
	}
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
