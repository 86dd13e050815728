package view

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/promscope/promscope/bridge/format"
)

// textPrinter writes indented lines.
type textPrinter struct {
	w   *bufio.Writer
	now time.Time
}

func (p *textPrinter) line(depth int, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		// A bufio.Writer keeps its first error for Flush.
		_, _ = p.w.WriteString(strings.Repeat("  ", depth) + printable(line) + "\n")
	}
}

// fact writes a name and its value in two columns.
func (p *textPrinter) fact(depth int, name, format string, args ...any) {
	p.line(depth, "%-12s %s", name, fmt.Sprintf(format, args...))
}

// printable is text for a terminal, whose spaces are plain: a label value is anybody's
// text.
func printable(text string) string {
	return strings.ReplaceAll(format.Printable(text), "\u00a0", " ")
}

// WriteText writes the explanation for a terminal, as it is at the given time.
func (e Explanation) WriteText(w io.Writer, now time.Time) error {
	p := &textPrinter{w: bufio.NewWriter(w), now: now}
	if !e.Found() {
		p.line(0, "%s: nothing goes by that name: %s.", e.Subject, e.Nothing())
	}
	blank := false
	separate := func() {
		if blank {
			p.line(0, "")
		}
		blank = true
	}
	for _, n := range e.Nodes {
		separate()
		p.node(n)
	}
	if e.MoreNodes > 0 {
		p.line(0, "\n%s by that name; a pid, or another id, shows one.", format.Plural(e.MoreNodes, "more node goes", "more nodes go"))
	}
	for _, l := range e.Listeners {
		separate()
		p.listener(l)
	}
	for _, r := range e.Rules {
		separate()
		p.rule(r)
	}
	for _, s := range e.Series {
		separate()
		p.series(s)
	}
	if e.More > 0 {
		p.line(0, "\n%s; a narrower selector shows them.", format.Plural(e.More, "more series", "more series"))
	}
	for _, hint := range e.Hints {
		p.line(0, "%s", hint)
	}
	return p.w.Flush()
}

func (p *textPrinter) node(n NodeExplanation) {
	name := n.Key
	if n.Name != "" {
		name += " (" + n.Name + ")"
	}
	p.line(0, "node %s", name)
	p.line(1, "%s", n.Verdict())
	for _, told := range n.Told() {
		p.line(1, "%s = %s  (%s)", told.Label, told.Text, told.ID)
		p.fact(2, "rule", "%s", told.Origin.Rule)
		if told.Origin.Expr != "" {
			p.fact(2, "expression", "%s", told.Origin.Expr)
		}
		p.targets(2, told.Origin.Targets)
		if len(told.Samples) > 0 {
			p.fact(2, "last sample", "%s", format.Ago(p.now, told.Samples[len(told.Samples)-1].Time))
		}
	}
	for _, d := range n.Drops {
		p.fact(1, "dropped", "%s  %s", d.Rule, d.Outcome())
	}
}

func (p *textPrinter) listener(l ListenerExplanation) {
	name := l.Name
	if owner := l.Owner(); owner != "" {
		name += " (" + owner + ")"
	}
	p.line(0, "listener %s", name)
	p.line(1, "%s", l.Verdict())
	if !l.Asked.IsZero() {
		p.fact(1, "asked", "%s", format.Ago(p.now, l.Asked))
	}
}

func (p *textPrinter) targets(depth int, targets []TargetRef) {
	for i, t := range targets {
		name := "targets"
		if i > 0 {
			name = ""
		}
		p.fact(depth, name, "%s", describe(t))
	}
}

// describe is a target in one line.
func describe(t TargetRef) string {
	text := t.String() + ", " + string(t.Health)
	if t.Error != "" {
		text += ": " + t.Error
	}
	return text
}

func (p *textPrinter) rule(r RuleExplanation) {
	p.line(0, "rule %s (%s)", r.Name, r.Label)
	p.line(1, "%s", r.Verdict())
	if r.Error != "" {
		p.fact(1, "error", "%s", r.Error)
	}
	for _, warning := range r.Warnings {
		p.fact(1, "warning", "%s", warning)
	}
	p.fact(1, "expression", "%s", r.Expr)
	if r.Position != "" {
		p.fact(1, "written in", "%s", r.Position)
	}
	on := r.Topology
	if r.NodeLabel != "" {
		on += ", by the label " + r.NodeLabel
	}
	if r.Regex != "" {
		on += ", first group of " + r.Regex
	}
	p.fact(1, "on", "%s", on)
	for _, s := range r.Selectors {
		p.fact(1, "selects", "%s  %s, kept for %s", s.Matchers, format.Plural(s.Series, "series", "series"), format.Seconds(s.RetentionSeconds))
	}
	p.targets(1, r.Targets)
	if !r.LastEvaluation.IsZero() {
		p.fact(1, "evaluated", "%s, in %s: %s, %s, %d on nodes", format.Ago(p.now, r.LastEvaluation), format.Seconds(r.LastDurationSeconds),
			format.Plural(r.Series, "series", "series"), format.Plural(r.Elements, "element", "elements"), r.Points)
	}
	if r.Failures > 0 {
		p.fact(1, "failed", "%s of %s", format.Count(r.Failures), format.Plural(r.Evaluations, "evaluation", "evaluations"))
	}
	for _, reason := range slices.Sorted(maps.Keys(r.Dropped)) {
		p.fact(1, "dropped", "%d: %s", r.Dropped[reason], reason)
	}
	for _, element := range r.Results {
		p.line(2, "%s %s  %s", element.Labels, format.Number(float64(element.Value)), cameTo(element))
	}
	if r.More > 0 {
		p.line(2, "and %s more", format.Count(r.More))
	}
	for _, hint := range r.Hints {
		p.line(1, "%s", hint)
	}
}

// cameTo is where an element went.
func cameTo(e Element) string {
	switch {
	case e.Dropped != "":
		return "dropped: " + e.Outcome()
	case e.Metric != "":
		return "→ " + e.Node + " " + e.Metric
	}
	return "→ " + e.Node
}

func (p *textPrinter) series(s SeriesExplanation) {
	p.line(0, "series %s", s.Labels)
	p.line(1, "%s", s.Verdict())
	if s.Target != nil {
		p.fact(1, "served by", "%s", describe(*s.Target))
	}
	if s.Whose != "" {
		p.fact(1, "whose", "%s", s.Whose)
	}
	if s.Subject != "" {
		p.fact(1, "speaks of", "%s", s.Subject)
	}
	if s.Last != nil {
		p.fact(1, "stored", "%s, %s", format.Number(s.Last.Value), format.Ago(p.now, s.Last.Time))
	}
	for _, selection := range s.Selected {
		p.fact(1, "taken by", "%s  %s", selection.Rule, selection.Selector)
		if selection.Error != "" {
			p.line(2, "error: %s", selection.Error)
		}
		for _, element := range selection.Elements {
			p.line(2, "%s", cameTo(element))
		}
		if selection.More > 0 {
			p.line(2, "and %s more", format.Count(selection.More))
		}
	}
	for _, refusal := range s.Refused {
		p.fact(1, "refused by", "%s  %s", refusal.Rule, refusal.Selector)
		has := fmt.Sprintf("the series has %q", refusal.Value)
		if refusal.Value == "" {
			has = "the series has no such label"
		}
		p.line(2, "wants %s, %s", refusal.Matcher, has)
	}
}
