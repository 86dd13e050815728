package store

import (
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

// A reader that has time sees every series that is there all the while, and none twice,
// while others come and go.
func TestBrowse(t *testing.T) {
	named := []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, "a")}
	st := New(NewSelection([]Selector{{Matchers: named, Window: time.Second}}), Options{MaxSeries: 1 << 20}, nil)
	commit := func(at int64, names ...string) {
		batch := st.Batch()
		for _, name := range names {
			s, _ := st.Series(labels.FromStrings("__name__", "a", "n", name))
			batch.Append(s, at, 1)
		}
		batch.Commit(time.UnixMilli(at), time.Second)
	}
	var lasting []string
	for i := range 3 * browsed {
		lasting = append(lasting, strconv.Itoa(i))
	}
	commit(0, lasting...)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 200 {
			at := int64(i+1) * 500
			commit(at, append([]string{"passing" + strconv.Itoa(i)}, lasting...)...)
		}
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		seen := map[string]int{}
		st.each(named, false, func(s *Series) { seen[s.labels.Get("n")]++ })
		for _, name := range lasting {
			if seen[name] != 1 {
				t.Fatalf("series %s was seen %d times", name, seen[name])
			}
		}
	}
}
