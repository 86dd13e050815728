package mapping

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
)

const (
	// rowLength is how many characters a row shows at most, the ellipsis included. It is
	// about what a line of the details panel has room for, twice.
	rowLength = 100

	rowJoin  = ", "
	rowMarks = " ·,-/:" // what may stand between the values of a text
	ellipsis = "…"
)

// text is what a row shows of an element, "" if none of the labels has a value. What joins
// values does not begin or end it.
func (m *mapper) text(l labels.Labels) string {
	if !slices.ContainsFunc(m.rule.text.names, l.Has) {
		return ""
	}
	return cutText(strings.Trim(m.rule.text.expand(l, labelPart), rowMarks))
}

// rowText is what a row shows of an element and of those that share its place: each text
// once, in their order, joined. It is "" for a metric.
func (m *mapper) rowText(vector promql.Vector, outcomes []outcome, element int) string {
	if !m.rule.Row {
		return ""
	}
	texts := []string{m.text(vector[element].Metric)}
	for _, i := range m.rivals[m.placed[element]] {
		if outcomes[i].reason == "" {
			texts = append(texts, m.text(vector[i].Metric))
		}
	}
	slices.Sort(texts)
	return cutText(strings.Join(slices.Compact(texts), rowJoin))
}

// cutText cuts a text that is too long.
func cutText(text string) string {
	if utf8.RuneCountInString(text) <= rowLength {
		return text
	}
	runes := 0
	for i := range text {
		if runes == rowLength-1 {
			return strings.TrimRight(text[:i], rowMarks) + ellipsis
		}
		runes++
	}
	return text
}
