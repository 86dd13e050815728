package scrape

import (
	"context"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/bridge/store"
)

const (
	// narrowRefresh is how often all is asked for, to see what is new.
	narrowRefresh = 10 * time.Minute
	// narrowQueryMax bounds the parameters, in bytes: servers bound URLs.
	narrowQueryMax = 4 << 10
	// narrowProbeShare is the part of the interval that learning may take.
	narrowProbeShare = 10
)

// narrower finds out how to ask a target for only what rules need, since an
// exposition costs its exporter fifty times what it costs to read.
//
// There are two customs. Exporters with collectors (node_exporter) take
// collect[]=NAME. They name their collectors by series
// …_collector_success{collector="NAME"}. The narrower learns which collector makes
// which metric by asking for one at a time, once, and for a few in each scrape. Some
// client libraries take name[]=METRIC. The narrower believes neither: a narrowed
// exposition has to have every metric that rules took from the last full one, or it
// asks for all again within the same scrape.
type narrower struct {
	target     *job.Target
	names      []string // all metrics that rules can take
	impossible bool     // for this job
	status     Narrowed

	learnAt  time.Time // when to ask for all, and to learn from it
	exporter exporter
}

// exporter is what a narrower has learnt of an exporter.
type exporter struct {
	needed  map[string]bool            // metrics that rules took from the last full exposition
	pending []string                   // collectors to ask for one by one
	made    map[string]map[string]bool // collector → metrics that it makes
	query   url.Values                 // nil asks for all
	proven  bool                       // an exposition by the query was good
	missing string                     // a metric that an exposition by the query lacked; empty for none
}

// newNarrower returns nil for jobs without `narrow`.
func newNarrower(t *job.Target, sel *store.Selection, parsesAll string) *narrower {
	if !t.Job.Narrow {
		return nil
	}
	n := &narrower{target: t} // which learns at once
	names, complete := sel.Names()
	synthetic := syntheticNames()
	n.names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(synthetic[:], name) })
	switch {
	case parsesAll != "":
		n.status.Reason, n.impossible = parsesAll, true
	case !complete:
		n.status.Reason, n.impossible = "a rule takes metrics of more than one name", true
	}
	return n
}

// learns tells whether the next full exposition is one to learn from.
func (n *narrower) learns(now time.Time) bool {
	return n != nil && !n.impossible && (n.exporter.missing != "" || !now.Before(n.learnAt))
}

// giveUp asks for all until it is time to learn again.
func (n *narrower) giveUp(reason string) {
	n.exporter.query, n.exporter.pending = nil, nil
	n.status.Query, n.status.Reason = "", reason
}

// ask returns the parameters for the next scrape, nil to ask for all.
func (n *narrower) ask(now time.Time) url.Values {
	if n == nil || n.learns(now) {
		return nil
	}
	return n.exporter.query
}

// full takes in a full exposition: the metrics that rules took from it, and the
// collectors that it names.
func (n *narrower) full(now time.Time, taken map[string]bool, collectors []string, res *result) {
	n.status.SamplesBefore, n.status.BytesBefore = res.exposed, res.bytes
	if !n.learns(now) {
		return
	}
	n.learnAt = now.Add(narrowRefresh)
	e := &n.exporter
	if e.query != nil && isSubset(taken, e.needed) && !taken[e.missing] {
		// The query gives all that there is. What it lacked is gone.
		e.needed, e.missing = taken, ""
		return
	}
	*e = exporter{needed: taken}
	n.status.Query, n.status.Reason = "", "still finding out how"
	switch {
	case len(taken) == 0:
		n.giveUp("no rule takes a series of it")
	case len(collectors) > 0:
		e.pending, e.made = collectors, make(map[string]map[string]bool)
	default:
		n.byName()
	}
}

// byName tries the other custom.
func (n *narrower) byName() {
	query := url.Values{}
	names := slices.Clone(n.names)
	for _, name := range slices.Sorted(maps.Keys(n.exporter.needed)) { // those that testify are in no rule
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, name := range names {
		query.Add("name[]", name)
		// Some go by the name of the family.
		for _, suffix := range []string{"_bucket", "_count", "_sum"} {
			if family, ok := strings.CutSuffix(name, suffix); ok {
				query.Add("name[]", family)
			}
		}
	}
	n.try(query)
}

func (n *narrower) try(query url.Values) {
	if len(query.Encode()) > narrowQueryMax {
		n.giveUp("the rules need too many metrics to name them in a request")
		return
	}
	n.exporter.query, n.exporter.proven = query, false
}

// learn asks for single collectors, for at most a part of the interval. ask returns
// the metrics that rules may take of what a query gives.
func (n *narrower) learn(ctx context.Context, ask func(context.Context, url.Values) (map[string]bool, error)) {
	if n == nil || len(n.exporter.pending) == 0 {
		return
	}
	e := &n.exporter
	end := time.Now().Add(n.target.Interval / narrowProbeShare)
	for len(e.pending) > 0 && time.Now().Before(end) {
		collector := e.pending[0]
		names, err := ask(ctx, url.Values{"collect[]": {collector}})
		if ctx.Err() != nil {
			return
		}
		e.pending = e.pending[1:]
		if err == nil { // One that cannot be asked for alone makes nothing.
			e.made[collector] = names
		}
	}
	if len(e.pending) > 0 {
		return
	}
	query := url.Values{}
	for name := range e.needed {
		makers := e.makers(name)
		switch len(makers) {
		case 0:
			n.byName()
			return
		case len(e.made): // It is there whatever is asked for.
		default:
			for _, c := range makers {
				if !slices.Contains(query["collect[]"], c) {
					query.Add("collect[]", c)
				}
			}
		}
	}
	if len(query) == 0 && len(e.made) > 0 {
		query.Add("collect[]", slices.Min(slices.Collect(maps.Keys(e.made))))
	}
	slices.Sort(query["collect[]"])
	n.try(query)
}

// makers returns the collectors that make a metric.
func (e *exporter) makers(name string) (collectors []string) {
	for c, names := range e.made {
		if names[name] {
			collectors = append(collectors, c)
		}
	}
	return collectors
}

// narrowed takes in a narrowed exposition. It returns false if that lacks something, in
// which case all is to be asked for.
func (n *narrower) narrowed(taken map[string]bool, res *result) bool {
	e := &n.exporter
	if res.err != nil {
		// The target is down, or does not like the question.
		if reasonOf(res.err) != "status" {
			return true
		}
		n.giveUp("the target refuses it: " + res.err.Error())
		return false
	}
	for _, name := range slices.Sorted(maps.Keys(e.needed)) {
		if !taken[name] {
			if e.proven {
				e.missing = name // It may be gone: see what there is.
			} else {
				n.giveUp("the narrowed exposition lacks " + name)
			}
			return false
		}
	}
	if !e.proven && res.exposed >= n.status.SamplesBefore {
		n.giveUp("the target does not know the parameters")
		return true
	}
	e.proven = true
	n.status.Query, n.status.Reason = e.query.Encode(), ""
	n.status.SamplesAfter, n.status.BytesAfter = res.exposed, res.bytes
	return true
}

func isSubset(a, b map[string]bool) bool {
	for k := range a {
		if !b[k] {
			return false
		}
	}
	return true
}
