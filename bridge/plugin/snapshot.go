package plugin

import (
	"time"

	"github.com/promscope/promscope/mapping"
)

// Snapshot is the state of a report, for people to look at.
type Snapshot struct {
	Host      string
	Bytes     int // published, as JSON
	GzipBytes int // published, compressed
	Nodes     []NodeSnapshot
}

// NodeSnapshot is a node with its metrics, in order of their ids.
type NodeSnapshot struct {
	Topology mapping.Topology
	ID       string // as in mapping.Point
	Key      string // as in the report
	Metrics  []MetricSnapshot
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

// Snapshot returns a copy of what the report holds, ordered by topology and node.
func (r *Report) Snapshot() Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.edition.Load()
	snapshot := Snapshot{
		Host:      r.opts.Host,
		Bytes:     e.plain.bytes,
		GzipBytes: e.gzipped.bytes,
		Nodes:     make([]NodeSnapshot, 0, len(r.nodes)),
	}
	for _, section := range r.sections {
		for _, segment := range section.segments {
			for _, n := range segment.nodes {
				if len(n.metrics) > 0 {
					snapshot.Nodes = append(snapshot.Nodes, n.snapshot())
				}
			}
		}
	}
	return snapshot
}

func (n *node) snapshot() NodeSnapshot {
	s := NodeSnapshot{
		Topology: n.topology,
		ID:       n.id,
		Key:      n.key,
		Metrics:  make([]MetricSnapshot, 0, len(n.metrics)),
	}
	for _, m := range n.metrics {
		s.Metrics = append(s.Metrics, m.snapshot())
	}
	return s
}

func (m *metric) snapshot() MetricSnapshot {
	s := MetricSnapshot{
		Template: *m.template,
		Rule:     -1,
		Max:      m.ceiling(),
		Samples:  make([]Sample, 0, len(m.samples)),
	}
	if m.source != nil {
		s.Rule = m.source.rule
	}
	for _, sample := range m.samples {
		s.Samples = append(s.Samples, Sample{At: time.Unix(0, sample.at), Value: sample.value})
	}
	return s
}
