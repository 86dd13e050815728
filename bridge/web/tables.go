package web

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/promscope/promscope/bridge/view"
)

// healths are the kinds of targets, worst first.
func healths() []kind {
	return []kind{
		{string(view.HealthDown), "Down", "bad"},
		{string(view.HealthUnknown), "Not tried yet", "warn"},
		{string(view.HealthUp), "Up", "ok"},
		{string(view.HealthDropped), "Dropped", ""},
	}
}

// rank is the place of a kind in its order.
func rank(kinds []kind, value string) int {
	return slices.IndexFunc(kinds, func(k kind) bool { return k.Value == value })
}

// listTargets is the part of the targets that a filter asks for: those that are
// down first, then by job and instance.
func listTargets(targets []view.Target, f filter, size int) list[view.Target] {
	targets = slices.Clone(targets)
	kinds := healths()
	slices.SortStableFunc(targets, func(a, b view.Target) int {
		return cmp.Or(
			rank(kinds, string(a.Health))-rank(kinds, string(b.Health)),
			strings.Compare(a.Job, b.Job),
			strings.Compare(a.Instance(), b.Instance()),
			strings.Compare(a.URL, b.URL),
		)
	})
	return choose(f, targets, size, kinds,
		func(t view.Target) string { return string(t.Health) },
		func(t view.Target) bool {
			return f.matchLabels(t.Labels, t.Job, t.URL, t.Instance(), t.Error, t.Discovered["__address__"])
		})
}

func (p *pages) targets(r *http.Request, v *frame) error {
	v.Title, v.API = "Targets", "api/v1/targets"
	v.Body = listTargets(v.targets, newFilter(r), targetsPerPage)
	return nil
}

// states are the kinds of rules, worst first.
func states() []kind {
	return []kind{
		{string(view.RuleFailing), "Failing", "bad"},
		{string(view.RuleIdle), "Idle", "idle"},
		{string(view.RuleOK), "At work", "ok"},
	}
}

// listRules is the part of the rules that a filter asks for: those that fail
// first; then in their order, the configuration's before the presets'.
func listRules(rules []view.Rule, f filter, size int) list[view.Rule] {
	rules = slices.Clone(rules)
	order := func(r view.Rule) int {
		switch {
		case r.State() == view.RuleFailing:
			return 0
		case r.Preset == "":
			return 1
		case r.State() == view.RuleOK:
			return 2
		}
		return 3 // of presets, those that have nothing to show here are last
	}
	slices.SortStableFunc(rules, func(a, b view.Rule) int { return order(a) - order(b) })
	return choose(f, rules, size, states(),
		func(r view.Rule) string { return string(r.State()) },
		func(r view.Rule) bool {
			return f.match(r.Name, r.Metric, r.Label, r.Expr, r.Preset, r.Topology, r.NodeLabel, r.Error)
		})
}

func (p *pages) rules(r *http.Request, v *frame) error {
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
func listNodes(nodes []view.Node, f filter, size int) list[view.Node] {
	type ranked struct {
		*view.Node
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
	items := make([]view.Node, len(found.Items))
	for i, n := range found.Items {
		items[i] = *n.Node
	}
	return list[view.Node]{
		Items: items, Total: found.Total, Matched: found.Matched, First: found.First,
		Page: found.Page, Pages: found.Pages, Filter: found.Filter, Chips: found.Chips,
	}
}

func (p *pages) nodes(r *http.Request, v *frame) error {
	v.Title, v.API = "Nodes", "api/v1/nodes"
	v.Body = listNodes(p.source.Nodes(r.Context()), newFilter(r), nodesPerPage)
	return nil
}

func (p *pages) collectors(_ *http.Request, v *frame) error {
	v.Title, v.API = "Collectors", "api/v1/collectors"
	v.Body = v.collectors
	return nil
}

func (p *pages) scope(_ *http.Request, v *frame) error {
	v.Title, v.API = "Scope", "api/v1/scope"
	v.Body = v.scope
	return nil
}

func (p *pages) configuration(r *http.Request, v *frame) error {
	v.Title, v.API = "Configuration", "api/v1/configuration"
	v.Body = p.source.Configuration(r.Context())
	return nil
}

func (p *pages) explain(r *http.Request, v *frame) error {
	v.Title = "Explain"
	subject := strings.TrimSpace(r.FormValue("subject"))
	v.Subject = subject
	body := struct {
		view.Explanation
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
