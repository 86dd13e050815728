package scrape

import (
	"bytes"
	"slices"
	"strings"
	"unicode"

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
	// Starts are the values of process_start_time_seconds, in seconds since 1970, each once
	// and ascending. A target that watches processes may expose one for each.
	Starts []float64
	// Behind: the process that accepted the connection has metrics by which it is known
	// (Options.KnownBy), and the exposition has none of them.
	Behind bool
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
	// How the names of the metrics begin by which the process that accepted the
	// connection is known, if awaits, and the first of them in the scrape in progress.
	awaits   bool
	prefixes []string
	known    []byte // empty as long as there is none
}

// begin forgets what the scrape before said.
func (w *witness) begin() {
	w.said = Testimony{Starts: w.said.Starts[:0]}
	w.known = w.known[:0]
}

// await tells by which metrics the process is known that accepted the connection.
func (w *witness) await(prefixes []string, awaits bool) { w.prefixes, w.awaits = prefixes, awaits }

// hearName notes whether a metric is one by which the process is known that accepted the
// connection. What follows the name does not matter. To hear names alone is enough, so
// that nothing is parsed for it.
func (w *witness) hearName(name []byte) {
	if len(w.known) > 0 {
		return
	}
	for _, prefix := range w.prefixes {
		if bytes.HasPrefix(name, []byte(prefix)) {
			end := bytes.IndexFunc(name, func(r rune) bool { return r != '_' && r != ':' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
			if end < 0 {
				end = len(name)
			}
			w.known = append(w.known, name[:end]...)
			return
		}
	}
}

// testimony returns what was said in the scrape. It is valid until the next one begins.
func (w *witness) testimony() Testimony {
	w.said.Behind = w.awaits && len(w.known) == 0
	slices.Sort(w.said.Starts)
	w.said.Starts = slices.Compact(w.said.Starts)
	return w.said
}

// speaks tells whether hear may note something of a series.
func speaks(exposed []byte) bool {
	return bytes.HasPrefix(exposed, []byte(startTime)) || bytes.HasPrefix(exposed, []byte(unameInfo))
}

// hear notes what a series says, if it is one that testifies.
func (w *witness) hear(p textparse.Parser, exposed []byte, value float64, scratch *labels.Labels) {
	w.hearName(exposed)
	switch {
	case bytes.HasPrefix(exposed, []byte(startTime)):
		if value > 0 && isOwn(p, startTime, exposed, scratch) {
			w.said.Starts = append(w.said.Starts, value)
		}
	case bytes.HasPrefix(exposed, []byte(unameInfo)):
		if !bytes.Equal(exposed, w.exposed) {
			w.exposed, w.nodename = append(w.exposed[:0], exposed...), ""
			if isOwn(p, unameInfo, exposed, scratch) {
				p.Labels(scratch)
				w.nodename = strings.Clone(scratch.Get("nodename"))
			}
		}
		w.said.addNodename(w.nodename)
	}
}

// isOwn tells whether a series whose name begins with that of a metric is one of that
// metric, and not of others than its target. To read the labels of a series costs
// allocations, and few have any of those that tell.
func isOwn(p textparse.Parser, metric string, exposed []byte, scratch *labels.Labels) bool {
	rest := exposed[len(metric):]
	if len(rest) == 0 {
		return true
	}
	named := rest[0] == '{' || rest[0] == model.SeparatorByte
	if named && !bytes.Contains(rest, []byte(model.JobLabel)) && !bytes.Contains(rest, []byte(model.InstanceLabel)) {
		return true
	}
	p.Labels(scratch)
	for _, name := range [...]string{model.JobLabel, model.InstanceLabel} {
		if scratch.Get(name) != "" || scratch.Get(model.ExportedLabelPrefix+name) != "" {
			return false
		}
	}
	return scratch.Get(model.MetricNameLabel) == metric
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

// or returns the testimony with what it does not say taken from another one. Behind is
// known after each scrape.
func (t Testimony) or(other Testimony) Testimony {
	if t.Nodename == "" {
		t.Nodename = other.Nodename
	}
	if len(t.Starts) == 0 {
		t.Starts = other.Starts
	}
	return t
}

func (t Testimony) equal(other Testimony) bool {
	return t.Nodename == other.Nodename && t.Behind == other.Behind && slices.Equal(t.Starts, other.Starts)
}
