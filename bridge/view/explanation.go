package view

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/promscope/promscope/bridge/format"
)

// Explanation tells where a series comes from and goes to, what became of a
// rule, or what is behind the metrics of a node. One subject can name several
// of them.
type Explanation struct {
	Subject string              `json:"subject"`
	Series  []SeriesExplanation `json:"series,omitempty"`
	Rules   []RuleExplanation   `json:"rules,omitempty"`
	Nodes   []NodeExplanation   `json:"nodes,omitempty"`
	// Listeners are those at an address, or those of a process that are no targets.
	Listeners []ListenerExplanation `json:"listeners,omitempty"`
	// More is how many series were left out, MoreNodes how many nodes.
	More      int `json:"more_series,omitempty"`
	MoreNodes int `json:"more_nodes,omitempty"`
	// Partial tells that not all targets that are up said whether they have more series.
	Partial bool `json:"partial,omitempty"`
	// Hints say what to try if the subject is not known: similar names, targets
	// that are down.
	Hints []string `json:"hints,omitempty"`
}

// TargetRef names a target.
type TargetRef struct {
	Job      string `json:"job"`
	Instance string `json:"instance"`
	URL      string `json:"url,omitempty"`
	Health   Health `json:"health"`
	Error    string `json:"error,omitempty"`
}

func (t TargetRef) String() string { return t.Job + " " + t.Instance }

// SeriesExplanation is about one series.
type SeriesExplanation struct {
	Labels Labels `json:"labels"` // with __name__
	// Target served it; nil if that is not known, for a series out of a file.
	Target *TargetRef `json:"target,omitempty"`
	// Whose says why it has not got all labels of the process that answers; empty if it
	// has, and for promscope's own series.
	Whose string `json:"whose,omitempty"`
	// Subject says of which process an exporter speaks, and how that is known.
	Subject string `json:"subject,omitempty"`
	// Last is its last sample in the store; nil if it is not kept.
	Last *Sample `json:"last,omitempty"`
	// NotStored is why the store has not got it though a rule selects it and a
	// target serves it.
	NotStored string `json:"not_stored,omitempty"`
	// Selected are the rules that select it, Refused the ones that ask for its
	// metric, but not for this series.
	Selected []Selection `json:"selected"`
	Refused  []Refusal   `json:"refused,omitempty"`
}

// Selection says that a rule selects a series.
type Selection struct {
	Rule     string   `json:"rule"`     // Rule.Name
	Selector string   `json:"selector"` // the one of the rule's that does
	Nodes    []string `json:"nodes"`    // keys of the nodes that what the rule makes of it is on
	Error    string   `json:"error,omitempty"`
	// Elements are those of the rule's last result that the series is part of.
	Elements []Element `json:"elements,omitempty"`
	// More is how many elements were left out. Nodes has none of theirs.
	More int `json:"more_elements,omitempty"`
}

// Refusal says which matcher of a rule's selector refuses a series.
type Refusal struct {
	Rule     string `json:"rule"`
	Selector string `json:"selector"`
	Matcher  string `json:"matcher"` // mode="iowait"
	Value    string `json:"value"`   // what the series has; empty if it lacks the label
}

// RuleExplanation is about one rule.
type RuleExplanation struct {
	Rule
	Targets []TargetRef `json:"targets"` // whose series it selects
	Results []Element   `json:"results"` // of the last evaluation
	// More is how many elements were left out.
	More int `json:"more_results,omitempty"`
	// Hints say why selectors find nothing: targets that are down, matchers that
	// refuse what there is, similar names.
	Hints []string `json:"hints,omitempty"`
}

// Element is an element of a rule's last result: on a node, or dropped.
type Element struct {
	Labels  Labels `json:"labels"`
	Value   Float  `json:"value"`
	Node    string `json:"node,omitempty"`    // the node's key
	Metric  string `json:"metric,omitempty"`  // its metric's id, where ${label} makes several
	Dropped string `json:"dropped,omitempty"` // the reason
	Why     string `json:"why,omitempty"`     // the reason in words
}

// Outcome is why the element is on no node, in a line.
func (e Element) Outcome() string { return reasonInWords(e.Dropped, e.Why) }

// reasonInWords is a reason for which an element is dropped, and what it means.
func reasonInWords(reason, why string) string {
	if why == "" {
		return reason
	}
	return reason + ": " + why
}

