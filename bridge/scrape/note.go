package scrape

import (
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/exposition"
)

// Status returns what is known of the target.
func (l *loop) Status() TargetStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status
}

// discovered notes the labels that discovery gives the target now.
func (l *loop) discovered(d labels.Labels) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.status.Discovered = d
}

// note puts what a scrape came to into the status, into the metrics and, if the target's
// health changed, into the log.
func (l *loop) note(at time.Time, res *result) {
	job, m := l.target.Job.JobName, l.shared.metrics
	m.scrapes.WithLabelValues(job).Inc()
	m.duration.WithLabelValues(job).Observe(res.duration.Seconds())
	before := l.Status().Health
	s := l.account(func(s *TargetStatus) {
		s.LastScrape, s.LastDuration = at, res.duration
		s.SubjectNote = l.scraper.note()
		if res.err == nil {
			s.Health, s.LastError = HealthUp, ""
			s.Samples, s.Kept, s.Bytes, s.Format = res.exposed, res.kept, res.bytes, res.mediaType
		} else {
			s.Health, s.LastError = HealthDown, l.quoter.Error(res.err)
			m.failures.WithLabelValues(job, reasonOf(res.err)).Inc()
		}
		if l.narrow != nil {
			n := l.narrow.status
			s.Narrowed = &n
		}
		if s.Health != before {
			s.Since = at
		}
	})
	if s.Health != before {
		l.log(before, &s)
	}
}

// read counts what was read of an exposition.
func (l *loop) read(r *exposition.Reader) {
	l.shared.metrics.bytes.WithLabelValues(l.target.Job.JobName).Add(float64(r.Size()))
}

func (l *loop) log(before Health, s *TargetStatus) {
	logger := l.shared.logger.With("job", s.Job, "instance", s.Labels.Get("instance"))
	switch {
	case s.Health == HealthDown:
		logger.Warn("Target is down", "err", s.LastError)
	case before == HealthDown:
		logger.Info("Target is up again", "samples", s.Samples, "kept", s.Kept)
	default:
		logger.Debug("Target is up", "samples", s.Samples, "kept", s.Kept)
	}
}

// account changes the status, moves the job's gauges by the difference, and returns the
// status as it is now. One without health takes the target out of the gauges.
func (l *loop) account(change func(s *TargetStatus)) TargetStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	before, s := l.status, &l.status
	change(s)
	job, m := l.target.Job.JobName, l.shared.metrics
	if l.counted != "" {
		m.targets.WithLabelValues(job, string(l.counted)).Dec()
	}
	if s.Health != "" {
		m.targets.WithLabelValues(job, string(s.Health)).Inc()
	}
	m.exposed.WithLabelValues(job).Add(float64(s.Samples - before.Samples))
	m.kept.WithLabelValues(job).Add(float64(s.Kept - before.Kept))
	m.narrow(job, before.Narrowed, -1)
	m.narrow(job, s.Narrowed, +1)
	l.counted = s.Health
	return *s
}
