package plugin

import "time"

// lastResult is the last result of one rule.
type lastResult struct {
	rule     int
	round    uint64 // counts the results
	at       int64
	date     []byte        // of at, as JSON
	interval time.Duration // between the last two results of different times
	metrics  []*metric     // of the last result
	spare    []*metric     // holds the last result while the next one comes in
}

// begin starts the next result.
func (r *lastResult) begin(at time.Time) {
	nanoseconds := at.UnixNano()
	if passed := nanoseconds - r.at; r.round > 0 && passed > 0 {
		r.interval = time.Duration(passed)
	}
	r.at = nanoseconds
	r.date = appendDate(r.date[:0], nanoseconds)
	r.round++
	r.metrics, r.spare = r.spare[:0], r.metrics
}

// add takes note of a metric that is in the result.
func (r *lastResult) add(m *metric) {
	m.result, m.round = r, r.round
	r.metrics = append(r.metrics, m)
}

// end removes the metrics that were in the last result and are not in this one.
func (r *lastResult) end() {
	for _, m := range r.spare {
		if m.round != r.round && m.node != nil {
			m.node.remove(m)
		}
	}
	clear(r.spare)
}
