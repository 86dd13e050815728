package mapping

import "time"

// A Point is one metric of one node at one time, or one row.
type Point struct {
	Topology Topology
	ID       string // pid, container id or pod UID; "" for the host
	Template Template
	Value    float64 // finite, within ±MaxValue
	Max      float64 // what fills the node; 0 if not known: take the largest value seen
	Text     string  // of a row; Value and Max do not count then
}

// Result is what a rule's evaluation gave.
type Result struct {
	Rule    int            // index in the set's rules
	At      time.Time      // the time it was evaluated for, which is its samples' timestamp
	Points  []Point        // at most one for each node and template
	Dropped map[string]int // elements that became no point, by reason
}

// Reasons for which an element of a rule's result becomes no point, as in
// Result.Dropped and the label reason of promscope_rule_elements_dropped_total.
const (
	DropValue          = "value"           // NaN, infinite or beyond ±MaxValue
	DropHistogram      = "histogram"       // a native histogram where a number is needed
	DropNoLabel        = "no_label"        // the node's label, or a ${label}, is not there
	DropNoMatch        = "no_match"        // the regex does not match the node's label
	DropBadID          = "bad_id"          // what the label holds is no pid, container id or pod UID
	DropDead           = "dead"            // the node does not exist (any more)
	DropDuplicate      = "duplicate"       // another element has the same node and metric, for a reason
	DropAmbiguous      = "ambiguous"       // others have the same node and metric, and nothing says which counts
	DropIDCollision    = "id_collision"    // another value or rule made the same metric id
	DropLabelCollision = "label_collision" // another metric of the topology has the same label
	DropThreshold      = "threshold"       // the node's values do not reach the rule's threshold
	DropMetricLimit    = "metric_limit"    // more values of ${label} at a time than MaxMetricsPerRule
	DropNodeLimit      = "node_limit"      // more nodes than MaxNodes
)

// MaxValue bounds values. Scope prints numbers through a 64-bit integer of
// hundredths; beyond ±9.2e16 it shows garbage.
const MaxValue = 9e16
