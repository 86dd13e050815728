package scrape

import (
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/exposition"
	"github.com/promscope/promscope/bridge/store"
)

// scrapeOf returns a function that scrapes an exposition into a store, in the
// steady state.
func scrapeOf(t testing.TB, body []byte, media string, selector store.Selector) (scrape func(), app *appender) {
	in := input{selection: []store.Selector{selector}}
	app, sel := benchTarget(in)
	at := time.Unix(1_700_000_000, 0)
	once := scrapeOnce(t, app, sel.Name)
	scrape = func() {
		at = at.Add(time.Second)
		once(at, body, media)
	}
	for range int(selector.Window/time.Second) + 10 { // until the rings have their size
		scrape()
	}
	return scrape, app
}

func matching(kind labels.MatchType, value, label, labelValue string) store.Selector {
	ms := []*labels.Matcher{labels.MustNewMatcher(kind, model.MetricNameLabel, value)}
	if label != "" {
		ms = append(ms, labels.MustNewMatcher(labels.MatchEqual, label, labelValue))
	}
	return store.Selector{Window: 8 * time.Second, Matchers: ms}
}

// TestAllocations holds what a scrape allocates independent of the number of
// series: a parser per piece, and the list of rules.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector takes memory of its own")
	}
	const perPiece, pieces = 14, 4
	name := "synthetic_subsystem_metric_0050_total"
	for _, media := range []string{exposition.MediaText, exposition.MediaProto} {
		bodies := map[int][]byte{10_000: generated(10_000), 100_000: generated(100_000)}
		if media == exposition.MediaProto {
			for series, text := range bodies {
				bodies[series] = protobuf(t, text)
			}
		}
		for what, c := range map[string]struct {
			series   int
			selector store.Selector
			kept     int
		}{
			"one family of 10k":              {10_000, matching(labels.MatchEqual, name, "", ""), 100},
			"one family of 100k":             {100_000, matching(labels.MatchEqual, name, "", ""), 100},
			"one device of one family":       {10_000, matching(labels.MatchEqual, name, "device", "dev3"), 10},
			"ten families of 100k":           {100_000, matching(labels.MatchRegexp, "synthetic_subsystem_metric_005.*", "", ""), 1000},
			"one device, by its labels only": {10_000, matching(labels.MatchRegexp, "synthetic_.*", "path", "/api/v1/resource/7"), 100},
		} {
			t.Run(media+"/"+what, func(t *testing.T) {
				scrape, app := scrapeOf(t, bodies[c.series], media, c.selector)
				if app.counts.exposed != c.series || app.counts.kept != c.kept || len(app.cache.entries) != c.kept {
					t.Fatalf("counts %+v, %d remembered", app.counts, len(app.cache.entries))
				}
				limit := float64(perPiece * pieces)
				if what == "one device, by its labels only" && media == exposition.MediaProto {
					limit = perPiece * 40 // all families are parsed
				}
				if n := testing.AllocsPerRun(10, scrape); n > limit {
					t.Errorf("%v allocations", n)
				}
			})
		}
	}
}

// TestBytesPerSeries holds the memory that a selected series costs, with all
// that the scraper and the store know of it, and the samples of a window: eight
// scrapes for rate(x[$__rate_interval]), 25 for the longer ones that rules have
// of what is scraped each second.
func TestBytesPerSeries(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector takes memory of its own")
	}
	const series, limit = 20_000, 700
	body := generated(series)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for _, window := range []time.Duration{8 * time.Second, 25 * time.Second} {
		t.Run(window.String(), func(t *testing.T) {
			selector := matching(labels.MatchRegexp, "synthetic_.*", "", "")
			selector.Window = window
			before := heap()
			scrape, app := scrapeOf(t, body, exposition.MediaText, selector)
			per := float64(heap()-before) / series
			if app.counts.kept != series {
				t.Fatalf("counts %+v", app.counts)
			}
			t.Logf("%.0f bytes per selected series", per)
			if per > limit {
				t.Errorf("%.0f bytes per selected series", per)
			}
			runtime.KeepAlive(scrape)
		})
	}
}
