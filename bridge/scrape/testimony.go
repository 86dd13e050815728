package scrape

import (
	"bytes"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"

	"github.com/promscope/promscope/bridge/store"
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

// wanted returns which metrics are parsed: those that rules may take, and those that
// testify.
func wanted(sel *store.Selection) func(name []byte) bool {
	return func(name []byte) bool { return sel.Name(name) || testifies(name) }
}

// witness hears what the series of a scrape say of their target.
type witness struct {
	said Testimony // in the scrape in progress
	// The machine that a series of node_uname_info names, as exposed: it seldom changes,
	// and to read its labels each time is five allocations for nothing.
	exposed  []byte
	nodename string // empty if the series is of others
}

// speaks tells whether hear may note something of a series.
func speaks(exposed []byte) bool {
	return string(exposed) == startTime || bytes.HasPrefix(exposed, []byte(unameInfo))
}

// hear notes what a series says, if it is one that testifies.
func (w *witness) hear(p textparse.Parser, exposed []byte, value float64, scratch *labels.Labels) {
	switch {
	case string(exposed) == startTime: // the target's own has no labels
		if value > 0 {
			w.said.Start = value
		}
	case bytes.HasPrefix(exposed, []byte(unameInfo)):
		if !bytes.Equal(exposed, w.exposed) {
			p.Labels(scratch)
			w.exposed, w.nodename = append(w.exposed[:0], exposed...), ownNodename(*scratch)
		}
		w.said.addNodename(w.nodename)
	}
}

// ownNodename returns the machine that a series names if it is one of node_uname_info,
// and not of others than its target.
func ownNodename(series labels.Labels) string {
	for _, name := range [...]string{model.JobLabel, model.InstanceLabel} {
		if series.Get(name) != "" || series.Get(model.ExportedLabelPrefix+name) != "" {
			return ""
		}
	}
	if series.Get(model.MetricNameLabel) != unameInfo {
		return ""
	}
	return strings.Clone(series.Get("nodename"))
}

func (t *Testimony) addNodename(name string) {
	switch {
	case name == "" || name == t.Nodename:
	case t.Nodename == "":
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
