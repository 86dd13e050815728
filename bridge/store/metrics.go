package store

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	series  prometheus.Gauge
	samples prometheus.Gauge
	taken   prometheus.Counter
	dropped *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	factory := promauto.With(reg)
	m := &metrics{
		series: factory.NewGauge(prometheus.GaugeOpts{
			Name: "promscope_store_series",
			Help: "Series held because a rule selects them.",
		}),
		samples: factory.NewGauge(prometheus.GaugeOpts{
			Name: "promscope_store_samples",
			Help: "Samples held.",
		}),
		taken: factory.NewCounter(prometheus.CounterOpts{
			Name: "promscope_store_samples_appended_total",
			Help: "Samples taken into the store.",
		}),
		dropped: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "promscope_store_dropped_total",
			Help: "Samples that the store did not take, by reason.",
		}, []string{"reason"}),
	}
	for _, reason := range []string{"out_of_order", "duplicate", "too_old", "series_limit"} {
		m.dropped.WithLabelValues(reason)
	}
	return m
}

func (m *metrics) count(a Appended) {
	m.taken.Add(float64(a.Samples))
	m.dropped.WithLabelValues("out_of_order").Add(float64(a.OutOfOrder))
	m.dropped.WithLabelValues("duplicate").Add(float64(a.Duplicates))
	m.dropped.WithLabelValues("too_old").Add(float64(a.TooOld))
	m.dropped.WithLabelValues("series_limit").Add(float64(a.Limited))
}
