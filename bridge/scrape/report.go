package scrape

import (
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/store"
)

// reporter makes the series that a scrape has about itself.
type reporter struct {
	series [reports]*store.Series // nil where no rule selects it
	live   bool                   // samples were appended
}

const (
	reports = 8
	// extraReports is where those begin that only extra_scrape_metrics asks for.
	extraReports = 5
)

// reportNames in the order of values.
func reportNames() [reports]string {
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

// result is what a scrape came to.
type result struct {
	counts
	duration  time.Duration
	bytes     int64
	mediaType string
	err       error
}

// retarget resolves the series for the target's labels. It returns those that
// have to go stale.
func (r *reporter) retarget(st *store.Store, job *Config, target labels.Labels) (old []*store.Series) {
	old = r.liveSeries()
	*r = reporter{}
	lb := labels.NewBuilder(target)
	for i, name := range reportNames() {
		if i >= extraReports && !job.ExtraScrapeMetrics {
			break
		}
		if s, ok := st.Series(lb.Set(model.MetricNameLabel, name).Labels()); ok {
			r.series[i] = s
		}
	}
	return old
}

func (r *reporter) liveSeries() (live []*store.Series) {
	for _, s := range r.series {
		if s != nil && r.live {
			live = append(live, s)
		}
	}
	return live
}

func (r *reporter) append(b *store.Batch, job *Config, t *target, at int64, res *result) {
	up := 1.0
	if res.err != nil {
		up = 0
	}
	values := [reports]float64{
		up,
		res.duration.Seconds(),
		float64(res.samples),
		float64(res.relabels),
		float64(res.fresh),
		t.timeout.Seconds(),
		float64(job.SampleLimit),
		float64(bodySize(res)),
	}
	for i, s := range r.series {
		if s != nil {
			b.Append(s, at, values[i])
		}
	}
	r.live = true
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
