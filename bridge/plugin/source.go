package plugin

import "time"

// source is what one rule said last.
type source struct {
	rule     int
	round    uint64 // counts the results
	at       int64
	interval time.Duration // between the last two results of different times
	metrics  []*metric     // of the last result
	spare    []*metric     // holds the last result while the next one comes in
}

// begin starts the next result.
func (s *source) begin(at time.Time) {
	nanoseconds := at.UnixNano()
	if passed := nanoseconds - s.at; s.round > 0 && passed > 0 {
		s.interval = time.Duration(passed)
	}
	s.at = nanoseconds
	s.round++
	s.metrics, s.spare = s.spare[:0], s.metrics
}

// report takes note of a metric that is in the result.
func (s *source) report(m *metric) {
	m.source, m.round = s, s.round
	s.metrics = append(s.metrics, m)
}

// end removes the metrics that were in the last result and are not in this one.
func (s *source) end() {
	for _, m := range s.spare {
		if m.round != s.round && m.node != nil {
			m.node.remove(m)
		}
	}
	clear(s.spare)
}
