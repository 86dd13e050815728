package discovery

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// proberMetrics count what listener discovery does.
type proberMetrics struct {
	probes     *prometheus.CounterVec
	looks      prometheus.Histogram
	namespaces *prometheus.GaugeVec
}

func newProberMetrics(reg prometheus.Registerer) (proberMetrics, error) {
	m := proberMetrics{
		probes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "promscope_listener_probes_total",
			Help: "Local listeners that were asked whether they serve an exposition, by what came of it.",
		}, []string{"result"}),
		looks: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "promscope_listener_scan_duration_seconds",
			Help:    "Time it took to look for local listeners and their owners.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1},
		}),
		namespaces: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "promscope_listener_network_namespaces",
			Help: "Network namespaces on this machine, by whether their listeners can be asked.",
		}, []string{"reached"}),
	}
	for _, result := range []probeResult{probeExposition, probeOther, probeTimedOut, probeFailed, probeForbidden} {
		m.probes.WithLabelValues(string(result))
	}
	for _, c := range []prometheus.Collector{m.probes, m.looks, m.namespaces} {
		if err := reg.Register(c); err != nil {
			return proberMetrics{}, fmt.Errorf("registering listener discovery metrics: %w", err)
		}
	}
	return m, nil
}

// countNamespaces sets how many network namespaces there are, and how many of them are
// looked at.
func (p *Prober) countNamespaces() {
	all := p.sockets.NetNamespaces()
	reached := all
	if p.reach != nil {
		reached = min(all, 1)
	}
	p.metrics.namespaces.WithLabelValues("yes").Set(float64(reached))
	p.metrics.namespaces.WithLabelValues("no").Set(float64(all - reached))
}
