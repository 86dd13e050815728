package view

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/scrape"
	"github.com/promscope/promscope/mapping"
	"github.com/promscope/promscope/mapping/document"
)

// hintedNames is how many similar names are worth showing.
const hintedNames = 8

// hints say what to try for a subject that nothing goes by.
func (w *World) hints(ctx context.Context, subject string, matchers []*labels.Matcher) []string {
	var hints []string
	for i, r := range w.Set.Rules() {
		for _, v := range w.Set.Selectors() {
			if v.Rule == i && metricOf(matchers) != "" && metricOf(matchers) == metricOf(v.Matchers) {
				hints = append(hints, fmt.Sprintf("Rule %s asks for it, by %s: no target serves it.", r, SelectorText(v.Matchers)))
			}
		}
	}
	if hint := idlePreset(w.Set, subject); hint != "" {
		hints = append(hints, hint)
	}
	if names := w.similar(ctx, subject, matchers); len(names) > 0 {
		hints = append(hints, "Similar names: "+strings.Join(names, ", ")+".")
	}
	return hints
}

// idlePreset tells of a preset rule that is not in force.
func idlePreset(set *mapping.Set, subject string) string {
	used := map[string]bool{}
	for _, r := range set.Rules() {
		used[r.Preset] = true
	}
	for _, preset := range mapping.Presets() {
		rules, _ := mapping.Preset(preset, mapping.Options{}) // presets have no errors
		for _, r := range rules {
			if r.String() != subject && r.Metric != subject && !strings.EqualFold(r.Label, subject) {
				continue
			}
			if used[preset] {
				return fmt.Sprintf("The preset %s has a rule %s, but a rule of the configuration takes its place.", preset, r)
			}
			return fmt.Sprintf("The preset %s has a rule %s; presets: in the configuration does not list it.", preset, r)
		}
	}
	return ""
}

// similar returns the names of rules, their metrics, and metrics of targets that
// look like the subject.
func (w *World) similar(ctx context.Context, subject string, matchers []*labels.Matcher) []string {
	word := subject
	if name := metricOf(matchers); name != "" {
		word = name
	}
	known := map[string]bool{}
	for _, r := range w.Set.Rules() {
		known[r.String()], known[r.Metric] = true, true
	}
	for _, s := range w.Set.Selectors() {
		if name := metricOf(s.Matchers); name != "" {
			known[name] = true
		}
	}
	// Of the targets only names that contain the word, or nearly all of it: asking
	// for all of them would parse all there is.
	if name := metricOf(matchers); len(name) >= 4 {
		stem := name[:max(4, len(name)*2/3)]
		if like, err := labels.NewMatcher(labels.MatchRegexp, model.MetricNameLabel, "(?i:.*"+stem+".*)"); err == nil {
			series, _ := w.Exposed(ctx, []*labels.Matcher{like})
			for _, s := range series {
				known[s.Labels.Get(model.MetricNameLabel)] = true
			}
		}
	}
	var names, all []string
	for name := range known {
		all = append(all, name)
		if strings.Contains(strings.ToLower(name), strings.ToLower(word)) || len(name) >= 4 && strings.HasPrefix(word, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	slices.Sort(all)
	if meant := document.Suggest(word, all); meant != "" && !slices.Contains(names, meant) {
		names = slices.Insert(names, 0, meant)
	}
	return names[:min(len(names), hintedNames)]
}

// metricOf is the metric name that matchers ask for; "" if they name none.
func metricOf(matchers []*labels.Matcher) string {
	for _, m := range matchers {
		if m.Name == model.MetricNameLabel && m.Type == labels.MatchEqual {
			return m.Value
		}
	}
	return ""
}

// DownTargets are sentences about targets whose series cannot be known.
func DownTargets(targets []scrape.TargetStatus) []string {
	const shown = 4
	var sentences []string
	down := 0
	for i := range targets {
		t := &targets[i]
		if t.Health != scrape.HealthDown {
			continue
		}
		if down++; down <= shown {
			ref := TargetRef(t)
			sentences = append(sentences, fmt.Sprintf("Target %s is down, so what it serves is not known: %s.", ref, strings.TrimSuffix(ref.Error, ".")))
		}
	}
	if down > shown {
		sentences = append(sentences, fmt.Sprintf("%d more targets are down.", down-shown))
	}
	return sentences
}
