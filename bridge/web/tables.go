package web

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// healths are the kinds of targets, worst first.
func healths() []kind {
	return []kind{
		{string(HealthDown), "Down", "bad"},
		{string(HealthUnknown), "Not tried yet", "warn"},
		{string(HealthUp), "Up", "ok"},
		{string(HealthDropped), "Dropped", ""},
	}
}

// rank is the place of a kind in its order.
func rank(kinds []kind, value string) int {
	return slices.IndexFunc(kinds, func(k kind) bool { return k.Value == value })
}

// listTargets is the part of the targets that a filter asks for: those that are
// down first, then by job and instance.
func listTargets(targets []Target, f filter, size int) list[Target] {
	targets = slices.Clone(targets)
	kinds := healths()
	slices.SortStableFunc(targets, func(a, b Target) int {
		return cmp.Or(
			rank(kinds, string(a.Health))-rank(kinds, string(b.Health)),
			strings.Compare(a.Job, b.Job),
			strings.Compare(a.Instance(), b.Instance()),
			strings.Compare(a.URL, b.URL),
		)
	})
	return choose(f, targets, size, kinds,
		func(t Target) string { return string(t.Health) },
		func(t Target) bool {
			return f.matchLabels(t.Labels, t.Job, t.URL, t.Instance(), t.Error, t.Discovered["__address__"])
		})
}

// Origin are the labels that tell a target from others at a glance: those
// beside job and instance.
func (t Target) Origin() []Fact {
	var facts []Fact
	for _, name := range t.Labels.names() {
		if name != "job" && name != "instance" {
			facts = append(facts, Fact{Name: name, Value: short(t.Labels[name])})
		}
	}
	return facts
}

// short is the beginning of what is a container's id, and everything else whole.
func short(text string) string {
	const whole, enough = 64, 12
	if len(text) == whole && strings.Trim(text, "0123456789abcdef") == "" {
		return text[:enough]
	}
	return text
}

func (p *pages) targets(r *http.Request, v *view) error {
	v.Title, v.API = "Targets", "api/v1/targets"
	v.Body = listTargets(v.targets, newFilter(r), targetsPerPage)
	return nil
}

// states are the kinds of rules, worst first.
func states() []kind {
	return []kind{
		{string(RuleFailing), "Failing", "bad"},
		{string(RuleIdle), "Idle", "idle"},
		{string(RuleOK), "At work", "ok"},
	}
}

// listRules is the part of the rules that a filter asks for: those that fail
// first; then in their order, the configuration's before the presets'.
func listRules(rules []Rule, f filter, size int) list[Rule] {
	rules = slices.Clone(rules)
	order := func(r Rule) int {
		switch {
		case r.State() == RuleFailing:
			return 0
		case r.Preset == "":
			return 1
		case r.State() == RuleOK:
			return 2
		}
		return 3 // of presets, those that have nothing to show here are last
	}
	slices.SortStableFunc(rules, func(a, b Rule) int { return order(a) - order(b) })
	return choose(f, rules, size, states(),
		func(r Rule) string { return string(r.State()) },
		func(r Rule) bool {
			return f.match(r.Name, r.Metric, r.Label, r.Expr, r.Preset, r.Topology, r.NodeLabel, r.Error)
		})
}

func (p *pages) rules(r *http.Request, v *view) error {
	v.Title, v.API = "Rules", "api/v1/rules"
	v.Body = listRules(v.rules, newFilter(r), rulesPerPage)
	return nil
}

// topologies are the kinds of nodes, the largest things first.
func topologies() []kind {
	return []kind{
		{"Host", "Host", ""},
		{"Pod", "Pods", ""},
		{"Container", "Containers", ""},
		{"Process", "Processes", ""},
	}
}

