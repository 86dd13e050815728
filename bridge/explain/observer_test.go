package explain

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/promscope/promscope/bridge/view"
	"github.com/promscope/promscope/mapping"
)

// countingCollector counts how often it is gathered.
type countingCollector struct {
	*prometheus.Registry

	prefix   string
	gathered int
}

func (c *countingCollector) Serves(beginning string) bool {
	return strings.HasPrefix(beginning, c.prefix)
}

func (c *countingCollector) Gather() ([]*dto.MetricFamily, error) {
	c.gathered++
	return c.Registry.Gather()
}

func TestNoteObserved(t *testing.T) {
	reg := prometheus.NewRegistry()
	own := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "promscope_http_own_requests_total", Help: "O."}, []string{"pid", "comm"})
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "promscope_http_requests_total", Help: "R."}, []string{"pid", "comm"})
	reg.MustRegister(own, requests)
	own.WithLabelValues("7", "node_exporter").Inc()
	own.WithLabelValues("8", "app").Inc()
	requests.WithLabelValues("8", "app").Inc()
	requests.WithLabelValues("9", "nginx").Inc()

	var nodes []view.NodeExplanation
	for _, id := range []string{"7", "8", "9", "10"} {
		nodes = append(nodes, view.NodeExplanation{Node: view.Node{Topology: string(mapping.Process), ID: id}})
	}
	nodes = append(nodes, view.NodeExplanation{Node: view.Node{Topology: string(mapping.Container), ID: "7"}})
	iowait := &countingCollector{Registry: prometheus.NewRegistry(), prefix: "promscope_cpu_"}
	http := &countingCollector{Registry: reg, prefix: "promscope_http_"}
	noteObserved(nodes, []*countingCollector{iowait, http})
	noteObserved(nodes[4:], []*countingCollector{iowait, http}) // no process
	if iowait.gathered != 0 || http.gathered != 1 {
		t.Errorf("iowait is gathered %d times, http %d times, want 0 and 1", iowait.gathered, http.gathered)
	}
	var notes []string
	for _, n := range nodes {
		notes = append(notes, n.Note)
	}
	want := []string{"Scope is told nothing about this node." + observed, "", "", "", ""}
	if diff := cmp.Diff(want, notes); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
}