// NodeExplanation is about one node.
type NodeExplanation struct {
	Node
	// Note says what is remarkable about the node: that it is no longer
	// reported, and why.
	Note string `json:"note,omitempty"`
	// Origins are what is behind the metrics, and then the rows, in their order.
	Origins []MetricOrigin `json:"origins"`
	// Drops are what rules have for the node, and do not put on it.
	Drops []Drop `json:"drops,omitempty"`
}

// Drop says why elements of a rule's result are not on a node that they are about.
type Drop struct {
	Rule     string `json:"rule"`
	Reason   string `json:"reason"`
	Why      string `json:"why,omitempty"` // the reason in words
	Elements int    `json:"elements"`
}

// Outcome is the reason in a line.
func (d Drop) Outcome() string {
	text := reasonInWords(d.Reason, d.Why)
	if d.Elements > 1 {
		text += " (" + format.Plural(d.Elements, "element", "elements") + ")"
	}
	return text
}

// MetricOrigin says where a metric of a node comes from, or a row.
type MetricOrigin struct {
	Metric  string      `json:"metric"` // Metric.ID, or Row.ID
	Rule    string      `json:"rule"`
	Expr    string      `json:"expr"`
	Targets []TargetRef `json:"targets"`
}

// ListenerNamed is the result for an address that a job names.
const ListenerNamed = "named"

// ListenerExplanation is about a listening socket that discovery has found, or about an
// address where it finds none.
type ListenerExplanation struct {
	Name      string    `json:"name"`                // its address, or the path of a unix socket
	PID       int       `json:"pid,omitempty"`       // its owner; 0 if that is not known
	Comm      string    `json:"comm,omitempty"`      // the owner's command name
	Container string    `json:"container,omitempty"` // the owner's container
	Result    string    `json:"result"`              // named, spared, asking, exposition, other, timeout, error, not_permitted
	Reason    string    `json:"reason,omitempty"`    // why it is no target, or which one it is
	Asked     time.Time `json:"asked,omitzero"`      // when it was asked; zero if it was not
}

// Owner is the process that listens, and its container, in words; empty if it is not known.
func (l ListenerExplanation) Owner() string {
	if l.PID == 0 {
		return ""
	}
	text := fmt.Sprintf("%s, process %d", l.Comm, l.PID)
	if l.Container != "" {
		text += ", container " + l.Container[:min(len(l.Container), 12)]
	}
	return text
}

// Verdict is the answer for a listener in one sentence.
func (l ListenerExplanation) Verdict() string {
	reason := strings.TrimSuffix(l.Reason, ".")
	switch l.Result {
	case "exposition":
		return "It serves an exposition, and is a target."
	case ListenerNamed:
		return "It is a target: " + reason + "."
	case "asking":
		return "It is being asked for an exposition."
	case "spared":
		return "It is no target, and is not asked: " + reason + "."
	}
	return "It was asked for an exposition, and is no target: " + reason + "."
}

// Verdict is the answer for a series in one sentence.
func (s SeriesExplanation) Verdict() string {
	var verdict string
	nodes := map[string]bool{}
	failing, more := 0, false
	dropped := map[string]bool{}
	for _, selection := range s.Selected {
		for _, e := range selection.Elements {
			if e.Dropped != "" {
				dropped[e.Dropped] = true
			}
		}
		for _, node := range selection.Nodes {
			nodes[node] = true
		}
		if selection.Error != "" {
			failing++
		}
		more = more || selection.More > 0
	}
	shown := "shown on "
	if more {
		shown += "at least "
	}
	switch {
	case len(s.Selected) == 0 && len(s.Refused) == 0:
		return "No rule asks for this metric."
	case len(s.Selected) == 0:
		return "No rule selects it: " + format.Plural(len(s.Refused), "rule asks", "rules ask") + " for the metric, but with matchers that refuse it."
	case failing == len(s.Selected):
		verdict = "Selected by " + format.Plural(failing, "rule", "rules") + ", but evaluation fails."
	case s.NotStored != "":
		verdict = "Selected by " + format.Plural(len(s.Selected), "rule", "rules") + " and exposed, but not stored: " + s.NotStored + "."
	case len(nodes) == 0 && len(dropped) > 0:
		verdict = "Selected by " + format.Plural(len(s.Selected), "rule", "rules") + ", but what comes of it is dropped: " + strings.Join(slices.Sorted(maps.Keys(dropped)), ", ") + "."
	case len(nodes) == 0:
		verdict = "Selected by " + format.Plural(len(s.Selected), "rule", "rules") + ", but no value comes to a node."
	default:
		verdict = "Selected by " + format.Plural(len(s.Selected), "rule", "rules") + ", " + shown + format.Plural(len(nodes), "node", "nodes") + "."
	}
	if s.Target != nil && s.Target.Health == HealthDown {
		verdict += " Its target is down."
	}
	return verdict
}

