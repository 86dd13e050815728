package scrape

import (
	"bytes"
	"slices"
	"strings"
	"unsafe"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/store"
)

// preselector tells from the bytes of an exposed series that no rule selects
// it, for series of which the name alone does not tell. Of a metric like
// node_cpu_seconds_total rules want one mode in eight: the other seven are
// neither parsed nor remembered.
//
// As everywhere before the parser: what looks odd is taken for a match.
type preselector struct {
	sel    *store.Selection
	honor  bool
	pids   []string
	target labels.Labels

	pairs []pair
}

// pair is a label in the bytes that it was exposed in.
type pair struct{ name, value []byte }

// newPreselector returns nil for jobs whose labels relabelling may change.
func newPreselector(job *Config, sel *store.Selection, target labels.Labels, pids []string) *preselector {
	if len(job.MetricRelabelConfigs) > 0 {
		return nil
	}
	return &preselector{sel: sel, honor: job.HonorLabels, target: target, pids: pids}
}

// text decides about a line that begins with a metric name of n bytes.
func (p *preselector) text(line []byte, n int) bool {
	return !p.split(line[n:]) || p.sel.MayMatch(line[:n], p)
}

// split takes labels in the form in which all exporters write them apart, into
// pairs. It returns false for any other form.
func (p *preselector) split(b []byte) bool {
	p.pairs = p.pairs[:0]
	if b[0] == ' ' {
		return b[1] != '{' && b[1] != ' ' && b[1] != '\t'
	}
	if b[0] != '{' {
		return false
	}
	for b = b[1:]; b[0] != '}'; {
		n := 0
		for nameByte(b[n]) {
			n++
		}
		if n == 0 || b[n] != '=' || b[n+1] != '"' {
			return false
		}
		name := b[:n]
		b = b[n+2:]
		end := bytes.IndexByte(b, '"')
		if end < 0 || bytes.IndexByte(b[:end], '\\') >= 0 {
			return false
		}
		p.pairs = append(p.pairs, pair{name, b[:end]})
		if b = b[end+1:]; b[0] == ',' {
			b = b[1:]
		} else if b[0] != '}' {
			return false
		}
	}
	return true
}

// proto decides about a series as the protobuf parser names it: the metric
// name and its labels, separated by bytes that neither can have.
func (p *preselector) proto(exposed []byte) bool {
	p.pairs = p.pairs[:0]
	separator := []byte{model.SeparatorByte}
	name, rest, more := bytes.Cut(exposed, separator)
	for more {
		var label, value []byte
		if label, rest, more = bytes.Cut(rest, separator); !more {
			return true
		}
		value, rest, more = bytes.Cut(rest, separator)
		p.pairs = append(p.pairs, pair{label, value})
	}
	return p.sel.MayMatch(name, p)
}

// Value implements store.Values: what the label will be once the target's
// labels are added.
func (p *preselector) Value(label string) (value string, known bool) {
	exposed, times := p.exposed(label)
	switch {
	case times > 1, p.maybeMoved(label, times):
		return "", false
	case p.target.Has(label) && (times == 0 || !p.honor):
		return p.target.Get(label), true
	case times == 0:
		return "", true
	case label == model.BucketLabel, label == model.QuantileLabel, slices.Contains(p.pids, label):
		return "", false // written in another way later
	default:
		return exposed, true
	}
}

// exposed returns the value of a label as it was exposed, and how often.
func (p *preselector) exposed(label string) (value string, times int) {
	for _, pair := range p.pairs {
		if string(pair.name) == label {
			value = unsafe.String(unsafe.SliceData(pair.value), len(pair.value))
			times++
		}
	}
	return value, times
}

// maybeMoved tells whether a clash with a label of the target may put a value
// into the label: exported_job for job, exported_exported_job if the former is
// exposed too.
func (p *preselector) maybeMoved(label string, times int) bool {
	base, exported := strings.CutPrefix(label, model.ExportedLabelPrefix)
	if !exported {
		return false
	}
	for exported {
		if _, n := p.exposed(base); n > 0 {
			return true
		}
		base, exported = strings.CutPrefix(base, model.ExportedLabelPrefix)
	}
	return times > 0 && p.target.Has(label)
}
