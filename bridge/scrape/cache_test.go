package scrape

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/exposition"
	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/bridge/store"
)

// A scrape that ends too early is not in vain: what it worked out of its series is known
// to the next one. Scrapes that fail with other series each time do not fill the cache.
func TestFailedScrapesAreRemembered(t *testing.T) {
	const series, enough = 30_000, 20_000
	sel := store.NewSelection([]store.Selector{{Window: time.Minute, Matchers: []*labels.Matcher{
		labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, "work"),
	}}})
	st := store.New(sel, store.Options{}, nil)
	config := job.DefaultConfig(job.DefaultGlobal())
	questions := 0
	app := newAppender(&job.Target{Job: &config, Public: labels.FromStrings("job", "j")}, &shared{
		store: st, sel: sel, pidLabels: []string{"pid"},
		pids: func(context.Context, labels.Labels, *labels.Builder, knownPIDs) translation {
			questions++
			return translation{}
		},
	})
	timeout := errors.New("timeout")
	seconds := int64(0)
	scrape := func(from, until int, end error) (asked int) {
		t.Helper()
		var body bytes.Buffer
		for i := from; i < until; i++ {
			fmt.Fprintf(&body, "work{pid=\"%d\"} %d\n", i, i)
		}
		questions = 0
		seconds++
		at := time.Unix(seconds, 0)
		app.begin(at)
		var r exposition.Reader
		r.Reset(io.MultiReader(&body, iotest.ErrReader(end)), exposition.MediaText,
			exposition.Options{Parser: config.ParserOptions(), WantName: sel.Name, Labels: app.labels, Take: app.take})
		err := app.exposition(t.Context(), &r)
		switch {
		case !errors.Is(err, end) && !errors.Is(end, io.EOF):
			t.Fatalf("%v, want %v", err, end)
		case err != nil:
			app.batch.Reset()
			app.cache.fail(app.stale)
		default:
			app.cache.succeed(app.stale)
		}
		app.batch.Commit(at, time.Second)
		return questions
	}

	// What was read before the timeout, but for the last piece.
	first := scrape(0, enough, timeout)
	if first < enough*3/4 {
		t.Fatalf("%d series were worked out before the timeout", first)
	}
	if got := scrape(0, series, io.EOF); got != series-first {
		t.Errorf("%d series were worked out anew, want %d", got, series-first)
	}
	if st.Len() != series {
		t.Errorf("%d series in the store, want %d", st.Len(), series)
	}
	if got := scrape(0, series, io.EOF); got != 0 {
		t.Errorf("%d series were worked out although all are known", got)
	}
	for i := range 10 {
		scrape((i+1)*10*series, ((i+1)*10+5)*series, timeout)
	}
	if got := len(app.cache.entries); got > 6*series+1000 {
		t.Errorf("%d series are remembered after scrapes of %d", got, 5*series)
	}
}
