package scrape

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/exposition"
	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/bridge/store"
)

// pidScrapes returns a function that scrapes an exposition once a second, in which
// the pids of the metric a are translated by pid.
func pidScrapes(t *testing.T, body string, pid func(value string) PID) (scrape func(), app *appender, st *store.Store) {
	own := job.DefaultConfig(job.DefaultGlobal())
	sel := store.NewSelection([]store.Selector{{
		Matchers: []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, "a")},
		Window:   time.Minute,
	}})
	st = store.New(sel, store.Options{}, nil)
	opts := Options{
		PIDLabels: []string{"pid"},
		PID:       func(_ context.Context, _ labels.Labels, _, value string) PID { return pid(value) },
	}
	app = newAppender(&job.Target{Job: &own, Public: labels.FromStrings("job", "j")},
		&shared{store: st, sel: sel, pids: newPIDTranslator(opts), pidLabels: opts.PIDLabels})
	at := time.UnixMilli(0)
	once := scrapeOnce(t, app, sel.Name)
	return func() {
		at = at.Add(time.Second)
		once(at, []byte(body), exposition.MediaText)
	}, app, st
}

// A process that is not found at first is found in the next scrape, and what
// stood for it goes stale.
func TestPIDIsTranslatedAgain(t *testing.T) {
	asked := 0
	scrape, app, st := pidScrapes(t, "a{pid=\"5\"} 1\na{pid=\"5\"} 1\n", func(value string) PID {
		if asked++; asked == 1 {
			return PID{Value: value + "@unknown", Lost: true}
		}
		return PID{Value: "1005"}
	})
	for i, fresh := range []int{1, 1, 0} {
		scrape()
		if app.counts.added != fresh {
			t.Errorf("scrape %d: %d series are new, want %d", i, app.counts.added, fresh)
		}
	}
	want := []string{
		`{__name__="a", job="j", pid="5@unknown"} 3ff0000000000000 @1000`,
		`{__name__="a", job="j", pid="5@unknown"} 7ff0000000000002 @2000`,
		`{__name__="a", job="j", pid="1005"} 3ff0000000000000 @2000`,
		`{__name__="a", job="j", pid="1005"} 3ff0000000000000 @3000`,
	}
	got := storeDump(t, st)
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
	if asked != 2 {
		t.Errorf("translated %d times", asked)
	}
}

// A process that is never found is looked for ever less often, and all of them
// not in one scrape. Their series stay what they are.
func TestPIDIsNeverFound(t *testing.T) {
	const series, scrapes = 640, 300
	var body bytes.Buffer
	for i := range series {
		fmt.Fprintf(&body, "a{pid=\"%d\"} 1\n", i)
	}
	asked := 0
	scrape, app, st := pidScrapes(t, body.String(), func(value string) PID {
		asked++
		return PID{Value: value + "@unknown", Lost: true}
	})
	scrape()
	scrape()
	if asked != 2*series {
		t.Errorf("translated %d times in two scrapes", asked)
	}
	for i := 2; i < scrapes; i++ {
		asked = 0
		scrape()
		if app.counts.added > 0 {
			t.Fatalf("scrape %d: %d series are new", i, app.counts.added)
		}
		if i > 200 && asked > series/10 {
			t.Errorf("scrape %d: translated %d times", i, asked)
		}
	}
	for _, s := range storeDump(t, st) {
		if !strings.Contains(s, "@unknown\"} 3ff0000000000000 ") {
			t.Fatalf("sample %s", s)
		}
	}
}

// A pid is translated again when its process has ended: a sample never goes to a
// stranger who has the translated pid now.
func TestPIDOfAnotherProcess(t *testing.T) {
	asked, lives := 0, map[string]bool{"1005": true, "1007": true}
	scrape, app, st := pidScrapes(t, "a{pid=\"5\"} 1\na{pid=\"7\"} 1\n", func(value string) PID {
		asked++
		switch {
		case value == "7":
			return PID{Value: "1007", Holds: func() bool { return lives["1007"] }}
		case lives["1005"]:
			return PID{Value: "1005", Holds: func() bool { return lives["1005"] }}
		default:
			return PID{Value: "2005", Holds: func() bool { return true }}
		}
	})
	for i, step := range []struct{ asked, added int }{{2, 2}, {2, 0}, {3, 1}, {3, 0}} {
		lives["1005"] = i < 2
		scrape()
		if asked != step.asked || app.counts.added != step.added {
			t.Errorf("scrape %d: translated %d times, %d series are new; want %+v", i, asked, app.counts.added, step)
		}
	}
	want := []string{
		`{__name__="a", job="j", pid="1005"} 3ff0000000000000 @1000`,
		`{__name__="a", job="j", pid="1005"} 3ff0000000000000 @2000`,
		`{__name__="a", job="j", pid="1005"} 7ff0000000000002 @3000`,
		`{__name__="a", job="j", pid="2005"} 3ff0000000000000 @3000`,
		`{__name__="a", job="j", pid="2005"} 3ff0000000000000 @4000`,
	}
	var got []string
	for _, s := range storeDump(t, st) {
		if !strings.Contains(s, `pid="1007"`) {
			got = append(got, s)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
	if n := len(app.cache.translated); n != 2 {
		t.Errorf("%d translations remembered of 2", n)
	}
}

// A pid is asked for once a scrape, however many series have it.
func TestPIDIsAskedForOnce(t *testing.T) {
	var body strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&body, "a{pid=\"%d\",n=\"%d\"} 1\n", i%10, i)
	}
	asked := 0
	scrape, app, _ := pidScrapes(t, body.String(), func(value string) PID {
		asked++
		return PID{Value: "100" + value}
	})
	scrape()
	if asked != 10 || app.counts.kept != 1000 {
		t.Errorf("asked %d times for the pids of %d series", asked, app.counts.kept)
	}
	scrape()
	if asked != 10 {
		t.Errorf("asked again: %d times", asked)
	}
}

// With another selection, as after a reload, nothing stays of series that it does not keep.
func TestPIDOfForgottenSeries(t *testing.T) {
	scrape, app, _ := pidScrapes(t, "a{pid=\"5\"} 1\na{pid=\"6\"} 1\n", func(value string) PID {
		return PID{Value: value, Holds: func() bool { return true }}
	})
	scrape()
	if n := len(app.cache.translated); n != 2 {
		t.Fatalf("%d series have pids that were translated, want 2", n)
	}
	app.cache.reselect(func(s *store.Series) bool { return s.Labels().Get("pid") == "6" })
	if entries, pids := len(app.cache.entries), len(app.cache.translated); entries != 1 || pids != 1 {
		t.Errorf("%d entries and %d with pids are left, want one of each", entries, pids)
	}
}
