package scrape_test

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/promscope/promscope/bridge/scrape"
)

// A counter, a histogram and a summary of this process that are created between two
// gatherings have a sample of zero from then, so that rules see what was counted since.
func TestBirths(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		reg := prometheus.NewRegistry()
		errors := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "promscope_errors_total", Help: "E."}, []string{"code"})
		seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "promscope_seconds", Help: "S.", Buckets: []float64{1, 5}}, []string{"code"})
		level := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "promscope_level", Help: "L."}, []string{"code"})
		trips := prometheus.NewSummaryVec(prometheus.SummaryOpts{Name: "promscope_trips", Help: "T."}, []string{"code"})
		reg.MustRegister(errors, seconds, level, trips)
		r := start(t, n, nil, scrape.Options{InProcess: []scrape.InProcess{{
			Name: "mine", Gatherer: reg, Interval: time.Second, Labels: labels.FromStrings("zone", "z"),
		}}}, `promscope_errors_total`, `promscope_seconds`, `promscope_seconds_bucket`, `promscope_level`,
			`promscope_trips_count`, `promscope_trips_sum`)
		time.Sleep(3500 * time.Millisecond)
		created := time.Now()
		errors.WithLabelValues("500").Add(50)
		level.WithLabelValues("500").Set(50)
		seconds.WithLabelValues("500").Observe(3)
		trips.WithLabelValues("500").Observe(3)
		time.Sleep(2 * time.Second)

		got := map[string][]string{}
		q, _ := r.store.Querier(0, math.MaxInt64)
		defer q.Close()
		all := labels.MustNewMatcher(labels.MatchEqual, "code", "500")
		for set := q.Select(context.Background(), true, nil, all); set.Next(); {
			name := set.At().Labels().Get("__name__") + set.At().Labels().Get("le")
			it := set.At().Iterator(nil)
			for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
				at := time.UnixMilli(it.AtT()).Sub(created.Truncate(time.Millisecond))
				if kind == chunkenc.ValFloatHistogram {
					_, h := it.AtFloatHistogram(nil)
					got[name] = append(got[name], fmt.Sprintf("%s: %v of %v s", at, h.Count, h.Sum))
				} else {
					_, v := it.At()
					got[name] = append(got[name], fmt.Sprintf("%s: %v", at, v))
				}
			}
		}
		first := created.Truncate(time.Second).Add(time.Second).Sub(created.Truncate(time.Millisecond))
		at := func(text string) []string {
			return []string{fmt.Sprintf("%s: %s", first, text), fmt.Sprintf("%s: %s", first+time.Second, text)}
		}
		want := map[string][]string{
			"promscope_errors_total":       append([]string{"0s: 0"}, at("50")...),
			"promscope_seconds":            append([]string{"0s: 0 of 0 s"}, at("1 of 3 s")...),
			"promscope_seconds_bucket1.0":  append([]string{"0s: 0"}, at("0")...),
			"promscope_seconds_bucket5.0":  append([]string{"0s: 0"}, at("1")...),
			"promscope_seconds_bucket+Inf": append([]string{"0s: 0"}, at("1")...),
			"promscope_trips_count":        append([]string{"0s: 0"}, at("1")...),
			"promscope_trips_sum":          append([]string{"0s: 0"}, at("3")...),
			"promscope_level":              at("50"),
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("samples after the creation (-want +got):\n%s", diff)
		}
	})
}
