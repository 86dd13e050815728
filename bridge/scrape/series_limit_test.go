package scrape

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/promscope/promscope/bridge/exposition"
	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/bridge/scrape/request"
	"github.com/promscope/promscope/bridge/store"
)

// selectsA is a store of so many series with the name a, and the expositions that are put into it.
type selectsA struct {
	t  *testing.T
	st *store.Store
	at time.Time
}

func newSelectsA(t *testing.T, maxSeries int) *selectsA {
	t.Helper()
	matchers, err := parser.NewParser(parser.Options{}).ParseMetricSelector("a")
	if err != nil {
		t.Fatal(err)
	}
	selection := store.NewSelection([]store.Selector{{Matchers: matchers, Window: time.Minute}})
	return &selectsA{t, store.New(selection, store.Options{MaxSeries: maxSeries}, nil), time.Unix(1_700_000_000, 0)}
}

// target returns an appender of a target.
func (s *selectsA) target(instance string) *appender {
	config := job.DefaultConfig(job.DefaultGlobal())
	return newAppender(&job.Target{Job: &config, Public: labels.FromStrings("instance", instance)}, &shared{store: s.st, sel: s.st.Selection()})
}

// scrape scrapes an exposition as a loop does, a second after the last one, and returns the error's reason and text.
func (s *selectsA) scrape(app *appender, body string) (reason, text string) {
	s.t.Helper()
	s.at = s.at.Add(time.Second)
	app.begin(s.at)
	var r exposition.Reader
	r.Reset(strings.NewReader(body), exposition.MediaText, exposition.Options{Parser: app.job.ParserOptions(), WantName: s.st.Selection().Name, Labels: app.labels, Take: app.take})
	err := app.exposition(s.t.Context(), &r)
	if err != nil {
		app.batch.Reset()
		app.cache.fail(app.stale)
		reason, text = request.Reason(err), err.Error()
	} else {
		app.cache.succeed(app.stale)
	}
	if limited := app.batch.Commit(s.at, time.Second).Limited; limited != 0 {
		s.t.Errorf("%d samples had no room", limited)
	}
	return reason, text
}

// series returns an exposition with the series a of these values of a label, and one that nobody wants.
func series(values ...string) string {
	body := "other 1\n"
	for _, v := range values {
		body += "a{v=\"" + v + "\"} 1\n"
	}
	return body
}

// A target whose series have no room beside those that are kept is down as a whole. The neighbours keep theirs.
func TestSeriesLimit(t *testing.T) {
	s := newSelectsA(t, 10)
	neighbour, other := s.target("neighbour"), s.target("other")
	letters := strings.Split("abcdefghijkl", "")
	for _, step := range []struct {
		what   string
		target *appender
		body   string
		reason string
		text   string
		len    int
	}{
		{"the first one", neighbour, series(letters[:4]...), "", "", 4},
		{"too many beside it", other, series(letters[:7]...), "series_limit", "limits.max_series of 10 exceeded: there is room for 6 more, and rules select 7 new ones of this target", 4},
		{"the first one again", neighbour, series(letters[:4]...), "", "", 4},
		{"as many as have room", other, series(letters[:6]...), "", "", 10},
		{"one more", other, series(letters[:7]...), "series_limit", "limits.max_series of 10 exceeded: there is room for 0 more, and rules select 1 new ones of this target", 10},
		{"the first one, full", neighbour, series(letters[:4]...), "", "", 10},
		{"fewer", other, series(letters[:5]...), "", "", 10},
		{"more than there may be at all", other, series(letters...), "series_limit", "limits.max_series of 10 exceeded: rules select more of this target alone", 10},
		{"the same again", other, series(letters...), "series_limit", "limits.max_series of 10 exceeded: rules select more of this target alone", 10},
		{"fewer again", other, series(letters[:6]...), "", "", 10},
	} {
		if reason, text := s.scrape(step.target, step.body); reason != step.reason || text != step.text {
			t.Errorf("%s: %q %q", step.what, reason, text)
		}
		if n := s.st.Len(); n != step.len {
			t.Errorf("%s: %d series", step.what, n)
		}
		if n := len(step.target.cache.entries); n > 11 {
			t.Errorf("%s: the cache has %d entries", step.what, n)
		}
	}
}

// Each KiB of labels counts as one more series.
func TestSeriesLimitLongLabels(t *testing.T) {
	s := newSelectsA(t, 100)
	app, long := s.target("x"), strings.Repeat("x", 9<<10)
	if reason, text := s.scrape(app, series(long+"1", long+"2", long+"3")); reason != "" {
		t.Error(text)
	}
	if reason, _ := s.scrape(app, series(strings.Split(strings.Repeat(long+" ", 11), " ")[:11]...)); reason != "" {
		t.Error("eleven times the same series is one")
	}
	var values []string
	for _, letter := range strings.Split("abcdefghijk", "") {
		values = append(values, letter+long)
	}
	if reason, _ := s.scrape(app, series(values...)); reason != "series_limit" {
		t.Errorf("11 series of 9 KiB: %q", reason)
	}
	if n := s.st.Len(); n != 4 {
		t.Errorf("%d series", n)
	}
}
