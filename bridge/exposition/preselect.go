package exposition

import (
	"bytes"
	"slices"
	"strings"
	"unsafe"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

// MayMatch tells whether somebody may want a series of the metric name. It asks for
// the labels that it needs: value returns a label's value, empty if the series lacks
// the label, and false if the value cannot be told. It keeps neither argument.
type MayMatch func(name []byte, value func(label string) (value string, known bool)) bool

// A Preselector tells by the labels of an exposed series, before it is parsed, that
// nobody wants it. Of a metric like node_cpu_seconds_total rules want one mode in
// eight: the other seven are neither parsed nor remembered.
//
// It knows how a scrape puts the target's labels on a series. It does not know
// relabelling: a job that relabels its metrics has no preselector. A series that
// looks odd counts as wanted.
type Preselector struct {
	mayMatch    MayMatch
	honorLabels bool
	rewritten   []string
	target      labels.Labels
	origin      labels.Labels

	pairs []pair
	value func(label string) (string, bool) // of the series in pairs; made once
}

// pair is a label in the bytes that it was exposed in.
type pair struct{ name, value []byte }

// NewPreselector returns a preselector for the series of a job with that setting of
// honor_labels. The values of the rewritten labels are changed before they are
// matched.
func NewPreselector(mayMatch MayMatch, honorLabels bool, rewritten []string) *Preselector {
	p := &Preselector{mayMatch: mayMatch, honorLabels: honorLabels, rewritten: rewritten}
	p.value = p.finalValue
	return p
}

// SetTarget sets the labels that come onto all series, and those of them that series
// which speak of somebody else do not get.
func (p *Preselector) SetTarget(target, origin labels.Labels) { p.target, p.origin = target, origin }

// text decides about a line that begins with a metric name of n bytes.
func (p *Preselector) text(line []byte, n int) bool {
	return !p.split(line[n:]) || p.mayMatch(line[:n], p.value)
}

// split puts the labels of a line into pairs. It returns false if they are not written
// in the form in which all exporters write them.
func (p *Preselector) split(b []byte) bool {
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
func (p *Preselector) proto(exposed []byte) bool {
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
	return p.mayMatch(name, p.value)
}

// finalValue returns the value that a label has once the target's labels are added.
func (p *Preselector) finalValue(label string) (value string, known bool) {
	exposed, times := p.exposed(label)
	switch {
	case times > 1, p.maybeMoved(label, times):
		return "", false
	case p.origin.Has(label) && p.ofOthers():
		return "", times == 0
	case p.target.Has(label) && (times == 0 || !p.honorLabels):
		return p.target.Get(label), true
	case times == 0:
		return "", true
	case label == model.BucketLabel, label == model.QuantileLabel, slices.Contains(p.rewritten, label):
		return "", false // rewritten later
	default:
		return exposed, true
	}
}

// ofOthers tells whether the series speaks of somebody else than the target: it has a job
// or an instance of its own.
func (p *Preselector) ofOthers() bool {
	for _, name := range [...]string{model.JobLabel, model.InstanceLabel} {
		if renamed, _ := p.exposed(model.ExportedLabelPrefix + name); renamed != "" {
			return true
		}
		own, times := p.exposed(name)
		if p.honorLabels && times > 0 && own != p.target.Get(name) || !p.honorLabels && own != "" {
			return true
		}
	}
	return false
}

// exposed returns the value of a label as it was exposed, and how often it was.
func (p *Preselector) exposed(label string) (value string, times int) {
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
func (p *Preselector) maybeMoved(label string, times int) bool {
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
