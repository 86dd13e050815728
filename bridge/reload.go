package bridge

import "github.com/prometheus/client_golang/prometheus"

// reloadMetrics are named as Prometheus names its own.
type reloadMetrics struct {
	successful prometheus.Gauge
	last       prometheus.Gauge
}

func newReloadMetrics(reg prometheus.Registerer) *reloadMetrics {
	m := &reloadMetrics{
		successful: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "promscope_config_last_reload_successful",
			Help: "Whether the last attempt to load the configuration succeeded.",
		}),
		last: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "promscope_config_last_reload_success_timestamp_seconds",
			Help: "When the configuration in force was loaded.",
		}),
	}
	reg.MustRegister(m.successful, m.last)
	m.done(nil)
	return m
}

func (m *reloadMetrics) done(err error) {
	if err != nil {
		m.successful.Set(0)
		return
	}
	m.successful.Set(1)
	m.last.SetToCurrentTime()
}
