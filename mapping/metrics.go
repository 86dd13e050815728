package mapping

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// evaluatorMetrics are the evaluator's own metrics.
type evaluatorMetrics struct {
	evaluations prometheus.Counter
	failures    *prometheus.CounterVec
	duration    prometheus.Histogram
	dropped     *prometheus.CounterVec
}

func newEvaluatorMetrics(reg prometheus.Registerer) *evaluatorMetrics {
	rule := []string{"topology", "rule", "reason"}
	return &evaluatorMetrics{
		evaluations: register(reg, prometheus.NewCounter(prometheus.CounterOpts{
			Name: "promscope_rule_evaluations_total",
			Help: "Evaluations of rules, successful or not.",
		})),
		failures: register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "promscope_rule_evaluation_failures_total",
			Help: "Evaluations of a rule that failed, by reason.",
		}, rule)),
		duration: register(reg, prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "promscope_rule_evaluation_duration_seconds",
			Help:    "Time that the evaluation of one rule took.",
			Buckets: prometheus.ExponentialBuckets(20e-6, 4, 10), // 20 µs to 5 s
		})),
		dropped: register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "promscope_rule_elements_dropped_total",
			Help: "Elements of a rule's results that became no metric of a node, by reason.",
		}, rule)),
	}
}

// register registers a collector, or returns the one that is there already: a
// reload makes a new evaluator, but its metrics go on.
func register[C prometheus.Collector](reg prometheus.Registerer, c C) C {
	if reg == nil {
		return c
	}
	if err := reg.Register(c); err != nil {
		if are := (prometheus.AlreadyRegisteredError{}); errors.As(err, &are) {
			if existing, ok := are.ExistingCollector.(C); ok {
				return existing
			}
		}
		panic(err) // two metrics of one name: a mistake in the program
	}
	return c
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
