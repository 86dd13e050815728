package explain

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/promscope/promscope/bridge/view"
	"github.com/promscope/promscope/mapping"
)

// observed is what is added about a process that only promscope asks.
const observed = " Scrapes and discovery of promscope alone caused all HTTP requests that it has answered. They do not count (option own_requests of the collector http)."

// ownRequests are the requests of promscope's, by process.
const ownRequests = "promscope_http_own_requests_total"

// gatherer is a collector that can be asked at once, without a scrape.
type gatherer interface {
	prometheus.Gatherer
	Serves(beginning string) bool
}

// noteObserved tells of each process whose only requests were promscope's. It asks the
// collector that counts them once, and only if there is a process: asking counts
// against the collector's budget.
func noteObserved[G gatherer](nodes []view.NodeExplanation, collectors []G) {
	process := func(n view.NodeExplanation) bool { return n.Topology == string(mapping.Process) }
	http := slices.IndexFunc(collectors, func(c G) bool { return c.Serves(ownRequests) })
	if http < 0 || !slices.ContainsFunc(nodes, process) {
		return
	}
	families, err := collectors[http].Gather()
	if err != nil {
		return
	}
	for i := range nodes {
		if n := &nodes[i]; process(*n) && observedOnly(families, n.ID) {
			n.Note = n.Verdict() + observed
		}
	}
}

// observedOnly reports whether the process has answered promscope, and nobody else.
func observedOnly(families []*dto.MetricFamily, pid string) bool {
	has := func(name string) bool {
		for _, family := range families {
			for _, m := range family.GetMetric() {
				for _, l := range m.GetLabel() {
					if family.GetName() == name && l.GetName() == "pid" && l.GetValue() == pid {
						return true
					}
				}
			}
		}
		return false
	}
	return has(ownRequests) && !has("promscope_http_requests_total")
}
