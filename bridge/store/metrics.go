package store

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	series  prometheus.Gauge
	samples prometheus.Gauge
	taken   prometheus.Counter
	dropped *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		series: register(reg, prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "promscope_store_series",
			Help: "Series held because a rule selects them.",
		})),
		samples: register(reg, prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "promscope_store_samples",
			Help: "Samples held.",
		})),
		taken: register(reg, prometheus.NewCounter(prometheus.CounterOpts{
			Name: "promscope_store_samples_appended_total",
			Help: "Samples taken into the store.",
		})),
		dropped: register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "promscope_store_dropped_total",
			Help: "Samples that the store did not take, by reason.",
		}, []string{"reason"})),
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

// register registers a collector, or returns the one that an earlier store of
// the same process registered: a reload makes a new store, and its counters go
// on where the old one's were.
func register[C prometheus.Collector](reg prometheus.Registerer, c C) C {
	if reg == nil {
		return c
	}
	if err := reg.Register(c); err != nil {
		if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
			if old, ok := already.ExistingCollector.(C); ok {
				return old
			}
		}
		panic(err)
	}
	return c
}
