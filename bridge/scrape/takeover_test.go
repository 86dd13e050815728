package scrape_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/discovery/targetgroup"

	"github.com/promscope/promscope/bridge/scrape"
	"github.com/promscope/promscope/bridge/scrape/job"
)

// Managers that follow each other each second: a target that stays goes on, and one that is gone goes
// stale in time.
func TestReloadsInARow(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		stays, gone := n.exporter(text, func() string { return "a 1\n" }), n.exporter(text, func() string { return "a 2\n" })
		jobs := []*job.Config{jobNamed("j")}
		r := start(t, n, jobs, scrape.Options{}, "a")
		r.sets <- map[string][]*targetgroup.Group{"j": group(stays, gone)}
		name := func(address string) string { return fmt.Sprintf(`{__name__="a", instance="%s", job="j"}`, address) }
		r.eventually("a", map[string]string{name(stays): "1", name(gone): "2"})
		for second := range 8 {
			r = follow(t, r, n, jobs, scrape.Options{}, "a")
			r.sets <- map[string][]*targetgroup.Group{"j": group(stays)}
			time.Sleep(time.Second)
			want := map[string]string{name(stays): "1", name(gone): "2"}
			if second >= 5 {
				want[name(gone)] = "stale"
			}
			if diff := cmp.Diff(want, r.newest("a")); diff != "" && second != 4 { // when the grace ends
				t.Errorf("second %d: (-want +got)\n%s", second, diff)
			}
		}
	})
}
