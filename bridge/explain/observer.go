package explain

import (
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/promscope/promscope/bridge/view"
	"github.com/promscope/promscope/mapping"
)

// observed is what is added about a process that only promscope asks.
const observed = " Scrapes and discovery of promscope alone caused all HTTP requests that it has answered. They do not count (option own_requests of the collector http)."

// noteObserved tells of each process whose only requests were promscope's. The collectors
// are asked at once, without a scrape.
func noteObserved[G prometheus.Gatherer](nodes []view.NodeExplanation, collectors []G) {
	for i := range nodes {
		n := &nodes[i]
		if n.Topology != string(mapping.Process) {
			continue
		}
		for _, c := range collectors {
			families, err := c.Gather()
			if err == nil && observedOnly(families, n.ID) {
				n.Note = n.Verdict() + observed
			}
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
	return has("promscope_http_own_requests_total") && !has("promscope_http_requests_total")
}
