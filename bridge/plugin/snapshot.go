package plugin

import (
	"time"

	"github.com/promscope/promscope/mapping"
)

// Snapshot is what a report has published, for people to look at.
type Snapshot struct {
	Host  string
	Bytes int // of the JSON with all samples
	Nodes []NodeSnapshot
}

// NodeSnapshot is a node with its metrics, in order of their ids.
type NodeSnapshot struct {
	Topology mapping.Topology
	ID       string // as in mapping.Point
	Key      string // as in the report
	Metrics  []MetricSnapshot
	Rows     []RowSnapshot
	Beyond   []string // ids of metrics that the node's budget has no room for, see mapping.Topology.Budget
	LeftOut  bool     // answers have no room for the node, see Options.MaxBytes
}

// RowSnapshot is a line of a node's Info section.
type RowSnapshot struct {
	Template mapping.Template
	Rule     int // as in MetricSnapshot
	Text     string
}

// MetricSnapshot is a metric of a node.
type MetricSnapshot struct {
	Template mapping.Template
	Rule     int // -1 if no rule has reported it since the last reload
	Max      float64
	Samples  []Sample // ascending
}

// Sample is a value of a metric at a time.
type Sample struct {
	At    time.Time
	Value float64
}

// PublishDuration returns how long the last publication took.
func (r *Report) PublishDuration() time.Duration { return time.Duration(r.publishTook.Load()) }

// LastPublish returns when Publish last came to its end, whatever it had to publish. A
// clock that is set does not change how long ago that is.
func (r *Report) LastPublish() time.Time { return *r.publishedAt.Load() }

// Snapshot returns what was published last, ordered by topology and node. It includes
// nodes that are left out of answers for want of room.
func (r *Report) Snapshot() Snapshot {
	p := r.published.Load()
	snapshot := Snapshot{Host: p.host, Bytes: p.bytes[allSamples]}
	for _, t := range p.topologies {
		for i, n := range t.nodes {
			s := n.snapshot()
			s.LeftOut = i >= t.fit
			snapshot.Nodes = append(snapshot.Nodes, s)
		}
	}
	return snapshot
}

func (n *publishedNode) snapshot() NodeSnapshot {
	s := NodeSnapshot{
		Topology: n.topology,
		ID:       n.id,
		Key:      n.key,
		Metrics:  make([]MetricSnapshot, len(n.metrics)),
		Beyond:   n.beyond,
	}
	for i, m := range n.metrics {
		s.Metrics[i] = MetricSnapshot{
			Template: *m.template,
			Rule:     m.rule,
			Max:      m.max,
			Samples:  make([]Sample, len(m.samples)),
		}
		for j, sample := range m.samples {
			s.Metrics[i].Samples[j] = Sample{At: time.Unix(0, sample.at), Value: sample.value}
		}
	}
	for _, row := range n.rows {
		s.Rows = append(s.Rows, RowSnapshot{Template: *row.template, Rule: row.rule, Text: row.text})
	}
	return s
}
