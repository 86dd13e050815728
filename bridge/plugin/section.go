package plugin

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/promscope/promscope/mapping"
)

const (
	// forgetAfter is how long a template stays that no metric has. Scope takes
	// templates for constant, and learns them every 9 s only: one that is soon needed
	// again should stay.
	forgetAfter = 10 * time.Minute
	// forgetInterval is how often such templates are looked for.
	forgetInterval = time.Minute
)

// section is one topology of the report.
type section struct {
	topology  mapping.Topology
	templates []*mapping.Template
	fixed     int                          // so many of them were known beforehand, and stay
	unused    map[*mapping.Template]int64  // since when no metric has them
	looked    int64                        // when unused was last brought up to date
	known     map[string]*mapping.Template // by id
	changed   bool                         // the templates, since head was encoded
	head      []byte                       // the JSON up to the first node
	nodes     []*node                      // in order of their ids, unless unsorted
	unsorted  bool
}

// define returns the template with that id, which is added if there is none. The
// first one that comes with an id stays, since Scope takes templates for constant.
// One that no metric has is replaced: others may have had its priority meanwhile.
func (s *section) define(t mapping.Template) *mapping.Template {
	if math.IsNaN(t.Priority) || math.IsInf(t.Priority, 0) {
		t.Priority = 0 // what Scope makes of a missing one
	}
	t.Label = cmp.Or(t.Label, t.ID)
	known := s.known[t.ID]
	delete(s.unused, known)
	i := slices.Index(s.templates, known)
	switch {
	case i < 0:
		s.templates = append(s.templates, &t)
	case i >= s.fixed && *known != t && !s.uses(known):
		s.templates[i] = &t
	default:
		return known
	}
	s.known[t.ID] = &t
	s.changed = true
	return &t
}

// uses tells whether a node's metric has the template.
func (s *section) uses(t *mapping.Template) bool {
	return slices.ContainsFunc(s.nodes, func(n *node) bool {
		i, found := n.find(t.ID)
		return found && n.metrics[i].template == t
	})
}

// insert adds a node, which update puts in its place.
func (s *section) insert(n *node) {
	s.nodes = append(s.nodes, n)
	s.unsorted = true
}

// update drops what is too old, and encodes what has changed. It calls gone for nodes
// that have nothing left, and reports whether anything has changed.
func (s *section) update(now int64, opts Options, gone func(*node)) (changed bool) {
	if s.unsorted {
		slices.SortFunc(s.nodes, func(a, b *node) int { return strings.Compare(a.id, b.id) })
		s.unsorted = false
	}
	s.nodes = slices.DeleteFunc(s.nodes, func(n *node) bool {
		if !n.changed && now < n.expires {
			return false
		}
		changed = true
		n.expire(now, opts)
		if len(n.metrics) == 0 {
			gone(n)
			return true
		}
		n.published = n.publish(now, opts)
		n.changed = false
		return false
	})
	if len(s.templates) > s.fixed && now-s.looked >= int64(forgetInterval) {
		s.looked = now
		s.forget(now)
	}
	if s.changed {
		s.head = appendTopology(nil, s.topology, s.templates)
		s.changed = false
		changed = true
	}
	return changed
}

// forget drops the templates that came with points and that no metric has had for
// long: names that come and go would fill the report.
func (s *section) forget(now int64) {
	used := make(map[*mapping.Template]bool, len(s.templates))
	for _, n := range s.nodes {
		for _, m := range n.metrics {
			used[m.template] = true
		}
	}
	unused := make(map[*mapping.Template]int64)
	kept := s.templates[:s.fixed]
	for _, t := range s.templates[s.fixed:] {
		since, found := s.unused[t]
		switch {
		case used[t]:
			kept = append(kept, t)
		case found && now-since >= int64(forgetAfter):
			delete(s.known, t.ID)
			s.changed = true
		default:
			if !found {
				since = now
			}
			unused[t] = since
			kept = append(kept, t)
		}
	}
	clear(s.templates[len(kept):])
	s.templates, s.unused = kept, unused
}