// listNodes is the part of the nodes that a filter asks for, by topology, then
// by pid, or by name and id.
func listNodes(nodes []Node, f filter, size int) list[Node] {
	type ranked struct {
		*Node
		rank, number int
	}
	kinds := topologies()
	order := make([]ranked, len(nodes))
	for i := range nodes {
		n := &nodes[i]
		number, err := strconv.Atoi(n.ID)
		if err != nil {
			number = 0
		}
		order[i] = ranked{Node: n, rank: rank(kinds, n.Topology), number: number}
	}
	slices.SortStableFunc(order, func(a, b ranked) int {
		return cmp.Or(a.rank-b.rank, a.number-b.number, strings.Compare(a.Name, b.Name), strings.Compare(a.ID, b.ID))
	})
	found := choose(f, order, size, kinds,
		func(n ranked) string { return n.Topology },
		func(n ranked) bool {
			texts := []string{n.Key, n.ID, n.Name, n.Topology}
			for _, m := range n.Metrics {
				texts = append(texts, m.ID, m.Label)
			}
			return f.match(texts...)
		})
	items := make([]Node, len(found.Items))
	for i, n := range found.Items {
		items[i] = *n.Node
	}
	return list[Node]{
		Items: items, Total: found.Total, Matched: found.Matched, First: found.First,
		Page: found.Page, Pages: found.Pages, Filter: found.Filter, Chips: found.Chips,
	}
}

// DroppedTotal is how many elements of the last result are on no node.
func (r Rule) DroppedTotal() int {
	total := 0
	for _, n := range r.Dropped {
		total += n
	}
	return total
}

// Last is the metric's newest sample; nil if it has none.
func (m Metric) Last() *Sample {
	if len(m.Samples) == 0 {
		return nil
	}
	return &m.Samples[len(m.Samples)-1]
}

// Shown is the newest value as Scope shows it.
func (m Metric) Shown() string {
	if last := m.Last(); last != nil {
		return formatMetric(m.Format, last.Value)
	}
	return "–"
}

// Exact is the newest value with all of its digits.
func (m Metric) Exact() string {
	if last := m.Last(); last != nil {
		return formatFloat(last.Value)
	}
	return ""
}

// Spark is the metric's sparkline; nil without samples.
func (m Metric) Spark() *spark { return newSpark(m.Samples) }

// ShortID is the id where there is little room: the beginning of a hash.
func (n Node) ShortID() string {
	return short(n.ID)
}

func (p *pages) nodes(r *http.Request, v *view) error {
	v.Title, v.API = "Nodes", "api/v1/nodes"
	v.Body = listNodes(p.source.Nodes(r.Context()), newFilter(r), nodesPerPage)
	return nil
}

func (p *pages) collectors(_ *http.Request, v *view) error {
	v.Title, v.API = "Collectors", "api/v1/collectors"
	v.Body = v.collectors
	return nil
}

func (p *pages) scope(_ *http.Request, v *view) error {
	v.Title, v.API = "Scope", "api/v1/scope"
	v.Body = v.scope
	return nil
}

func (p *pages) configuration(r *http.Request, v *view) error {
	v.Title, v.API = "Configuration", "api/v1/configuration"
	v.Body = p.source.Configuration(r.Context())
	return nil
}

// originRow is a metric of a node with what is behind it.
type originRow struct {
	Metric Metric
	Origin MetricOrigin
}

// Rows are the metrics with their origins.
func (n NodeExplanation) Rows() []originRow {
	origins := map[string]MetricOrigin{}
	for _, o := range n.Origins {
		origins[o.Metric] = o
	}
	rows := make([]originRow, 0, len(n.Metrics))
	for _, m := range n.Metrics {
		origin, known := origins[m.ID]
		if !known {
			origin.Rule = m.Rule
		}
		rows = append(rows, originRow{Metric: m, Origin: origin})
	}
	return rows
}

func (p *pages) explain(r *http.Request, v *view) error {
	v.Title = "Explain"
	subject := strings.TrimSpace(r.FormValue("subject"))
	v.Subject = subject
	body := struct {
		Explanation
		Asked bool
		Error string
	}{Asked: subject != ""}
	if subject != "" {
		v.Title = "Explain " + subject
		v.API = "api/v1/explain?" + url.Values{"subject": {subject}}.Encode()
		explanation, err := p.source.Explain(r.Context(), subject)
		if err != nil {
			body.Error = err.Error()
			v.Code = http.StatusBadRequest
		}
		body.Explanation = explanation
	}
	v.Body = body
	return nil
}
