package scrape

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"

	"github.com/promscope/promscope/bridge/exposition"
	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/bridge/store"
)

// A replay does what a scrape does, but for up and for timestamps of another time.
func TestReplay(t *testing.T) {
	job := job.DefaultConfig(job.DefaultGlobal())
	job.MetricRelabelConfigs = []*relabel.Config{
		{Action: relabel.Drop, SourceLabels: model.LabelNames{"x"}, Regex: relabel.MustNewRegexp("2"), Separator: ";", NameValidationScheme: model.UTF8Validation},
		{
			Action: relabel.Replace, SourceLabels: model.LabelNames{"__name__"}, Regex: relabel.MustNewRegexp("old_(.*)"),
			TargetLabel: "__name__", Replacement: "$1", Separator: ";", NameValidationScheme: model.UTF8Validation,
		},
	}
	st := store.New(store.NewSelection([]store.Selector{{
		Matchers: []*labels.Matcher{labels.MustNewMatcher(labels.MatchRegexp, "__name__", "a|up")},
		Window:   time.Minute,
	}}), store.Options{}, nil)
	r := NewReplay(&job, labels.FromStrings("job", "j"), nil, st)
	scrape := func(second int64, body string) ([]string, error) {
		replayed, err := r.Scrape(t.Context(), time.Unix(second, 0), strings.NewReader(body), exposition.MediaText)
		got := []string{fmt.Sprint(replayed.Samples, replayed.Kept)}
		for _, s := range replayed.Series {
			got = append(got, s.Before.String()+" "+s.After.String())
		}
		return got, err
	}
	got, err := scrape(10, "old_a{x=\"1\",job=\"z\"} 1 1700000000000\na{x=\"2\"} 1\na{x=\"3\"} 1\nother 1")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"4 2",
		`{__name__="old_a", exported_job="z", job="j", x="1"} {__name__="a", exported_job="z", job="j", x="1"}`,
		`{__name__="a", job="j", x="2"} {}`,
		`{__name__="a", job="j", x="3"} {__name__="a", job="j", x="3"}`,
		`{__name__="other", job="j"} {__name__="other", job="j"}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the first exposition (-want +got):\n%s", diff)
	}
	if _, err := scrape(15, "a{x=\"3\"} 2\na{x=\n"); err == nil {
		t.Error("no error for a malformed exposition")
	}
	got, err = scrape(20, "a{x=\"3\"} 4\n")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"1 1", `{__name__="a", job="j", x="3"} {__name__="a", job="j", x="3"}`}, got); diff != "" {
		t.Errorf("the last exposition (-want +got):\n%s", diff)
	}
	want = []string{
		`{__name__="a", exported_job="z", job="j", x="1"} 3ff0000000000000 @10000`,
		`{__name__="a", exported_job="z", job="j", x="1"} 7ff0000000000002 @20000`, // stale
		`{__name__="a", job="j", x="3"} 3ff0000000000000 @10000`,
		`{__name__="a", job="j", x="3"} 4010000000000000 @20000`,
	}
	if diff := cmp.Diff(want, storeDump(t, st)); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
}
