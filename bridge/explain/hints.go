package explain

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/scrape"
	"github.com/promscope/promscope/bridge/status"
	"github.com/promscope/promscope/bridge/store"
	"github.com/promscope/promscope/mapping"
	"github.com/promscope/promscope/mapping/document"
	"github.com/promscope/promscope/mapping/secret"
)

// How many similar names, and values of a label, are worth showing.
const (
	hintedNames  = 8
	hintedValues = 5
)

// hints say what to try for a subject that nothing goes by. partial tells that not all
// targets said whether they serve it.
func (f *facts) hints(ctx context.Context, subject string, matchers []*labels.Matcher, partial bool) []string {
	var hints []string
	for i, r := range f.Set.Rules() {
		for _, v := range f.Set.Selectors() {
			if v.Rule == i && metricOf(matchers) != "" && metricOf(matchers) == metricOf(v.Matchers) {
				hint := fmt.Sprintf("Rule %s asks for it, by %s", r, status.SelectorText(v.Matchers))
				if !partial {
					hint += ": no target that is up serves it"
				}
				hints = append(hints, hint+".")
			}
		}
	}
	if hint := idlePreset(f.Set, subject); hint != "" {
		hints = append(hints, hint)
	}
	if len(matchers) > 1 {
		if name := nameMatcher(matchers); name != nil {
			// The problems are known already.
			hints = append(hints, f.refusals(matchers, f.Exposed(ctx, []*labels.Matcher{name}).series)...)
		}
	}
	word := metricOf(matchers)
	if names := f.similar(ctx, cmp.Or(word, subject), word != ""); len(names) > 0 {
		hints = append(hints, "Similar names: "+strings.Join(names, ", ")+".")
	}
	return hints
}

// missing says why selectors of a rule find nothing.
func (f *facts) missing(ctx context.Context, rule int) []string {
	var empty []mapping.Selector
	var names []string
	models := f.Models[rule].Selectors // in the order of the set's
	for _, s := range f.Set.Selectors() {
		if s.Rule != rule {
			continue
		}
		found := models[0].Series
		if models = models[1:]; found == 0 {
			empty = append(empty, s)
			if name := metricOf(s.Matchers); name != "" {
				names = append(names, regexp.QuoteMeta(name))
			}
		}
	}
	if len(empty) == 0 {
		return nil
	}
	var hints []string
	add := func(more ...string) {
		for _, hint := range more {
			if !slices.Contains(hints, hint) {
				hints = append(hints, hint)
			}
		}
	}
	for _, s := range empty {
		add(downTargets(admitted(f.Targets, s.Matchers))...)
	}
	if len(names) == 0 {
		return hints
	}
	like, err := labels.NewMatcher(labels.MatchRegexp, model.MetricNameLabel, strings.Join(names, "|"))
	if err != nil {
		return hints
	}
	exposed := f.Exposed(ctx, []*labels.Matcher{like}) // once for all: each asking takes a second
	others := downTargets(f.Targets)                   // also those of jobs that the rule does not ask
	add(slices.DeleteFunc(exposed.problems, func(p string) bool { return slices.Contains(others, p) })...)
	for _, s := range empty {
		name := metricOf(s.Matchers)
		if name == "" {
			continue
		}
		named := slices.DeleteFunc(slices.Clone(exposed.series), func(x store.LatestSample) bool { return x.Labels.Get(model.MetricNameLabel) != name })
		if len(named) == 0 {
			hint := fmt.Sprintf("No target that is up serves %s.", name)
			if exposed.partial {
				hint = fmt.Sprintf("Whether a target serves %s is not known.", name)
			}
			if like := f.similar(ctx, name, true); len(like) > 0 {
				hint += " Similar names: " + strings.Join(like, ", ") + "."
			}
			add(hint)
			continue
		}
		add(f.refusals(s.Matchers, named)...)
		if n := len(named) - countRefused(s.Matchers, named); n > 0 {
			add(fmt.Sprintf("Of what %s selects, %d series %s exposed, but not stored: %s.", status.SelectorText(s.Matchers), n, isOrAre(n), f.notStored()))
		}
	}
	return hints
}

// admitted are the targets that can serve what matchers select, by their own labels.
func admitted(targets []scrape.TargetStatus, matchers []*labels.Matcher) []scrape.TargetStatus {
	return slices.DeleteFunc(slices.Clone(targets), func(t scrape.TargetStatus) bool {
		return slices.ContainsFunc(matchers, func(m *labels.Matcher) bool {
			return t.Labels.Has(m.Name) && !m.Matches(t.Labels.Get(m.Name))
		})
	})
}

// countRefused is how many of some series the matchers do not select.
func countRefused(matchers []*labels.Matcher, series []store.LatestSample) int {
	n := 0
	for _, s := range series {
		if slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(s.Labels.Get(m.Name)) }) {
			n++
		}
	}
	return n
}