// Verdict is the answer for a rule in one sentence.
func (r RuleExplanation) Verdict() string {
	dropped := r.DroppedTotal()
	switch {
	case r.Error != "":
		return "The last evaluation failed."
	case r.LastEvaluation.IsZero() && r.Series == 0:
		return "Never evaluated: no series that it selects is in the store."
	case r.LastEvaluation.IsZero():
		return "Not evaluated yet."
	case r.Elements == 0 && r.Series == 0:
		return "No series that it selects was in the store at the last evaluation."
	case r.Elements == 0:
		return "Matches " + format.Plural(r.Series, "series", "series") + ", but the expression yields nothing."
	case r.Points == 0:
		return "Yields " + format.Plural(r.Elements, "element", "elements") + ", but none is on a node."
	case dropped > 0:
		return "Puts " + format.Plural(r.Points, "value", "values") + " on nodes; " + format.Plural(dropped, "element was", "elements were") + " dropped."
	}
	return "Puts " + format.Plural(r.Points, "value", "values") + " on nodes."
}

// Verdict is the answer for a node in one sentence.
func (n NodeExplanation) Verdict() string {
	switch {
	case n.Note != "":
		return n.Note
	case len(n.Metrics)+len(n.Rows) == 0:
		return "Scope is told nothing about this node."
	case n.LeftOut:
		return "Scope is told nothing about this node. It is left out: the report is full (limits.max_report_size)."
	}
	metrics, rows := format.Plural(len(n.Metrics), "metric", "metrics"), format.Plural(len(n.Rows), "line", "lines")
	told := "Scope is told " + metrics + " of this node"
	switch {
	case len(n.Metrics) == 0:
		told = "Scope is told " + rows + " of this node's Info section"
	case len(n.Rows) > 0:
		told += ", and " + rows + " of its Info section"
	}
	told += "."
	if len(n.Beyond) > 0 {
		told += " " + format.Plural(len(n.Beyond), "metric", "metrics") + " more of presets would crowd it: " + strings.Join(n.Beyond, ", ") +
			". To see one, name its preset in presets: {include: […]}."
	}
	return told
}

// Found tells whether the subject is known.
func (e Explanation) Found() bool {
	return len(e.Series)+len(e.Rules)+len(e.Nodes)+len(e.Listeners) > 0
}

// Nothing is what a subject that is not known is not.
func (e Explanation) Nothing() string {
	if e.Partial {
		return "no series of the store or of a target that answered, no rule, no node"
	}
	return "no series of a target or of the store, no rule, no node"
}

// Told is a metric of a node, or a line of its Info section, with what is behind it.
type Told struct {
	ID, Label string
	Text      string   // as Scope shows it
	Exact     string   // a metric's newest value with all of its digits
	Samples   []Sample // a metric's, ascending
	Origin    MetricOrigin
}

// Told is all that Scope is told of the node.
func (n NodeExplanation) Told() []Told {
	origins := map[string]MetricOrigin{}
	for _, o := range n.Origins {
		origins[o.Metric] = o
	}
	origin := func(id, rule string) MetricOrigin {
		o, known := origins[id]
		if !known {
			o.Rule = rule
		}
		return o
	}
	all := make([]Told, 0, len(n.Metrics)+len(n.Rows))
	for _, m := range n.Metrics {
		all = append(all, Told{ID: m.ID, Label: m.Label, Text: m.Shown(), Exact: m.Exact(), Samples: m.Samples, Origin: origin(m.ID, m.Rule)})
	}
	for _, row := range n.Rows {
		all = append(all, Told{ID: row.ID, Label: row.Label, Text: row.Text, Origin: origin(row.ID, row.Rule)})
	}
	return all
}
