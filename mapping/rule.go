package mapping

import (
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"

	"github.com/promscope/promscope/mapping/cgroup"
	"github.com/promscope/promscope/mapping/document"
	"github.com/promscope/promscope/mapping/expr"
)

// A Rule puts the values of a PromQL expression on nodes. Rules are made by
// Parse, LoadFile and Preset only, and are not changed afterwards.
type Rule struct {
	// Metric is the id of the metric in the report; Label what Scope calls it. In
	// both, ${name} stands for the value of a label of each element.
	Metric, Label string

	// Row makes it a line of the node's Info section instead of a metric: Label, and a
	// text made of labels of the element. Metric is the row's id.
	Row bool

	// Format is how Scope prints the value.
	Format Format

	// Max is the value that fills a node completely; 0 if it is not known in
	// advance. Percentages have 100.
	Max float64

	// Priority orders the metrics of a node. It is 0 for a rule that does not ask
	// for one, until NewSet assigns it.
	Priority float64

	// Top and Bottom say how many values of ${label} are shown at a time, the greatest or
	// the least. Both are 0 for as many as there is room for, the greatest first.
	Top, Bottom int

	// Threshold is what the mean of the values over a minute has to reach for a node to
	// have the metric, which stays for five minutes then; 0 for none.
	Threshold float64

	// Topology and NodeLabel name the node: the topology, and the label whose value
	// is the node's id ("" for the host). Regex, if not nil, is matched against the
	// whole value; its first group is the id.
	Topology  Topology
	NodeLabel string
	Regex     *relabel.Regexp

	// Query is the expression as it is evaluated: windows stand in place of its variables
	// ($__rate_interval), and each byte stands where it was written. Expr is the same,
	// parsed, with all durations resolved; it prints nicer. Interval is the longest scrape
	// interval that feeds it. PromQL's lookback delta is three of them.
	Query    string
	Expr     parser.Expr
	Interval time.Duration

	Preset   string            // the preset that the rule comes from, "" for one of the user's
	Default  bool              // the preset is in use without being asked for
	General  bool              // the preset is about any program, see Template
	Position document.Position // of the rule's first key

	priority           *float64 // as asked for
	metric, label      pattern
	text               pattern // of a row
	expression         *expression
	doc                *document.Document
	node               *yaml.Node
	metricAt, labelAt  *yaml.Node
	priorityAt, exprAt *yaml.Node
	remarks            document.List // and warnings about the rule
}

// cuts tells whether a node's id is only a part of a value of its label.
func (r *Rule) cuts(value string) bool {
	return r.Regex != nil || r.Topology == Container && strings.HasPrefix(value, "/")
}

// NodeID returns the id that a value of the node's label has: what the regex's first
// group finds, or the container whose cgroup the value is the path of, or the value
// itself. It is empty if there is none, and need not be valid. No regex finds a pid before
// UnknownPID.
func (r *Rule) NodeID(value string) string {
	switch {
	case !r.cuts(value):
		return value
	case r.Regex == nil:
		if c := cgroup.Parse(value); c.Whole {
			return c.Container
		}
	case r.Topology == Process && strings.HasSuffix(value, UnknownPID):
	default:
		if groups := r.Regex.FindStringSubmatch(value); groups != nil {
			return groups[1]
		}
	}
	return ""
}

// String returns the topology and the metric, which together name a rule in a set.
func (r *Rule) String() string { return r.Topology.keyword() + "/" + r.Metric }

// Lookback is how long a sample stands for its series in the rule's expression.
func (r *Rule) Lookback() time.Duration { return r.expression.lookback() }

// AskedPriority returns the priority that the rule asks for, if it does.
func (r *Rule) AskedPriority() (priority float64, asked bool) {
	if r.priority == nil {
		return 0, false
	}
	return *r.priority, true
}

// Text returns the text of a row as it was written; it is empty for a metric.
func (r *Rule) Text() string {
	if !r.Row {
		return ""
	}
	return r.text.String()
}

// NodeRegex returns Regex as it was written; it is empty if there is none.
func (r *Rule) NodeRegex() string {
	if r.Regex == nil {
		return ""
	}
	return r.Regex.String()
}

// LabelNames returns the labels which Metric and Label mention as ${name}, sorted.
func (r *Rule) LabelNames() []string { return r.metric.labelNames() }

// Warnings returns the warnings about the rule alone. NewSet gives those about rules
// beside others.
func (r *Rule) Warnings() document.List { return r.remarks.Warnings() }

// NeedsNoSamples reports whether the rule can have values while no series that it
// selects has any. Such a rule has to be evaluated also where no sample arrives.
func (r *Rule) NeedsNoSamples() bool { return expr.NeedsNoSamples(r.Expr) }
