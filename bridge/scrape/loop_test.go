package scrape

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/exposition"
	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/bridge/scrape/request"
	"github.com/promscope/promscope/bridge/store"
)

// A new target is scraped within a second, then at its own offset in the interval,
// and there is a distance between the two.
func TestFirstScrapes(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 1, 234_000_000, time.UTC)
	for _, interval := range []time.Duration{100 * time.Millisecond, time.Second, 5 * time.Second, time.Minute} {
		offsets := map[time.Duration]bool{}
		for i := range 1000 {
			key := fmt.Sprint("target ", i)
			l := &loop{target: &job.Target{Interval: interval, URL: &url.URL{}}, key: key}
			first := l.first(now)
			if wait := first.Sub(now); wait < 0 || wait > min(interval, soon) {
				t.Fatalf("at %s, %s is scraped after %s", interval, key, wait)
			}
			second := l.grid(interval).from(first.Add(interval / 4))
			if gap := second.Sub(first); gap < interval/4 || gap > interval*5/4 || interval <= soon && gap != interval {
				t.Fatalf("at %s, %s is scraped again after %s", interval, key, gap)
			}
			offset := time.Duration(second.UnixNano()) % interval
			offsets[offset] = true
			if other := l.grid(interval).from(second.Add(time.Hour)); time.Duration(other.UnixNano())%interval != offset {
				t.Fatalf("at %s, %s is scraped at %s and at %s", interval, key, second, other)
			}
		}
		if len(offsets) < 1000 {
			t.Errorf("at %s, 1000 targets have %d offsets", interval, len(offsets))
		}
	}
}

// Targets inside of this process go together, on the whole second and at whole intervals.
func TestFirstScrapesInside(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 1, 234_000_000, time.UTC)
	for _, test := range []struct{ interval, first, second time.Duration }{
		{time.Second, 766 * time.Millisecond, 1766 * time.Millisecond},
		{5 * time.Second, 766 * time.Millisecond, 3766 * time.Millisecond},
		{time.Minute, 766 * time.Millisecond, 58766 * time.Millisecond},
	} {
		target, err := InProcess{Name: "disk", Gatherer: prometheus.NewRegistry(), Interval: test.interval}.target()
		if err != nil {
			t.Fatal(err)
		}
		l := &loop{target: target, key: target.Key()}
		first := l.first(now)
		second := l.grid(test.interval).from(first.Add(test.interval / 4))
		if first != now.Add(test.first) || second != now.Add(test.second) {
			t.Errorf("at %s, they go at %s and %s", test.interval, first, second)
		}
	}
}

// Wherever the clock is set to, the next scrape is less than an interval away.
func TestGrid(t *testing.T) {
	g := grid{5 * time.Second, 1234 * time.Millisecond}
	for _, at := range []time.Time{
		time.Unix(0, 0), time.Unix(1, 0), time.Unix(1, 234_000_000), time.Unix(1, 234_000_001), time.Unix(-7, 0),
		time.Date(2026, 11, 22, 12, 0, 1, 234_000_001, time.UTC), time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		next := g.from(at)
		if wait := next.Sub(at); wait < 0 || wait >= g.interval || g.from(next) != next {
			t.Errorf("from %s on: after %s", at, wait)
		}
		if into := (next.UnixNano()%int64(g.interval) + int64(g.interval)) % int64(g.interval); into != int64(g.offset) {
			t.Errorf("from %s on: %d ns into the interval", at, into)
		}
	}
}

// scripted is a target of which some scrapes fail.
type scripted struct {
	scrapes int
	fails   map[int]bool
}

func (s *scripted) scrape(context.Context, time.Time, url.Values) (answer, error) {
	time.Sleep(3 * time.Millisecond)
	s.scrapes++
	if s.fails[s.scrapes] {
		return answer{}, errors.New("no")
	}
	return answer{body: strings.NewReader("a 1\n"), mediaType: exposition.MediaText, close: func() {}}, nil
}

func (*scripted) origin(context.Context) labels.Labels { return labels.EmptyLabels() }

func (*scripted) note() string { return "" }
func (*scripted) close()       {}

// upLoop returns a loop of a target that is scraped each five seconds, and what it commits of
// `up`.
func upLoop(s scraper) (l *loop, st *store.Store, commits func() []store.Commit) {
	selection := store.NewSelection([]store.Selector{{
		Matchers: []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, "up")},
		Window:   time.Minute,
	}})
	var all []store.Commit
	st = store.New(selection, store.Options{OnCommit: func(c store.Commit) { all = append(all, c) }}, nil)
	own := job.DefaultConfig(job.DefaultGlobal())
	l = newLoop(&job.Target{Job: &own, URL: &url.URL{}, Interval: 5 * time.Second, Timeout: 5 * time.Second},
		s, request.NewQuoter(&job.Config{}),
		&shared{store: st, sel: selection, logger: slog.New(slog.DiscardHandler), metrics: newMetrics(nil)})
	return l, st, func() []store.Commit { return all }
}

