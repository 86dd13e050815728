package web

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// pollLimit is how long no probe may poll before that is worth a line: Scope's
// app forgets what it was told after 15 s.
const pollLimit = 15 * time.Second

// issue is something that needs a look.
type issue struct {
	Link   string // the page that tells more; also the entry of the navigation
	Bad    bool   // else a warning
	Text   string
	Detail []string
	More   int // details left out
	Remedy string
	Count  int
}

// issueDetails is how many details the overview shows of an issue.
const issueDetails = 4

func (i *issue) add(detail string) {
	i.Count++
	if len(i.Detail) == issueDetails {
		i.More++
		return
	}
	i.Detail = append(i.Detail, detail)
}

// findIssues is everything that is not as it should be, worst first.
func findIssues(v *view, config Configuration) []issue {
	var issues []issue
	report := func(i issue) {
		if i.Count > 0 {
			issues = append(issues, i)
		}
	}
	if v.Status.NotReady != "" {
		report(issue{Link: "./", Text: "Not ready", Detail: []string{v.Status.NotReady}, Count: 1})
	}
	if config.ReloadError != "" {
		report(issue{Link: "configuration", Bad: true, Text: "The last reload was refused; the configuration before it is in force", Detail: []string{config.ReloadError}, Count: 1})
	}
	down := issue{Link: "targets", Bad: true}
	for _, t := range v.targets {
		if t.Health == HealthDown {
			down.add(t.Job + " " + t.Instance() + ": " + t.Error)
		}
	}
	down.Text = plural(down.Count, "target is down", "targets are down")
	report(down)

	failing := issue{Link: "rules", Bad: true}
	idle := issue{Link: "rules"}
	for _, r := range v.rules {
		switch {
		case r.State() == RuleFailing:
			failing.add(r.Name + ": " + r.Error)
		case r.State() == RuleIdle && r.Preset == "":
			// Presets are for exporters that may not be here; a rule of the
			// configuration was written to show something.
			idle.add(r.Name + ": " + (RuleExplanation{Rule: r}).Verdict())
		}
	}
	failing.Text = plural(failing.Count, "rule fails", "rules fail")
	report(failing)

	for _, c := range v.collectors {
		if c.State == CollectorFailed {
			report(issue{Link: "collectors", Bad: true, Text: "Collector " + c.Name + " does not work", Detail: []string{c.Error}, Remedy: c.Remedy, Count: 1})
		}
	}
	if v.polledLast().IsZero() {
		report(issue{Link: "scope", Text: "No probe has polled yet", Detail: []string{"Scope's probe looks for " + v.scope.Socket + " every 5 s"}, Count: 1})
	} else if v.Now.Sub(v.polledLast()) > pollLimit {
		report(issue{Link: "scope", Bad: true, Text: "No probe polls any more", Detail: []string{"The last poll was " + formatAgo(v.Now, v.polledLast())}, Count: 1})
	}
	if v.scope.HostWarning != "" {
		report(issue{Link: "scope", Text: "The host's name is doubtful", Detail: []string{v.scope.HostWarning}, Count: 1})
	}
	idle.Text = plural(idle.Count, "rule of the configuration shows nothing", "rules of the configuration show nothing")
	report(idle)
	switch limit := v.Status.SeriesLimit; {
	case limit > 0 && v.Status.Series >= limit:
		full := issue{Link: "series", Text: "The store is full", Count: 1}
		full.Detail = []string{"Series: " + formatCount(v.Status.Series) + ", which is limits.max_series"}
		if n := v.Status.Refused; n > 0 {
			full.Bad = true
			full.Detail[0] += "; " + formatCount(n) + " samples of others refused so far"
		}
		report(full)
	case limit > 0 && v.Status.Series >= limit*9/10:
		report(issue{Link: "series", Text: "The store is nearly full", Detail: []string{plural(v.Status.Series, "series", "series") + " of at most " + formatCount(limit)}, Count: 1})
	}
	if len(config.Warnings) > 0 {
		warnings := issue{Link: "configuration", Text: plural(len(config.Warnings), "warning", "warnings") + " about the configuration"}
		for _, w := range config.Warnings {
			first, _, _ := strings.Cut(w, "\n")
			warnings.add(first)
		}
		report(warnings)
	}
	slices.SortStableFunc(issues, func(a, b issue) int {
		switch {
		case a.Bad == b.Bad:
			return 0
		case a.Bad:
			return -1
		}
		return 1
	})
	return issues
}

// polling is how many probes poll: those that have not stopped long before the last
// poll.
func (v *view) polling() int {
	n := 0
	for _, p := range v.scope.Pollers {
		if v.polledLast().Sub(p.LastPoll) < pollLimit {
			n++
		}
	}
	return n
}

// polledLast is when a probe polled last.
func (v *view) polledLast() time.Time {
	var last time.Time
	for _, p := range v.scope.Pollers {
		if p.LastPoll.After(last) {
			last = p.LastPoll
		}
	}
	return last
}

// stage is one step of the way of the data.
type stage struct {
	Link, Name, Figure, Note string
	Bad                      bool
}

// overview is the way of the data in figures, and what is wrong with it.
func (p *pages) overview(r *http.Request, v *view) error {
	v.Title, v.API = "Overview", "api/v1/status"
	up, down, seen, kept, failing, working := 0, 0, 0, 0, 0, 0
	for _, t := range v.targets {
		switch t.Health {
		case HealthUp:
			up++
			seen += t.Samples
			kept += t.Kept
		case HealthDown:
			down++
		case HealthUnknown, HealthDropped:
		}
	}
	for _, r := range v.rules {
		switch r.State() {
		case RuleFailing:
			failing++
		case RuleOK:
			working++
		case RuleIdle:
		}
	}
	stages := []stage{
		{Link: "targets", Name: "Targets up", Figure: formatCount(up), Note: "all that are known"},
		{Link: "series", Name: "Series kept", Figure: formatCount(v.Status.Series), Note: "of " + formatCount(seen) + " exposed"},
		{Link: "rules", Name: "Rules at work", Figure: formatCount(working), Note: "of " + formatCount(len(v.rules))},
		{Link: "nodes", Name: "Nodes told", Figure: formatCount(v.scope.Report.Nodes), Note: plural(v.scope.Report.Metrics, "metric", "metrics")},
		{Link: "scope", Name: "Last poll", Figure: "–", Note: "no probe yet"},
	}
	if down > 0 {
		stages[0].Note, stages[0].Bad = plural(down, "is down", "are down"), true
	}
	if failing > 0 {
		stages[2].Note, stages[2].Bad = plural(failing, "fails", "fail")+" of "+formatCount(len(v.rules)), true
	}
	if last := v.polledLast(); !last.IsZero() {
		stages[4].Figure = strings.TrimSuffix(formatAgo(v.Now, last), " ago")
		stages[4].Note = "ago, by " + plural(v.polling(), "probe", "probes")
		stages[4].Bad = v.Now.Sub(last) > pollLimit
	}
	var hosts []Node
	for _, n := range p.source.Nodes(r.Context()) {
		if n.Topology == "Host" {
			hosts = append(hosts, n)
		}
	}
	v.Body = struct {
		Stages []stage
		Hosts  []Node
	}{stages, hosts}
	return nil
}
