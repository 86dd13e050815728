package plugin

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/promscope/promscope/mapping"
)

// Reasons for which a point does not get into the report.
const (
	dropValue      = "value"        // not finite, or beyond what Scope can show
	dropID         = "bad_id"       // no node, or no metric, can have that id
	dropDuplicate  = "duplicate"    // another point or rule has that metric of that node
	dropOutOfOrder = "out_of_order" // older than what the report has
	dropNodes      = "node_limit"   // one node too many
)

type reportMetrics struct {
	nodes   *prometheus.GaugeVec
	samples prometheus.Gauge
	bytes   *prometheus.GaugeVec
	dropped *prometheus.CounterVec
	leftOut prometheus.Gauge
	publish prometheus.Histogram
}

func newReportMetrics(reg prometheus.Registerer) *reportMetrics {
	factory := promauto.With(reg)
	m := &reportMetrics{
		nodes: factory.NewGaugeVec(prometheus.GaugeOpts{
			Name: "promscope_report_nodes",
			Help: "Nodes in the report, by topology.",
		}, []string{"topology"}),
		samples: factory.NewGauge(prometheus.GaugeOpts{
			Name: "promscope_report_samples",
			Help: "Samples in the report.",
		}),
		bytes: factory.NewGaugeVec(prometheus.GaugeOpts{
			Name: "promscope_report_bytes",
			Help: "Mean size of an answer to a poll: the recent samples and in turns the older ones, of more metrics to a poller that is new; all samples to who is no probe.",
		}, []string{"samples"}),
		dropped: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "promscope_report_points_dropped_total",
			Help: "Results of rules that did not get into the report, by reason.",
		}, []string{"reason"}),
		leftOut: factory.NewGauge(prometheus.GaugeOpts{
			Name: "promscope_report_nodes_left_out",
			Help: "Nodes that the report has no room for within its size limit.",
		}),
		publish: factory.NewHistogram(prometheus.HistogramOpts{
			Name:    "promscope_report_publish_duration_seconds",
			Help:    "Time it took to encode what had changed in the report.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 8),
		}),
	}
	for _, topology := range mapping.Topologies() {
		m.nodes.WithLabelValues(string(topology))
	}
	for _, reason := range []string{dropValue, dropID, dropDuplicate, dropOutOfOrder, dropNodes} {
		m.dropped.WithLabelValues(reason)
	}
	return m
}

// size takes note of the sizes of answers.
func (m *reportMetrics) size(b *answerBytes) {
	mean := func(bytes []int) float64 {
		sum := 0
		for _, n := range bytes {
			sum += n
		}
		return float64(sum / len(bytes))
	}
	m.bytes.WithLabelValues("recent").Set(mean(b[:turns]))
	m.bytes.WithLabelValues("new").Set(mean(b[filling:]))
	m.bytes.WithLabelValues("all").Set(float64(b[allSamples]))
}

type serverMetrics struct {
	duration prometheus.Histogram
	aborted  prometheus.Counter
}

func newServerMetrics(reg prometheus.Registerer) *serverMetrics {
	factory := promauto.With(reg)
	return &serverMetrics{
		duration: factory.NewHistogram(prometheus.HistogramOpts{
			Name: "promscope_report_request_duration_seconds",
			Help: "Time it took to hand the report to a poller.",
			// The probe gives up after 0.5 s.
			Buckets: []float64{0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5},
		}),
		aborted: factory.NewCounter(prometheus.CounterOpts{
			Name: "promscope_report_requests_aborted_total",
			Help: "Polls that the poller broke off before it had the report, as a probe does when its time is up.",
		}),
	}
}
