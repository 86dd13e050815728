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
	"github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/exposition"
	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/bridge/store"
	"github.com/promscope/promscope/mapping/secret"
)

// A new target is scraped within a second, then at its own offset in the interval,
// and there is a distance between the two.
func TestFirstScrapes(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 1, 234_000_000, time.UTC)
	for _, interval := range []time.Duration{100 * time.Millisecond, time.Second, 5 * time.Second, time.Minute} {
		for i := range 1000 {
			key := fmt.Sprint("target ", i)
			l := &loop{target: &job.Target{Interval: interval, URL: &url.URL{}}, key: key}
			early, first := l.firstScrapes(now)
			if into := first.Sub(now) % interval; into != offset(key, interval, now) {
				t.Fatalf("at %s, %s begins %s into the interval, want %s", interval, key, into, offset(key, interval, now))
			}
			if interval <= soon {
				if !early.IsZero() || first.Sub(now) > soon {
					t.Fatalf("at %s, %s begins after %s, and %s before", interval, key, first.Sub(now), early)
				}
				continue
			}
			if wait := early.Sub(now); wait < 0 || wait > soon {
				t.Fatalf("at %s, %s is scraped after %s", interval, key, wait)
			}
			if gap := first.Sub(early); gap < interval/4 || gap > interval*5/4 {
				t.Fatalf("at %s, %s is scraped again after %s", interval, key, gap)
			}
		}
	}
}

// Targets inside of this process go together, on the whole second.
func TestFirstScrapesInside(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 1, 234_000_000, time.UTC)
	for _, name := range []string{"iowait", "http"} {
		target, err := InProcess{Name: name, Gatherer: prometheus.NewRegistry(), Interval: time.Second}.target()
		if err != nil {
			t.Fatal(err)
		}
		l := &loop{target: target, key: target.Key()}
		if early, first := l.firstScrapes(now); !early.IsZero() || first != now.Add(766*time.Millisecond) {
			t.Errorf("%s begins at %s, and before at %s", name, first, early)
		}
	}
}

// scripted is a target of which some scrapes fail.
type scripted struct {
	scrapes int
	fails   map[int]bool
}

func (s *scripted) scrape(context.Context, url.Values) (answer, error) {
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

// Scrapes are an interval apart to the millisecond. The first two commits of a target,
// the two after a change and that of its end are to be looked at soon.
func TestLoopCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		selection := store.NewSelection([]store.Selector{{
			Matchers: []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, "up")},
			Window:   time.Minute,
		}})
		var commits []store.Commit
		st := store.New(selection, store.Options{OnCommit: func(c store.Commit) { commits = append(commits, c) }}, nil)
		own := job.DefaultConfig(job.DefaultGlobal())
		l := newLoop(&job.Target{Job: &own, URL: &url.URL{}, Interval: 5 * time.Second, Timeout: 5 * time.Second},
			&scripted{fails: map[int]bool{4: true}}, secret.ValuesOf(&config.HTTPClientConfig{}),
			&shared{store: st, sel: selection, logger: slog.New(slog.DiscardHandler), metrics: newMetrics(nil)})
		early, first := l.firstScrapes(time.Now())
		ctx, gone := context.WithCancel(t.Context())
		go l.run(ctx, t.Context())
		end := first.Add(5*5*time.Second + 2*time.Second)
		time.Sleep(time.Until(end))
		gone()
		synctest.Wait()

		type commit struct {
			At       string
			Interval time.Duration
		}
		var got []commit
		for _, c := range commits {
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