// Scrapes are an interval apart to the millisecond. The first two commits of a target,
// the two after a change and that of its end are to be looked at soon.
func TestLoopCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _, commits := upLoop(&scripted{fails: map[int]bool{4: true}})
		early := l.first(time.Now())
		first := l.grid(5 * time.Second).from(early.Add(5 * time.Second / 4))
		ctx, gone := context.WithCancel(t.Context())
		go l.run(ctx, t.Context(), nil)
		end := first.Add(5*5*time.Second + 2*time.Second)
		time.Sleep(time.Until(end))
		gone()
		synctest.Wait()

		type commit struct {
			At       string
			Interval time.Duration
		}
		var got []commit
		for _, c := range commits() {
			got = append(got, commit{c.Time.Sub(first).String(), c.Interval})
		}
		want := []commit{
			{early.Sub(first).String(), time.Second},
			{"0s", time.Second},
			{"5s", 5 * time.Second},
			{"10s", time.Second}, // down
			{"15s", time.Second}, // up
			{"20s", time.Second},
			{"25s", 5 * time.Second},
			{"27s", time.Second}, // gone
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("commits (-want +got):\n%s", diff)
		}
	})
}

// A loop that goes on for another one scrapes when that one would have done it, and makes up
// for a scrape that is due, with the time at which it is done. Where the clock was set
// meanwhile, it begins soon.
func TestLoopGoesOn(t *testing.T) {
	const interval = 5 * time.Second
	for name, test := range map[string]struct {
		next   time.Duration // from the regular time on, which is the interval's middle
		early  bool          // within a second, and not when it was due
		first  time.Duration
		second time.Duration
	}{
		"due later":                 {next: 2 * time.Second, first: 2 * time.Second, second: interval},
		"due now":                   {next: 0, first: 0, second: interval},
		"late":                      {next: -300 * time.Millisecond, first: 0, second: interval},
		"broken off":                {next: -2 * time.Second, first: 0, second: interval},
		"after the first scrape":    {next: 6 * time.Second, first: 6 * time.Second, second: 10 * time.Second},
		"the clock was set back":    {next: time.Hour, early: true, second: interval},
		"the clock was set forward": {next: -time.Hour, early: true, second: interval},
		"from 1970 on":              {next: -30 * 365 * 24 * time.Hour, early: true, second: interval},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, _, commits := upLoop(&scripted{})
				time.Sleep(time.Until(l.grid(interval).from(time.Now())))
				start := time.Now().Round(0)
				l.next = start.Add(test.next)
				if test.early {
					test.first = l.grid(soon).from(start).Sub(start)
				}
				go l.run(t.Context(), t.Context(), nil)
				time.Sleep(11 * time.Second)
				synctest.Wait()
				var got []time.Duration
				for _, c := range commits() {
					got = append(got, c.Time.Sub(start))
				}
				got = got[:min(2, len(got))]
				if diff := cmp.Diff([]time.Duration{test.first, test.second}, got); diff != "" {
					t.Errorf("scrapes (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// A scrape during which the clock is set back is of the future then, and so is the end of a
// target that was scraped before. Samples of the future would hold up those that follow.
func TestClockIsSetBackDuringScrape(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _, commits := upLoop(&scripted{})
		now := time.Now().Round(0)
		l.scrape(t.Context(), now.Add(time.Hour))
		if got := commits(); len(got) > 0 {
			t.Errorf("committed as of the future: %v", got)
		}
		l.scrape(t.Context(), now)
		l.left = l.Status()
		l.left.LastScrape = now.Add(time.Hour)
		l.end(time.Now())
		if got := commits(); len(got) != 2 || got[0].Time != now || got[1].Time.After(time.Now()) {
			t.Errorf("commits: %v", got)
		}
	})
}

// What discovery says of a target while its scrape is noted stays, and the log may be slow.
func TestDiscoveredWhileNoted(t *testing.T) {
	l, _, _ := upLoop(&scripted{})
	now := labels.FromStrings("__meta_since", "now")
	l.shared.logger = slog.New(onLog{slog.DiscardHandler, func() { l.discovered(now) }})
	l.note(time.Now(), &result{err: errors.New("no")})
	if s := l.Status(); !labels.Equal(s.Discovered, now) || s.Health != HealthDown {
		t.Errorf("status: %+v", s)
	}
}

// onLog is a handler that calls a function for each line.
type onLog struct {
	slog.Handler
	call func()
}

func (onLog) Enabled(context.Context, slog.Level) bool    { return true }
func (h onLog) Handle(context.Context, slog.Record) error { h.call(); return nil }
func (h onLog) WithAttrs([]slog.Attr) slog.Handler        { return h }
