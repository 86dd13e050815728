package web

// Explanation tells where a series comes from and goes to, what became of a
// rule, or what is behind the metrics of a node. One subject can name several
// of them.
type Explanation struct {
	Subject string              `json:"subject"`
	Series  []SeriesExplanation `json:"series,omitempty"`
	Rules   []RuleExplanation   `json:"rules,omitempty"`
	Nodes   []NodeExplanation   `json:"nodes,omitempty"`
	// More is how many series were left out.
	More int `json:"more_series,omitempty"`
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
	// Last is its last sample in the store; nil if it is not kept.
	Last *Sample `json:"last,omitempty"`
	// Selected are the rules that select it, Refused the ones that ask for its
	// metric, but not for this series.
	Selected []Selection `json:"selected"`
	Refused  []Refusal   `json:"refused,omitempty"`
}

// Selection says that a rule selects a series.
type Selection struct {
	Rule     string   `json:"rule"`     // Rule.Name
	Selector string   `json:"selector"` // the one of the rule's that does
	Nodes    []string `json:"nodes"`    // keys of the nodes that the rule puts values on
	Error    string   `json:"error,omitempty"`
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
}

// Element is an element of a rule's last result: on a node, or dropped.
type Element struct {
	Labels  Labels `json:"labels"`
	Value   Float  `json:"value"`
	Node    string `json:"node,omitempty"`    // the node's key
	Metric  string `json:"metric,omitempty"`  // its metric's id, where ${label} makes several
	Dropped string `json:"dropped,omitempty"` // the reason
}

// NodeExplanation is about one node.
type NodeExplanation struct {
	Node
	// Note says what is remarkable about the node: that it is no longer
	// reported, and why.
	Note string `json:"note,omitempty"`
	// Origins are what is behind the metrics, in their order.
	Origins []MetricOrigin `json:"origins"`
}

// MetricOrigin says where a metric of a node comes from.
type MetricOrigin struct {
	Metric  string      `json:"metric"` // Metric.ID
	Rule    string      `json:"rule"`
	Expr    string      `json:"expr"`
	Targets []TargetRef `json:"targets"`
}

// Verdict is the answer for a series in one sentence.
func (s SeriesExplanation) Verdict() string {
	var verdict string
	nodes := map[string]bool{}
	failing := 0
	for _, selection := range s.Selected {
		for _, node := range selection.Nodes {
			nodes[node] = true
		}
		if selection.Error != "" {
			failing++
		}
	}
	switch {
	case len(s.Selected) == 0 && len(s.Refused) == 0:
		return "No rule asks for this metric."
	case len(s.Selected) == 0:
		return "No rule selects it: " + plural(len(s.Refused), "rule asks", "rules ask") + " for the metric, but with matchers that refuse it."
	case failing == len(s.Selected):
		verdict = "Selected by " + plural(failing, "rule", "rules") + ", but evaluation fails."
	case len(nodes) == 0:
		verdict = "Selected by " + plural(len(s.Selected), "rule", "rules") + ", but no value comes to a node."
	default:
		verdict = "Selected by " + plural(len(s.Selected), "rule", "rules") + ", shown on " + plural(len(nodes), "node", "nodes") + "."
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
		return "Never evaluated: no series that it selects has arrived."
	case r.LastEvaluation.IsZero():
		return "Not evaluated yet."
	case r.Elements == 0 && r.Series == 0:
		return "No series matched at the last evaluation."
	case r.Elements == 0:
		return "Matches " + plural(r.Series, "series", "series") + ", but the expression yields nothing."
	case r.Points == 0:
		return "Yields " + plural(r.Elements, "element", "elements") + ", but none is on a node."
	case dropped > 0:
		return "Puts " + plural(r.Points, "value", "values") + " on nodes; " + plural(dropped, "element was", "elements were") + " dropped."
	}
	return "Puts " + plural(r.Points, "value", "values") + " on nodes."
}

// Verdict is the answer for a node in one sentence.
func (n NodeExplanation) Verdict() string {
	switch {
	case n.Note != "":
		return n.Note
	case len(n.Metrics) == 0:
		return "Scope is told nothing about this node."
	}
	return "Scope is told " + plural(len(n.Metrics), "metric", "metrics") + " of this node."
}

// Found tells whether the subject is known.
func (e Explanation) Found() bool { return len(e.Series)+len(e.Rules)+len(e.Nodes) > 0 }
