package scrape

import (
	"context"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

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
// collect[]=NAME and tell the names of their collectors by a series
// …_collector_success{collector="NAME"}; which of them makes which metric is
// learnt by asking for one at a time, once, and a few a scrape. Some client
// libraries take name[]=METRIC. Neither is believed: a narrowed exposition has
// to have every metric that rules took from the last full one, or all is asked
// for again within the same scrape.
type narrower struct {
	target *target
	names  []string // all metrics that rules can take
	status Narrowed

	learnt
	refresh time.Time // when to ask for all and learn anew
	never   bool      // it cannot be done for this job
}

// learnt is what the narrower knows of the exporter since the last refresh.
type learnt struct {
	needed  map[string]bool            // metrics that rules took from the last full exposition
	pending []string                   // collectors to ask for one by one
	made    map[string]map[string]bool // collector → metrics of needed that it makes
	query   url.Values                 // nil asks for all
	tried   bool                       // an exposition by the query was good
	lacked  string                     // a metric that the last narrowed exposition lacked
}

// newNarrower returns nil for jobs without `narrow`.
func newNarrower(t *target, sel *store.Selection, parsesAll string) *narrower {
	if !t.job.Narrow {
		return nil
	}
	n := &narrower{target: t}
	names, complete := sel.Names()
	reports := reportNames()
	n.names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(reports[:], name) })
	switch {
	case parsesAll != "":
		n.status.Reason, n.never = parsesAll, true
	case !complete:
		n.status.Reason, n.never = "a rule takes metrics of more than one name", true
	}
	return n
}

// giveUp asks for all until the refresh.
func (n *narrower) giveUp(reason string) {
	n.query, n.pending = nil, nil
	n.status.Query, n.status.Reason = "", reason
}

// ask returns the parameters for the next scrape, nil to ask for all.
func (n *narrower) ask(now time.Time) url.Values {
	if n == nil || !now.Before(n.refresh) {
		return nil
	}
	return n.query
}

// full takes note of a full exposition: the metrics that rules took from it,
// and the collectors that it names.
func (n *narrower) full(now time.Time, taken map[string]bool, collectors []string, res *result) {
	n.status.SamplesBefore, n.status.BytesBefore = res.samples, res.bytes
	if n.never || now.Before(n.refresh) {
		return
	}
	n.refresh = now.Add(narrowRefresh)
	if n.query != nil && isSubset(taken, n.needed) && !taken[n.lacked] {
		n.needed = taken
		return
	}
	n.learnt = learnt{needed: taken}
	n.status.Query, n.status.Reason = "", "still finding out how"
	switch {
	case len(taken) == 0:
		n.giveUp("no rule takes a series of it")
	case len(collectors) > 0:
		n.pending, n.made = collectors, make(map[string]map[string]bool)
	default:
		n.byName()
	}
}

// byName tries the other custom.
func (n *narrower) byName() {
	query := url.Values{}
	for _, name := range n.names {
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
	n.query, n.tried = query, false
}

// learn asks for single collectors, for a part of the interval at most. ask
// returns the metrics that rules may take of what a query gives.
func (n *narrower) learn(ctx context.Context, ask func(context.Context, url.Values) (map[string]bool, error)) {
	if n == nil || len(n.pending) == 0 {
		return
	}
	end := time.Now().Add(n.target.interval / narrowProbeShare)
	for len(n.pending) > 0 && time.Now().Before(end) {
		collector := n.pending[0]
		names, err := ask(ctx, url.Values{"collect[]": {collector}})
		if ctx.Err() != nil {
			return
		}
		n.pending = n.pending[1:]
		if err == nil { // One that cannot be asked for alone makes nothing.
			n.made[collector] = names
		}
	}
	if len(n.pending) > 0 {
		return
	}
	query := url.Values{}
	for name := range n.needed {
		makers := n.makers(name)
		switch len(makers) {
		case 0:
			n.byName()
			return
		case len(n.made): // It is there whatever is asked for.
		default:
			for _, c := range makers {
				if !slices.Contains(query["collect[]"], c) {
					query.Add("collect[]", c)
				}
			}
		}
	}
	if len(query) == 0 && len(n.made) > 0 {
		query.Add("collect[]", slices.Min(slices.Collect(maps.Keys(n.made))))
	}
	slices.Sort(query["collect[]"])
	n.try(query)
}

func (n *narrower) makers(name string) (collectors []string) {
	for c, names := range n.made {
		if names[name] {
			collectors = append(collectors, c)
		}
	}
	return collectors
}

// narrowed takes note of a narrowed exposition. It returns false if that
// lacks something, in which case all is to be asked for.
func (n *narrower) narrowed(taken map[string]bool, res *result) bool {
	if res.err != nil {
		// The target is down, or does not like the question.
		if reasonOf(res.err) != "status" {
			return true
		}
		n.giveUp("the target refuses it: " + res.err.Error())
		return false
	}
	for _, name := range slices.Sorted(maps.Keys(n.needed)) {
		if !taken[name] {
			if n.tried {
				// It may be gone: see what there is.
				n.lacked, n.refresh = name, time.Time{}
			} else {
				n.giveUp("the narrowed exposition lacks " + name)
			}
			return false
		}
	}
	if !n.tried && res.samples >= n.status.SamplesBefore {
		n.giveUp("the target does not know the parameters")
		return true
	}
	n.tried, n.lacked = true, ""
	n.status.Query, n.status.Reason = n.query.Encode(), ""
	n.status.SamplesAfter, n.status.BytesAfter = res.samples, res.bytes
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
