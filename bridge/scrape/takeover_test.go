package scrape_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"

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

// A target that is asked in another way keeps its series, `up` included: while the old loop's
// grace ends, at the next scrape, and after it.
func TestReloadOfAnotherRequest(t *testing.T) {
	for name, change := range map[string]func(*job.Config){
		"interval": func(j *job.Config) { j.ScrapeInterval = model.Duration(30 * time.Second) },
		"timeout":  func(j *job.Config) { j.ScrapeTimeout = model.Duration(5 * time.Second) },
		"path":     func(j *job.Config) { j.MetricsPath = "/other" },
		"params":   func(j *job.Config) { j.Params = map[string][]string{"x": {"y"}} },
		"settings": func(j *job.Config) { j.HonorLabels = true },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *network) {
				addr := n.exporter(text, func() string { return "a 1\n" })
				before, after := jobNamed("j"), jobNamed("j")
				for _, j := range []*job.Config{before, after} {
					j.ScrapeInterval = model.Duration(15 * time.Second)
				}
				change(after)
				r := start(t, n, []*job.Config{before}, scrape.Options{}, "a", "up")
				sets := map[string][]*targetgroup.Group{"j": group(addr)}
				r.sets <- sets
				time.Sleep(time.Minute)
				r = follow(t, r, n, []*job.Config{after}, scrape.Options{}, "a", "up")
				r.sets <- sets
				want := map[string]string{
					fmt.Sprintf(`{__name__="a", instance="%s", job="j"}`, addr):  "1",
					fmt.Sprintf(`{__name__="up", instance="%s", job="j"}`, addr): "1",
				}
				for second := range 60 {
					if diff := cmp.Diff(want, r.newest(`{__name__=~"a|up"}`)); diff != "" {
						t.Fatalf("%d s after the reload (-want +got):\n%s", second, diff)
					}
					time.Sleep(time.Second)
				}
				interval := time.Duration(after.ScrapeInterval)
				if s := r.Targets()[0]; s.Interval != interval || time.Since(s.LastScrape) > interval {
					t.Errorf("asked each %s, the last time %s ago", s.Interval, time.Since(s.LastScrape))
				}
			})
		})
	}
}

// A target that goes away between a reload and its next scrape is gone at once.
func TestTargetIsGoneAfterReload(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		addr := n.exporter(text, func() string { return "a 1\n" })
		j := jobNamed("j")
		j.ScrapeInterval = model.Duration(time.Minute)
		jobs := []*job.Config{j}
		r := start(t, n, jobs, scrape.Options{}, "a", "up")
		r.sets <- map[string][]*targetgroup.Group{"j": group(addr)}
		time.Sleep(3 * time.Minute)
		r = follow(t, r, n, jobs, scrape.Options{}, "a", "up")
		r.sets <- map[string][]*targetgroup.Group{"j": group(addr)}
		time.Sleep(time.Millisecond)
		r.sets <- map[string][]*targetgroup.Group{"j": group()}
		time.Sleep(time.Millisecond)
		want := map[string]string{
			fmt.Sprintf(`{__name__="a", instance="%s", job="j"}`, addr):  "stale",
			fmt.Sprintf(`{__name__="up", instance="%s", job="j"}`, addr): "stale",
		}
		if diff := cmp.Diff(want, r.newest(`{__name__=~"a|up"}`)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// Two reloads that change the job, without a scrape between them: what the target no longer
// exposes goes stale.
func TestReloadsThatChangeTheJob(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		body := "a{i=\"1\"} 1\na{i=\"2\"} 2\n"
		addr := n.exporter(text, func() string { return body })
		var r *rig
		for _, honor := range []bool{false, true, false} {
			j := jobNamed("j")
			j.ScrapeInterval, j.HonorLabels = model.Duration(15*time.Second), honor
			r = follow(t, r, n, []*job.Config{j}, scrape.Options{}, "a")
			r.sets <- map[string][]*targetgroup.Group{"j": group(addr)}
			if honor {
				time.Sleep(time.Millisecond)
				body = "a{i=\"1\"} 1\n"
			} else {
				time.Sleep(20 * time.Second)
			}
		}
		want := map[string]string{
			fmt.Sprintf(`{__name__="a", i="1", instance="%s", job="j"}`, addr): "1",
			fmt.Sprintf(`{__name__="a", i="2", instance="%s", job="j"}`, addr): "stale",
		}
		if diff := cmp.Diff(want, r.newest("a")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// Whether a target may have the labels of who answers is judged anew after a reload: the
// host's name may be configured now.
func TestReloadJudgesAnew(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		addr := n.exporter(text, func() string { return "a 1\nnode_uname_info{nodename=\"web1\"} 1\n" })
		jobs := []*job.Config{jobNamed("j")}
		sets := map[string][]*targetgroup.Group{"j": group(addr)}
		r := start(t, n, jobs, scrape.Options{Origin: accepted, Own: judge}, "a", "up")
		r.sets <- sets
		common := fmt.Sprintf(`instance="%s", job="j", `, addr)
		time.Sleep(time.Second)
		if s := r.Targets()[0]; s.Withheld != "is on web1" || s.Labels.Has("target_host") {
			t.Errorf("before the reload: %+v", s)
		}
		knows := func(origin labels.Labels, _ scrape.Testimony) (labels.Labels, string) { return origin, "" }
		r = follow(t, r, n, jobs, scrape.Options{Origin: accepted, Own: knows}, "a", "up")
		r.sets <- sets
		time.Sleep(time.Second)
		if s := r.Targets()[0]; s.Withheld != "" || s.Labels.Get("target_host") != "this" {
			t.Errorf("after the reload: %+v", s)
		}
		for _, name := range []string{"a", "up"} {
			want := map[string]string{
				`{__name__="` + name + `", ` + common + `target_host="this", target_pid="70"}`: "1",
				`{__name__="` + name + `", ` + common + `target_pid="70"}`:                     "stale",
			}
			if diff := cmp.Diff(want, r.newest(name)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
	})
}
