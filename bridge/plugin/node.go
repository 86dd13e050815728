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

	changed   bool           // since it was published
	published *publishedNode // nil if it never was
	expires   int64          // when its oldest sample does, or a place becomes free
	places    []place        // that metrics have; nil if there is room for more than all
	verdict   verdict
}

func (n *node) find(id string) (int, bool) {
	return slices.BinarySearchFunc(n.metrics, id, func(m *metric, id string) int {
		return strings.Compare(m.template.ID, id)
	})
}

func (n *node) insert(i int, m *metric) {
	m.node = n
	n.metrics = slices.Insert(n.metrics, i, m)
	n.changed = true
}

func (n *node) remove(m *metric) {
	if i, found := n.find(m.template.ID); found {
		n.metrics = slices.Delete(n.metrics, i, i+1)
		n.changed = true
	}
	m.node = nil
}

// removeAll removes the metrics for which gone returns true.
func (n *node) removeAll(gone func(*metric) bool) {
	n.metrics = slices.DeleteFunc(n.metrics, func(m *metric) bool {
		if !gone(m) {
			return false
		}
		m.node = nil
		return true
	})
	n.changed = true
}

// expire drops samples that are too old, and metrics that have none left.
func (n *node) expire(now int64, opts Options) {
	n.removeAll(func(m *metric) bool {
		m.expire(now, opts)
		return len(m.samples) == 0
	})
	n.expires = math.MaxInt64
	for _, m := range n.metrics {
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
