package scrape_test

import (
	"context"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/promscope/promscope/bridge/scrape"
)

// What a collector gathers too late is of no scrape: each sample has the value of its time.
func TestLateGather(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		var calls atomic.Int32
		clock := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "clock", Help: "Milliseconds since 1970."}, func() float64 {
			return float64(time.Now().UnixMilli())
		})
		reg := prometheus.NewRegistry()
		reg.MustRegister(clock)
		slow := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
			call := calls.Add(1)
			if call == 5 {
				time.Sleep(250 * time.Millisecond) // before it reads
			}
			families, err := reg.Gather()
			if call == 3 {
				time.Sleep(120 * time.Millisecond)
			}
			return families, err
		})
		r := start(t, n, nil, scrape.Options{InProcess: []scrape.InProcess{{Name: "slow", Gatherer: slow, Interval: 100 * time.Millisecond}}}, "clock")
		time.Sleep(1950 * time.Millisecond)
		r.stop()

		q, err := r.store.Querier(0, math.MaxInt64)
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		set := q.Select(context.Background(), false, nil, labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, "clock"))
		samples := 0
		for set.Next() {
			for it := set.At().Iterator(nil); it.Next() != chunkenc.ValNone; {
				at, v := it.At()
				if value.IsStaleNaN(v) {
					continue
				}
				samples++
				if v != float64(at) {
					t.Errorf("at %d the clock is %v ms off", at, v-float64(at))
				}
			}
		}
		if samples != int(calls.Load())-2 || samples < 14 { // the two late ones are over after three more intervals
			t.Errorf("%d samples of %d gatherings in 19 intervals", samples, calls.Load())
		}
	})
}
