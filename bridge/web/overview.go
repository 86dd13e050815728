package web

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/promscope/promscope/bridge/format"
	"github.com/promscope/promscope/bridge/view"
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
func findIssues(v *frame, config view.Configuration) []issue {
	var issues []issue
	report := func(i issue) {
		if i.Count > 0 {
			issues = append(issues, i)
		}
	}
	if v.Status.Unhealthy != "" {
		report(issue{Link: "scope", Bad: true, Text: "promscope does not do its job", Detail: []string{v.Status.Unhealthy}, Count: 1})
	}
	if v.Status.NotReady != "" {
		report(issue{Link: "./", Text: "Not ready", Detail: []string{v.Status.NotReady}, Count: 1})
	}
	if config.ReloadError != "" {
		report(issue{Link: "configuration", Bad: true, Text: "The last reload was refused; the configuration before it is in force", Detail: []string{config.ReloadError}, Count: 1})
	}
	down := issue{Link: "targets", Bad: true}
	for _, t := range v.targets {
		if t.Health == view.HealthDown {
			down.add(t.Job + " " + t.Instance() + ": " + t.Error)
		}
	}
	down.Text = format.Plural(down.Count, "target is down", "targets are down")
	report(down)

	failing := issue{Link: "rules", Bad: true}
	idle := issue{Link: "rules"}
	for _, r := range v.rules {
		switch {
		case r.State() == view.RuleFailing:
			failing.add(r.Name + ": " + r.Error)
		case r.State() == view.RuleIdle && r.Preset == "":
			// Presets are for exporters that may not be here; a rule of the
			// configuration was written to show something.
			idle.add(r.Name + ": " + (view.RuleExplanation{Rule: r}).Verdict())
		}
	}
	failing.Text = format.Plural(failing.Count, "rule fails", "rules fail")
	report(failing)

	for _, c := range v.collectors {
		if c.State == view.CollectorFailed {
			report(issue{Link: "collectors", Bad: true, Text: "Collector " + c.Name + " does not work", Detail: []string{c.Error}, Remedy: c.Remedy, Count: 1})
		}
	}
	if v.polledLast().IsZero() {
		report(issue{Link: "scope", Text: "No probe has polled yet", Detail: []string{"Scope's probe looks for " + v.scope.Socket + " every 5 s"}, Count: 1})
	} else if v.Now.Sub(v.polledLast()) > pollLimit {
		report(issue{Link: "scope", Bad: true, Text: "No probe polls any more", Detail: []string{"The last poll was " + format.Ago(v.Now, v.polledLast())}, Count: 1})
	}
	if v.scope.HostWarning != "" {
		report(issue{Link: "scope", Text: "The host's name is doubtful", Detail: []string{v.scope.HostWarning}, Count: 1})
	}
	idle.Text = format.Plural(idle.Count, "rule of the configuration shows nothing", "rules of the configuration show nothing")
	report(idle)
	switch limit := v.Status.SeriesLimit; {
	case limit > 0 && v.Status.Series >= limit:
		full := issue{Link: "series", Text: "The store is full", Count: 1}
		full.Detail = []string{"Series: " + format.Count(v.Status.Series) + ", which is limits.max_series"}
		if n := v.Status.Refused; n > 0 {
			full.Bad = true
			full.Detail[0] += "; " + format.Count(n) + " samples of others refused so far"
		}
		report(full)
	case limit > 0 && v.Status.Series >= limit*9/10:
		report(issue{Link: "series", Text: "The store is nearly full", Detail: []string{format.Plural(v.Status.Series, "series", "series") + " of at most " + format.Count(limit)}, Count: 1})
	}
	if n := v.scope.Report.LeftOut; n > 0 {
		report(issue{
			Link: "nodes", Bad: true, Text: "The report is full", Count: 1,
			Detail: []string{"Scope is not told of " + format.Plural(n, "node", "nodes") + ", beside the " + format.Count(v.scope.Report.Nodes) + " that fit into limits.max_report_size"},
			Remedy: "Raise limits.max_report_size, to 48MiB at most, or switch presets off.",
		})
	}
	if len(config.Warnings) > 0 {
		warnings := issue{Link: "configuration", Text: format.Plural(len(config.Warnings), "warning", "warnings") + " about the configuration"}
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
func (v *frame) polling() int {
	n := 0
	for _, p := range v.scope.Pollers {
		if v.polledLast().Sub(p.LastPoll) < pollLimit {
			n++
		}
	}
	return n
}

// polledLast is when a probe polled last.
func (v *frame) polledLast() time.Time {
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
func (p *pages) overview(r *http.Request, v *frame) error {
	v.Title, v.API = "Overview", "api/v1/status"
	up, down, seen, kept, failing, working := 0, 0, 0, 0, 0, 0
	for _, t := range v.targets {
		switch t.Health {
		case view.HealthUp:
			up++
			seen += t.Samples
			kept += t.Kept
		case view.HealthDown:
			down++
		case view.HealthUnknown, view.HealthDropped:
		}
	}
	for _, r := range v.rules {
		switch r.State() {
		case view.RuleFailing:
			failing++
		case view.RuleOK:
			working++
		case view.RuleIdle:
		}
	}
	stages := []stage{
		{Link: "targets", Name: "Targets up", Figure: format.Count(up), Note: "all that are known"},
		{Link: "series", Name: "Series kept", Figure: format.Count(kept), Note: "of " + format.Count(seen) + " exposed"},
		{Link: "rules", Name: "Rules at work", Figure: format.Count(working), Note: "of " + format.Count(len(v.rules))},
		{Link: "nodes", Name: "Nodes told", Figure: format.Count(v.scope.Report.Nodes), Note: format.Plural(v.scope.Report.Metrics, "metric", "metrics")},
		{Link: "scope", Name: "Last poll", Figure: "–", Note: "no probe yet"},
	}
	if down > 0 {
		stages[0].Note, stages[0].Bad = format.Plural(down, "is down", "are down"), true
	}
	if failing > 0 {
		stages[2].Note, stages[2].Bad = format.Plural(failing, "fails", "fail")+" of "+format.Count(len(v.rules)), true
	}
	if last := v.polledLast(); !last.IsZero() {
		stages[4].Figure = strings.TrimSuffix(format.Ago(v.Now, last), " ago")
		stages[4].Note = "ago, by " + format.Plural(v.polling(), "probe", "probes")
		stages[4].Bad = v.Now.Sub(last) > pollLimit
	}
	var hosts []view.Node
	for _, n := range p.source.Nodes(r.Context()) {
		if n.Topology == "Host" && !n.LeftOut {
			hosts = append(hosts, n)
		}
	}
	v.Body = struct {
		Stages []stage
		Hosts  []view.Node
	}{stages, hosts}
	return nil
}
