package plugin

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/promscope/promscope/mapping"
)

const (
	// forgetAfter is how long no metric has a template before it is dropped. Scope
	// takes templates for constant, and learns them every 9 s only: one that is soon
	// needed again had better stay.
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
	head      chunk
	changed   bool // the templates, since head was encoded
	segments  []*segment
}

// define returns the template with that id, which is added if there is none. The
// first one that comes with an id stays, since Scope takes templates for constant;
// until no metric has it: when it is back, others have had its place meanwhile.
func (s *section) define(t mapping.Template) *mapping.Template {
	if math.IsNaN(t.Priority) || math.IsInf(t.Priority, 0) {
		t.Priority = 0 // what Scope makes of a missing one
	}
	t.Label = cmp.Or(t.Label, t.ID)
	known, found := s.known[t.ID]
	switch {
	case !found:
		known = &t
		s.known[t.ID] = known
		s.templates = append(s.templates, known)
	default:
		if _, unused := s.unused[known]; !unused || *known == t {
			return known
		}
	}
	*known = t
	s.changed = true
	return known
}

// insert adds a node in its place.
func (s *section) insert(n *node) {
	i, _ := slices.BinarySearchFunc(s.segments, n.id, func(seg *segment, id string) int {
		if seg.last() < id {
			return -1
		}
		return 1
	})
	if i == len(s.segments) {
		i-- // beyond the last one: at its end
	}
	if i < 0 {
		s.segments = append(s.segments, &segment{first: true})
		i = 0
	}
	seg := s.segments[i]
	j, _ := slices.BinarySearchFunc(seg.nodes, n.id, func(other *node, id string) int {
		if other.id < id {
			return -1
		}
		return 1
	})
	seg.nodes = slices.Insert(seg.nodes, j, n)
	n.segment = seg
	n.touch()
	if len(seg.nodes) > maxSegmentNodes {
		s.split(i)
	}
}

func (s *section) split(i int) {
	seg := s.segments[i]
	half := len(seg.nodes) / 2
	right := &segment{nodes: slices.Clone(seg.nodes[half:]), changed: true}
	for _, n := range right.nodes {
		n.segment = right
	}
	clear(seg.nodes[half:])
	seg.nodes = seg.nodes[:half]
	seg.changed = true
	s.segments = slices.Insert(s.segments, i+1, right)
}

// sweep drops what is too old, and templates that nothing needs any more. It returns
// the nodes that have nothing left. It leaves no empty segment behind, and only the
// first one without a leading comma.
func (s *section) sweep(now int64, opts Options) (gone []*node) {
	for _, seg := range s.segments {
		gone = append(gone, seg.expire(now, opts)...)
	}
	if len(gone) > 0 {
		s.segments = slices.DeleteFunc(s.segments, func(seg *segment) bool { return len(seg.nodes) == 0 })
	}
	if len(s.templates) > s.fixed && now-s.looked >= int64(forgetInterval) {
		s.looked = now
		s.forget(now)
	}
	for i, seg := range s.segments {
		if first := i == 0; seg.first != first {
			seg.first = first
			seg.changed = true
		}
	}
	return gone
}

// forget drops the templates that came with points and that no metric has had for
// long: names that come and go would fill the report.
func (s *section) forget(now int64) {
	used := make(map[*mapping.Template]bool, len(s.templates))
	for _, seg := range s.segments {
		for _, n := range seg.nodes {
			for _, m := range n.metrics {
				used[m.template] = true
			}
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

// encode brings the section's chunks up to date, and reports whether any was not.
func (s *section) encode(d *deflater) bool {
	changed := s.changed
	if s.changed {
		s.head = d.chunk(appendTopology(nil, s.topology, s.templates))
		s.changed = false
	}
	for _, seg := range s.segments {
		if seg.changed {
			seg.splice(d)
			changed = true
		}
	}
	return changed
}
