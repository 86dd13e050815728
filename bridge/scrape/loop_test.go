package scrape

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A new target is scraped within a second, then at its own offset in the interval,
// and there is a distance between the two.
func TestFirstScrapes(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 1, 234_000_000, time.UTC)
	for _, interval := range []time.Duration{100 * time.Millisecond, time.Second, 5 * time.Second, time.Minute} {
		for i := range 1000 {
			key := fmt.Sprint("target ", i)
			l := &loop{target: &target{interval: interval, url: &url.URL{}}, key: key}
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
		l := &loop{target: target, key: target.key()}
		if early, first := l.firstScrapes(now); !early.IsZero() || first != now.Add(766*time.Millisecond) {
			t.Errorf("%s begins at %s, and before at %s", name, first, early)
		}
	}
}
