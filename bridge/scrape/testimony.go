package scrape

import (
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

// Testimony is what a target says of itself, by series that are its own and not of
// others. It tells who answers where the connection tells only who accepted it.
type Testimony struct {
	// Nodename is the machine that node_uname_info names, several of them joined by
	// commas; empty if there is none.
	Nodename string
	// Start is process_start_time_seconds, in seconds since 1970; 0 if there is none.
	Start float64
}

// The metrics that testify.
const (
	unameInfo = "node_uname_info"
	startTime = "process_start_time_seconds"
)

// testifies tells whether a metric says who its target is.
func testifies(name []byte) bool {
	switch string(name) {
	case unameInfo, startTime:
		return true
	}
	return false
}

// named tells whether a series, in the bytes by which a parser names it, is of a metric.
func named(exposed []byte, metric string) bool {
	if len(exposed) < len(metric) || string(exposed[:len(metric)]) != metric {
		return false
	}
	return len(exposed) == len(metric) || exposed[len(metric)] == '{' || exposed[len(metric)] == model.SeparatorByte
}

// hear notes what a series says of the target, if it is one that does.
func (t *Testimony) hear(p textparse.Parser, exposed []byte, value float64, scratch *labels.Labels) {
	switch {
	case named(exposed, startTime):
		if p.Labels(scratch); scratch.Len() == 1 && value > 0 { // its own has no labels
			t.Start = value
		}
	case named(exposed, unameInfo):
		p.Labels(scratch)
		for _, name := range [...]string{model.JobLabel, model.InstanceLabel} {
			if scratch.Has(name) || scratch.Has(model.ExportedLabelPrefix+name) {
				return
			}
		}
		t.addNodename(strings.Clone(scratch.Get("nodename")))
	}
}

func (t *Testimony) addNodename(name string) {
	switch t.Nodename {
	case name:
	case "":
		t.Nodename = name
	default:
		t.Nodename += ", " + name
	}
}

// or returns the testimony with what it does not say taken from another one.
func (t Testimony) or(other Testimony) Testimony {
	if t.Nodename == "" {
		t.Nodename = other.Nodename
	}
	if t.Start == 0 {
		t.Start = other.Start
	}
	return t
}
