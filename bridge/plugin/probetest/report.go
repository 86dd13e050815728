package probetest

import "time"

// Report is what a plugin answered.
type Report struct {
	Plugins    []Plugin
	Topologies map[string]*Topology
	Body       []byte

	Elapsed time.Duration // from dialing until it was decoded; 0 if it came over no socket
	Reused  bool          // the connection was
}

// Plugin is an entry of the section Plugins.
type Plugin struct {
	ID, Label, Description, APIVersion string
	Interfaces                         []string
}

// Topology is one of Scope's node kinds.
type Topology struct {
	Templates map[string]Template
	Rows      map[string]Template // the metadata templates
	Nodes     map[string]*Node
}

// Template says how a metric is drawn.
type Template struct {
	ID, Label, Format string
	Priority          float64
}

// Node is what the report has on a node.
type Node struct {
	Metrics map[string]*Metric
	Latest  map[string]string
}

// Metric is a metric of a node.
type Metric struct {
	Min, Max float64
	Samples  []Sample
}

// Sample is a value of a metric at a time.
type Sample struct {
	Date  time.Time
	Value float64
}

// Metric returns a node's metric, nil if the report has none.
func (r *Report) Metric(topology, node, metric string) *Metric {
	if t := r.Topologies[topology]; t != nil {
		if n := t.Nodes[node]; n != nil {
			return n.Metrics[metric]
		}
	}
	return nil
}

// Value returns what Scope shows as a node's metric, its last sample.
func (r *Report) Value(topology, node, metric string) (float64, bool) {
	m := r.Metric(topology, node, metric)
	if m == nil || len(m.Samples) == 0 {
		return 0, false
	}
	return m.Samples[len(m.Samples)-1].Value, true
}
