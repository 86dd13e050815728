package mapping

import (
	"maps"
	"sync"
)

// A namespace knows the ids and labels that metrics have on each topology, so
// that those of ${label} rules, which only data tells, collide with none. It is safe for
// concurrent use.
type namespace struct {
	mu          sync.Mutex
	ids, labels map[key]bool // the taken ones
	released    int          // how many templates were given back
}

func newNamespace(rules []*Rule) *namespace {
	n := &namespace{ids: map[key]bool{}, labels: map[key]bool{}}
	for _, t := range Topologies() {
		for _, own := range t.builtins() {
			n.ids[key{t, own.id}], n.labels[key{t, own.label}] = true, true
		}
	}
	for _, r := range rules {
		if len(r.metric.names) == 0 {
			n.ids[key{r.Topology, r.Metric}], n.labels[key{r.Topology, r.Label}] = true, true
		}
	}
	return n
}

func (n *namespace) copy() *namespace {
	n.mu.Lock()
	defer n.mu.Unlock()
	return &namespace{ids: maps.Clone(n.ids), labels: maps.Clone(n.labels), released: n.released}
}

// claim takes a template's id and label, or returns the reason why it cannot.
func (n *namespace) claim(topology Topology, t *Template) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	id, label := key{topology, t.ID}, key{topology, t.Label}
	switch {
	case n.ids[id]:
		return DropIDCollision
	case n.labels[label]:
		return DropLabelCollision
	}
	n.ids[id], n.labels[label] = true, true
	return ""
}

// release gives a template's id and label back.
func (n *namespace) release(topology Topology, t *Template) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.ids, key{topology, t.ID})
	delete(n.labels, key{topology, t.Label})
	n.released++
}

// releases returns how many templates were given back so far.
func (n *namespace) releases() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.released
}
