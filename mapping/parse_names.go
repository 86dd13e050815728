package mapping

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/promscope/promscope/mapping/document"
)

// readRow reads what makes a rule a row.
func (r *Rule) readRow(raw rawRule) (list document.List) {
	if raw.Metric != "" {
		list = append(list, r.errorf(r.metricAt, "a rule has metric or row, not both"))
	}
	for _, key := range []string{"format", "max", "top", "bottom", "threshold"} {
		if at := document.Field(r.node, key); at != nil {
			list = append(list, r.errorf(at, "%s is for metrics: a row has a text", key))
		}
	}
	r.Row, r.Metric, r.metricAt = true, raw.Row, document.Field(r.node, "row")
	at := document.Field(r.node, "value")
	var wrong document.List
	r.text, wrong = r.readPattern(at, raw.Value)
	if list = append(list, wrong...); wrong == nil && len(r.text.names) == 0 {
		list = append(list, r.errorf(at, "value has no ${label}").
			WithHint("it says what the row shows, as in \"${version} · ${role}\""))
	}
	for _, field := range []struct {
		name, text string
		at         *yaml.Node
	}{{"row", raw.Row, r.metricAt}, {"label", raw.Label, r.labelAt}} {
		if strings.Contains(field.text, "${") {
			list = append(list, r.errorf(field.at, "%s has a ${label}: in a row only value may", field.name))
		}
	}
	return list
}

// readNames reads metric and label.
func (r *Rule) readNames() (list document.List) {
	if r.Metric == "" {
		list = append(list, r.errorf(r.metricAt, "metric is missing"))
	}
	if strings.TrimSpace(r.Label) == "" {
		list = append(list, r.errorf(r.labelAt, "label is missing").
			WithHint("label is what Scope calls the metric; put the unit into it, as in \"HTTP p99 (ms)\""))
	}
	if len(list) > 0 {
		return list
	}
	var wrong document.List
	r.metric, wrong = r.readPattern(r.metricAt, r.Metric)
	if list = append(list, wrong...); wrong == nil && !r.metric.isID() {
		list = append(list, r.errorf(r.metricAt, "metric %q is not an id", r.Metric).
			WithHint("an id has letters, digits and underscores"))
	}
	r.label, wrong = r.readPattern(r.labelAt, r.Label)
	if list = append(list, wrong...); len(list) > 0 {
		return list
	}
	inMetric, inLabel := r.metric.labelNames(), r.label.labelNames()
	for _, name := range inLabel {
		if !slices.Contains(inMetric, name) {
			list = append(list, r.errorf(r.metricAt, "label has ${%s}, but metric has not", name).
				WithHint("each value needs an id of its own: add ${%s} to metric", name))
		}
	}
	for _, name := range inMetric {
		if !slices.Contains(inLabel, name) {
			list = append(list, r.errorf(r.labelAt, "metric has ${%s}, but label has not", name).
				WithHint("Scope tells metrics apart by their labels: add ${%s} to label", name))
		}
	}
	return list
}

// readPattern reads one of the rule's values. With an error, the pattern is what comes
// before the wrong part.
func (r *Rule) readPattern(at *yaml.Node, text string) (pattern, document.List) {
	p, offset, err := parsePattern(text)
	if err != nil {
		return p, document.List{r.errorIn(at, problem{offset: offset, message: err.Error()})}
	}
	return p, nil
}