// refusals say which matchers refuse series of the metric that they ask for, what
// those have instead, and why they lack the labels of the process that answers.
func (f *facts) refusals(matchers []*labels.Matcher, series []store.LatestSample) []string {
	var sentences []string
	for _, m := range matchers {
		refused, lacking := 0, 0
		var values, reasons []string
		for _, s := range series {
			value := s.Labels.Get(m.Name)
			if m.Matches(value) {
				continue
			}
			if refused++; value == "" {
				lacking++
				reasons = append(reasons, f.whoseOf(s.Labels, m.Name)...)
			} else if value = strconv.Quote(secret.Label(m.Name, value)); !slices.Contains(values, value) {
				values = append(values, value)
			}
		}
		if refused == 0 {
			continue
		}
		slices.Sort(values)
		has := strings.Join(values[:min(len(values), hintedValues)], ", ")
		if n := len(values) - hintedValues; n > 0 {
			has += fmt.Sprintf(" and %d more", n)
		}
		if lacking > 0 {
			has = strings.TrimPrefix(has+", or no such label", ", or ")
		}
		sentences = append(sentences, fmt.Sprintf("Of %d series of %s, %d %s refused by %s: there it is %s.",
			len(series), metricOf(matchers), refused, isOrAre(refused), m, has))
		slices.Sort(reasons)
		reasons = slices.Compact(reasons)
		sentences = append(sentences, reasons[:min(len(reasons), hintedNames)]...)
	}
	return sentences
}

// idlePreset tells of a preset rule that is not in force.
func idlePreset(set *mapping.Set, subject string) string {
	used := map[string]bool{}
	for _, r := range set.Rules() {
		used[r.Preset] = true
	}
	// The names of rules do not depend on these.
	opts := mapping.Options{Interval: func([]*labels.Matcher) time.Duration { return time.Second }, MaxWindow: time.Hour}
	for _, preset := range mapping.Presets() {
		rules, _ := mapping.Preset(preset, opts) // presets have no errors
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

// similar returns other names of rules, their metrics, and metrics of targets that
// look like a word. If that is a metric, targets are asked.
func (f *facts) similar(ctx context.Context, word string, metric bool) []string {
	known := map[string]bool{}
	for _, r := range f.Set.Rules() {
		known[r.String()], known[r.Metric] = true, true
	}
	for _, s := range f.Set.Selectors() {
		if name := metricOf(s.Matchers); name != "" {
			known[name] = true
		}
	}
	// Of the targets only names that have a piece of the word: asking for all of them
	// would parse all there is.
	if pieces := piecesOf(word); metric && len(pieces) > 0 {
		if like, err := labels.NewMatcher(labels.MatchRegexp, model.MetricNameLabel, "(?i:.*("+strings.Join(pieces, "|")+").*)"); err == nil {
			for _, s := range f.Exposed(ctx, []*labels.Matcher{like}).series {
				known[s.Labels.Get(model.MetricNameLabel)] = true
			}
		}
	}
	delete(known, word)
	var names, all []string
	longer := false
	for name := range known {
		all = append(all, name)
		contains := strings.Contains(strings.ToLower(name), strings.ToLower(word))
		if longer = longer || contains; contains || len(name) >= 4 && strings.HasPrefix(word, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	slices.Sort(all)
	// A word that is part of a name was hardly misspelled.
	if meant := document.Suggest(word, all); !longer && meant != "" && !slices.Contains(names, meant) {
		names = slices.Insert(names, 0, meant)
	}
	return names[:min(len(names), hintedNames)]
}

func isOrAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// piecesOf are the pieces of a word of which a slip of the pen leaves one whole: its
// two ends, and of a long word the middle too. They are quoted for a regex; a short
// word has none.
func piecesOf(word string) []string {
	if len(word) < 4 {
		return nil
	}
	const long = 9
	n := max(3, len(word)/3)
	pieces := []string{word[:n], word[len(word)-n:]}
	if len(word) >= long {
		pieces = append(pieces, word[n:len(word)-n])
	}
	for i, piece := range pieces {
		pieces[i] = regexp.QuoteMeta(piece)
	}
	return pieces
}

// nameMatcher is the matcher for the metric's name; nil if there is none.
func nameMatcher(matchers []*labels.Matcher) *labels.Matcher {
	for _, m := range matchers {
		if m.Name == model.MetricNameLabel && m.Type == labels.MatchEqual {
			return m
		}
	}
	return nil
}

// metricOf is the metric name that matchers ask for; "" if they name none.
func metricOf(matchers []*labels.Matcher) string {
	if m := nameMatcher(matchers); m != nil {
		return m.Value
	}
	return ""
}

// downTargets are sentences about targets whose series cannot be known.
func downTargets(targets []scrape.TargetStatus) []string {
	const shown = 4
	var sentences []string
	down := 0
	for i := range targets {
		t := &targets[i]
		if t.Health != scrape.HealthDown {
			continue
		}
		if down++; down <= shown {
			ref := status.TargetRef(t)
			sentences = append(sentences, fmt.Sprintf("Target %s is down, so what it serves is not known: %s.", ref, strings.TrimSuffix(ref.Error, ".")))
		}
	}
	if down > shown {
		sentences = append(sentences, fmt.Sprintf("%d more targets are down.", down-shown))
	}
	return sentences
}
