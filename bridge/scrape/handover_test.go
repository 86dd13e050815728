package scrape_test

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/promscope/promscope/bridge/scrape"
	"github.com/promscope/promscope/bridge/scrape/job"
)

// samples returns the samples of the series a, in order of their times.
func (r *rig) samples() (at []time.Time, values []float64) {
	r.t.Helper()
	q, _ := r.store.Querier(0, math.MaxInt64)
	defer q.Close()
	set := q.Select(context.Background(), true, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", "a"))
	for set.Next() {
		it := set.At().Iterator(nil)
		for it.Next() != chunkenc.ValNone {
			t, v := it.At()
			at, values = append(at, time.UnixMilli(t)), append(values, v)
		}
	}
	return at, values
}

// A target takes longer to answer than there is between reloads. It is asked once each interval, and each answer
// is a sample at its time, also while the selection changes.
func TestScrapesOutliveReloads(t *testing.T) {
	for name, selectors := range map[string][2][]string{
		"the same selection": {{"a"}, {"a"}},
		"another selection":  {{"a"}, {"b", "a"}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *network) {
				const interval, takes = 5 * time.Second, time.Second
				var asked atomic.Int64
				addr := n.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", text)
					count := asked.Add(1)
					select {
					case <-time.After(takes):
					case <-r.Context().Done():
					}
					_, _ = fmt.Fprintf(w, "a %d\nb 1\n", count)
				}))
				j := jobNamed("j")
				j.ScrapeInterval = model.Duration(interval)
				sets := map[string][]*targetgroup.Group{"j": group(addr)}
				r := start(t, n, []*job.Config{j}, scrape.Options{}, selectors[0]...)
				r.sets <- sets
				for i := range 100 { // half a minute
					time.Sleep(300 * time.Millisecond)
					r = follow(t, r, n, []*job.Config{j}, scrape.Options{}, selectors[i%2]...)
					r.sets <- sets
				}
				time.Sleep(10 * time.Second)
				at, values := r.samples()
				if n := int64(len(at)); n < 7 || asked.Load() > n+1 {
					t.Errorf("asked %d times, and %d samples", asked.Load(), n)
				}
				for i := range at {
					if values[i] != float64(i+1) {
						t.Errorf("sample %d is %v", i, values[i])
					}
					// The first one is sooner than the regular ones.
					if i > 1 && at[i].Sub(at[i-1]) != interval {
						t.Errorf("sample %d comes %v after the last one", i, at[i].Sub(at[i-1]))
					}
				}
				if s := r.Targets()[0]; s.Health != scrape.HealthUp {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// What a scrape under way would be right for no more is broken off: the job has other settings, the target is gone, or
// promscope ends.
func TestScrapesThatEnd(t *testing.T) {
	for name, reload := range map[string]func(r *rig, n *network, j job.Config, sets map[string][]*targetgroup.Group) *rig{
		"other settings": func(r *rig, n *network, j job.Config, sets map[string][]*targetgroup.Group) *rig {
			j.HonorLabels = true
			r = follow(r.t, r, n, []*job.Config{&j}, scrape.Options{}, "a")
			r.sets <- sets
			time.Sleep(time.Millisecond)
			return r
		},
		"another interval": func(r *rig, n *network, j job.Config, sets map[string][]*targetgroup.Group) *rig {
			j.ScrapeInterval = model.Duration(time.Minute)
			r = follow(r.t, r, n, []*job.Config{&j}, scrape.Options{}, "a")
			r.sets <- sets
			time.Sleep(time.Millisecond)
			return r
		},
		"gone": func(r *rig, n *network, j job.Config, _ map[string][]*targetgroup.Group) *rig {
			r = follow(r.t, r, n, []*job.Config{&j}, scrape.Options{}, "a")
			r.sets <- map[string][]*targetgroup.Group{"j": group()}
			time.Sleep(5*time.Second + time.Millisecond) // it may be discovered yet
			return r
		},
		"gone later": func(r *rig, n *network, j job.Config, sets map[string][]*targetgroup.Group) *rig {
			r = follow(r.t, r, n, []*job.Config{&j}, scrape.Options{}, "a")
			r.sets <- sets
			time.Sleep(time.Millisecond)
			r.sets <- map[string][]*targetgroup.Group{"j": group()}
			time.Sleep(time.Millisecond)
			return r
		},
		"the end": func(r *rig, n *network, j job.Config, sets map[string][]*targetgroup.Group) *rig {
			for range 3 {
				r = follow(r.t, r, n, []*job.Config{&j}, scrape.Options{}, "a")
				r.sets <- sets
				time.Sleep(time.Millisecond)
			}
			r.stop()
			time.Sleep(time.Millisecond)
			return r
		},
		"the end before a set": func(r *rig, n *network, j job.Config, _ map[string][]*targetgroup.Group) *rig {
			r = follow(r.t, r, n, []*job.Config{&j}, scrape.Options{}, "a")
			r.stop()
			time.Sleep(time.Millisecond)
			return r
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *network) {
				var hanging, ended atomic.Int64
				addr := n.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", text)
					if hanging.Add(1) > 1 {
						_, _ = io.WriteString(w, "a 2\n")
						return
					}
					<-r.Context().Done()
					ended.Add(1)
				}))
				j := jobNamed("j")
				j.ScrapeInterval, j.ScrapeTimeout = model.Duration(time.Minute), model.Duration(time.Minute)
				if name == "another interval" {
					j.ScrapeInterval, j.ScrapeTimeout = model.Duration(50*time.Second), model.Duration(50*time.Second)
				}
				sets := map[string][]*targetgroup.Group{"j": group(addr)}
				r := start(t, n, []*job.Config{j}, scrape.Options{}, "a")
				r.sets <- sets
				time.Sleep(2 * time.Second)
				if hanging.Load() != 1 || ended.Load() != 0 {
					t.Fatal("no scrape hangs")
				}
				r = reload(r, n, *j, sets)
				if ended.Load() != 1 {
					t.Error("the scrape goes on")
				}
				_, values := r.samples()
				for _, v := range values {
					if v != 2 && !value.IsStaleNaN(v) {
						t.Errorf("a sample of %v", v)
					}
				}
			})
		})
	}
}
