package scrape

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	scrapes  *prometheus.CounterVec
	failures *prometheus.CounterVec
	duration *prometheus.HistogramVec
	bytes    *prometheus.CounterVec
	exposed  *prometheus.GaugeVec
	kept     *prometheus.GaugeVec
	targets  *prometheus.GaugeVec
	dropped  *prometheus.GaugeVec

	narrowBytes  *prometheus.GaugeVec
	narrowSeries *prometheus.GaugeVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	job, stage := []string{"job"}, []string{"job", "stage"}
	factory := promauto.With(reg)
	return &metrics{
		scrapes: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "promscope_scrapes_total",
			Help: "Scrapes done, failed ones included.",
		}, job),
		failures: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "promscope_scrape_failures_total",
			Help: "Scrapes that failed, by reason.",
		}, []string{"job", "reason"}),
		duration: factory.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "promscope_scrape_duration_seconds",
			Help:    "Time from the request of a scrape to its commit.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, job),
		bytes: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "promscope_scrape_body_bytes_total",
			Help: "Bytes of expositions read, uncompressed.",
		}, job),
		exposed: factory.NewGaugeVec(prometheus.GaugeOpts{
			Name: "promscope_scrape_series_exposed",
			Help: "Series that the targets' last good scrapes exposed.",
		}, job),
		kept: factory.NewGaugeVec(prometheus.GaugeOpts{
			Name: "promscope_scrape_series_kept",
			Help: "Series of the targets' last good scrapes that a rule selects.",
		}, job),
		targets: factory.NewGaugeVec(prometheus.GaugeOpts{
			Name: "promscope_targets",
			Help: "Targets by health.",
		}, []string{"job", "health"}),
		dropped: factory.NewGaugeVec(prometheus.GaugeOpts{
			Name: "promscope_targets_dropped",
			Help: "Discovered targets that are not scraped, because relabelling dropped them or they are invalid.",
		}, job),
		narrowBytes: factory.NewGaugeVec(prometheus.GaugeOpts{
			Name: "promscope_scrape_narrow_bytes",
			Help: "Size of the expositions of targets that are asked for less, before and after.",
		}, stage),
		narrowSeries: factory.NewGaugeVec(prometheus.GaugeOpts{
			Name: "promscope_scrape_narrow_series",
			Help: "Series exposed by targets that are asked for less, before and after.",
		}, stage),
	}
}

// narrow adds what a narrowed target came to, or with a sign of -1 takes it
// away.
func (m *metrics) narrow(job string, n *Narrowed, sign float64) {
	if n == nil || n.Query == "" {
		return
	}
	m.narrowBytes.WithLabelValues(job, "before").Add(sign * float64(n.BytesBefore))
	m.narrowBytes.WithLabelValues(job, "after").Add(sign * float64(n.BytesAfter))
	m.narrowSeries.WithLabelValues(job, "before").Add(sign * float64(n.SamplesBefore))
	m.narrowSeries.WithLabelValues(job, "after").Add(sign * float64(n.SamplesAfter))
}
