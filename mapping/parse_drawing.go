package mapping

import (
	"math"
	"strings"

	"github.com/promscope/promscope/mapping/document"
)

// formats are the words for format, in the order of the documentation.
func formats() []string { return []string{"percent", "filesize", "integer", "number"} }

// readDrawing reads how Scope is to draw the metric.
func (r *Rule) readDrawing(raw rawRule) (list document.List) {
	switch raw.Format {
	case "", "number":
		r.Format = FormatNumber
	case "percent", "filesize", "integer":
		r.Format = Format(raw.Format)
	default:
		d := r.errorf(document.Field(r.node, "format"), "unknown format %q", raw.Format)
		if s := document.Suggest(raw.Format, formats()); s != "" {
			d = d.WithHint("did you mean %s?", s)
		} else {
			d = d.WithHint("formats are %s", strings.Join(formats(), ", "))
		}
		list = append(list, d)
	}
	if r.Format == FormatPercent {
		r.Max = 100
	}
	if raw.Max != nil {
		r.Max = *raw.Max
		if !(r.Max > 0) || math.IsInf(r.Max, 0) {
			list = append(list, r.errorf(document.Field(r.node, "max"), "max must be a number above 0").
				WithHint("leave it out if there is no natural maximum"))
		}
	}
	if p := raw.Priority; p != nil {
		r.Priority = *p
		if math.IsNaN(*p) || math.IsInf(*p, 0) {
			list = append(list, r.errorf(r.priorityAt, "priority must be a finite number"))
		}
	}
	return list
}

// readChoice reads how many values of ${label} are shown, and which, and from which value on
// a node has the metric.
func (r *Rule) readChoice(raw rawRule) (list document.List) {
	for _, key := range []struct {
		name  string
		value *int
		to    *int
	}{{"top", raw.Top, &r.Top}, {"bottom", raw.Bottom, &r.Bottom}} {
		at := document.Field(r.node, key.name)
		switch {
		case key.value == nil:
		case len(r.metric.names) == 0:
			list = append(list, r.errorf(at, "%s is for rules with a ${label} in metric", key.name).
				WithHint("it says how many values of the label are shown at a time"))
		case *key.value < 1:
			list = append(list, r.errorf(at, "%s must be a number above 0", key.name))
		default:
			*key.to = *key.value
		}
	}
	if r.Top > 0 && r.Bottom > 0 {
		list = append(list, r.errorf(document.Field(r.node, "bottom"), "a rule has top or bottom, not both"))
	}
	if raw.Threshold == nil {
		return list
	}
	switch at := document.Field(r.node, "threshold"); {
	case len(r.metric.names) > 0:
		list = append(list, r.errorf(at, "threshold is for rules without a ${label} in metric").
			WithHint("top says how many values of the label are shown at a time"))
	case !(*raw.Threshold > 0) || math.IsInf(*raw.Threshold, 0):
		list = append(list, r.errorf(at, "threshold must be a number above 0").
			WithHint("leave it out to show every value"))
	default:
		r.Threshold = *raw.Threshold
	}
	return list
}
