package mapping

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// evaluatorMetrics are the evaluator's own metrics.
type evaluatorMetrics struct {
	evaluations prometheus.Counter
	failures    *prometheus.CounterVec
	duration    prometheus.Histogram
	dropped     *prometheus.CounterVec
}

func newEvaluatorMetrics(reg prometheus.Registerer) *evaluatorMetrics {
	factory := promauto.With(reg)
	rule := []string{"topology", "rule", "reason"}
	return &evaluatorMetrics{
		evaluations: factory.NewCounter(prometheus.CounterOpts{
			Name: "promscope_rule_evaluations_total",
			Help: "Evaluations of rules, successful or not.",
		}),
		failures: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "promscope_rule_evaluation_failures_total",
			Help: "Evaluations of a rule that failed, by reason.",
		}, rule),
		duration: factory.NewHistogram(prometheus.HistogramOpts{
			Name:    "promscope_rule_evaluation_duration_seconds",
			Help:    "Time that the evaluation of one rule took.",
			Buckets: prometheus.ExponentialBuckets(20e-6, 4, 10), // 20 µs to 5 s
		}),
		dropped: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "promscope_rule_elements_dropped_total",
			Help: "Elements of a rule's results that became no metric of a node, by reason.",
		}, rule),
	}
}

func (m *evaluatorMetrics) observe(r *Rule, took time.Duration, dropped map[string]int, err error) {
	m.evaluations.Inc()
	m.duration.Observe(took.Seconds())
	topology := r.Topology.keyword()
	if err != nil {
		m.failures.WithLabelValues(topology, r.Metric, failureReason(err)).Inc()
		return
	}
	for reason, n := range dropped {
		m.dropped.WithLabelValues(topology, r.Metric, reason).Add(float64(n))
	}
}
