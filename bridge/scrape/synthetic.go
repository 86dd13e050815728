package scrape

import (
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/bridge/store"
)

// syntheticSeries are the series that a scrape has about itself: up and scrape_*.
type syntheticSeries struct {
	series [syntheticCount]*store.Series // nil where no rule selects it
	live   bool                          // samples were appended
}

const (
	syntheticCount = 8
	// extraSynthetic is the first of those that only extra_scrape_metrics adds.
	extraSynthetic = 5
)

// syntheticNames returns the metric names, in the order of the values.
func syntheticNames() [syntheticCount]string {
	return [...]string{
		"up",
		"scrape_duration_seconds",
		"scrape_samples_scraped",
		"scrape_samples_post_metric_relabeling",
		"scrape_series_added",
		"scrape_timeout_seconds",
		"scrape_sample_limit",
		"scrape_body_size_bytes",
	}
}

// retarget gives the series new target labels. It returns the old series, which have to
// go stale.
func (s *syntheticSeries) retarget(st *store.Store, job *job.Config, target labels.Labels) (old []*store.Series) {
	old = s.liveSeries()
	*s = syntheticSeries{}
	lb := labels.NewBuilder(target)
	for i, name := range syntheticNames() {
		if i >= extraSynthetic && !job.ExtraScrapeMetrics {
			break
		}
		if series, ok := st.Series(lb.Set(model.MetricNameLabel, name).Labels()); ok {
			s.series[i] = series
		}
	}
	return old
}

func (s *syntheticSeries) liveSeries() (live []*store.Series) {
	for _, series := range s.series {
		if series != nil && s.live {
			live = append(live, series)
		}
	}
	return live
}

func (s *syntheticSeries) append(b *store.Batch, job *job.Config, t *job.Target, at int64, res *result) {
	up := 1.0
	if res.err != nil {
		up = 0
	}
	values := [syntheticCount]float64{
		up,
		res.duration.Seconds(),
		float64(res.exposed),
		float64(res.relabelled),
		float64(res.added),
		t.Timeout.Seconds(),
		float64(job.SampleLimit),
		float64(bodySize(res)),
	}
	for i, series := range s.series {
		if series != nil {
			b.Append(series, at, values[i])
		}
	}
	s.live = true
}

// bodySize is what Prometheus reports: -1 for a body over the limit, 0 for any
// other failure.
func bodySize(res *result) int64 {
	switch {
	case res.err == nil:
		return res.bytes
	case reasonOf(res.err) == "body_size_limit":
		return -1
	default:
		return 0
	}
}
