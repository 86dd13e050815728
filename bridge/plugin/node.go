package plugin

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/promscope/promscope/mapping"
)

// nodeRef names a node, whatever the host is called.
type nodeRef struct {
	topology mapping.Topology
	id       string
}

// node is one node of the report.
type node struct {
	nodeRef
	key     string    // in the report, with the host's name
	metrics []*metric // in order of their ids
	segment *segment

	changed  bool   // since it was encoded
	plain    []byte // its part of the segment's chunk
	deflated []byte
	expires  int64 // when the oldest sample leaves
	samples  int   // as encoded
}

// touch takes note that the node has to be encoded anew.
func (n *node) touch() {
	n.changed = true
	n.segment.changed = true
}

func (n *node) find(id string) (int, bool) {
	return slices.BinarySearchFunc(n.metrics, id, func(m *metric, id string) int {
		return strings.Compare(m.template.ID, id)
	})
}

func (n *node) insert(i int, m *metric) {
	m.node = n
	n.metrics = slices.Insert(n.metrics, i, m)
	n.touch()
}

func (n *node) remove(m *metric) {
	if i, found := n.find(m.template.ID); found {
		n.metrics = slices.Delete(n.metrics, i, i+1)
		n.touch()
	}
	m.node = nil
}

// expire drops samples that are too old and metrics that have none left.
func (n *node) expire(now int64, opts Options) {
	n.metrics = slices.DeleteFunc(n.metrics, func(m *metric) bool {
		if m.expire(now, opts) {
			return false
		}
		m.node = nil
		return true
	})
	n.samples, n.expires = 0, math.MaxInt64
	for _, m := range n.metrics {
		n.samples += len(m.samples)
		n.expires = min(n.expires, m.expires(opts))
	}
}

// current returns the time of the last sample of the metric that has gone without
// one for longest.
func (n *node) current() time.Time {
	at := int64(math.MaxInt64)
	for _, m := range n.metrics {
		if last := len(m.samples) - 1; last >= 0 {
			at = min(at, m.samples[last].at)
		}
	}
	return time.Unix(0, at)
}

// sample is a value at a time in nanoseconds since the epoch.
type sample struct {
	at    int64
	value float64
}

// metric is one metric of one node: the window of its last samples, ascending.
type metric struct {
	node     *node // nil once it has been removed
	template *mapping.Template
	source   *source // the rule that reports it; nil after a reload until one does
	round    uint64  // of the source, when it last reported it
	samples  []sample

	max             float64 // the rule's; 0 for none
	least, greatest float64 // of 0 and all values ever seen here
}

// add appends a sample. A second one for the same time replaces the first; one
// from before the last is refused.
func (m *metric) add(s sample, opts Options) bool {
	if last := len(m.samples) - 1; last >= 0 {
		switch newest := m.samples[last].at; {
		case s.at == newest:
			m.samples = m.samples[:last]
		case s.at < newest:
			return false
		}
	}
	if surplus := len(m.samples) + 1 - opts.MaxSamples; surplus > 0 {
		m.samples = slices.Delete(m.samples, 0, surplus)
	}
	m.samples = append(m.samples, s)
	m.least = min(m.least, s.value)
	m.greatest = max(m.greatest, s.value)
	return true
}

// expire drops samples that are too old, and reports whether any are left.
func (m *metric) expire(now int64, opts Options) bool {
	if surplus := len(m.samples) - opts.MaxSamples; surplus > 0 {
		m.samples = slices.Delete(m.samples, 0, surplus)
	}
	for len(m.samples) > 0 && m.expires(opts) <= now {
		m.samples = slices.Delete(m.samples, 0, 1)
	}
	return len(m.samples) > 0
}

// expires returns when the oldest sample is too old.
func (m *metric) expires(opts Options) int64 {
	if len(m.samples) == 0 {
		return math.MaxInt64
	}
	age := opts.MaxAge
	// The newest sample is what is true until the next one is due, also where a
	// rule's targets are scraped less often than the window is long.
	if len(m.samples) == 1 && m.source != nil {
		age = max(age, 3*m.source.interval)
	}
	return m.samples[0].at + int64(age) + 1
}

// ceiling returns the metric's maximum, which is never 0: Scope divides by it.
func (m *metric) ceiling() float64 {
	switch {
	case m.max > 0:
		return m.max
	case m.template.Format == mapping.FormatPercent:
		return 100
	case m.greatest > 0:
		return m.greatest
	}
	return 1
}
