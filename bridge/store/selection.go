package store

import (
	"encoding/binary"
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

// Selector is one vector selector of a rule's expression.
type Selector struct {
	// Rule is the index of the rule in the rule set.
	Rule int
	// Matchers are the selector's label matchers, the one on __name__ included.
	Matchers []*labels.Matcher
	// Window is how far back of the newest sample the rule may look:
	// range + offset + lookback.
	Window time.Duration
}

// Selection decides which series are worth keeping. It is immutable and safe
// for concurrent use.
type Selection struct {
	selectors []selector
	// byName holds the selectors that can only take the named metric.
	byName map[string][]*selector
	// open holds the selectors that may take metrics of more than one name.
	open []*selector
	// matches interns match values by the set of selectors that made them:
	// thousands of series share a few of them.
	matches sync.Map
}

// selector is a Selector with its matchers split by what they look at.
type selector struct {
	index  uint32
	rule   int
	window time.Duration
	name   []*labels.Matcher
	rest   []*labels.Matcher
}

// match tells what a series is kept for.
type match struct {
	// Rules are the indices, ascending, of the rules that select the series.
	// The slice is shared and must not be changed.
	Rules []int
	// Window is how far back of the newest sample the samples are kept.
	Window time.Duration

	selection *Selection // that made it
}

// NewSelection returns the union of the selectors.
func NewSelection(selectors []Selector) *Selection {
	s := &Selection{
		selectors: make([]selector, len(selectors)),
		byName:    make(map[string][]*selector),
	}
	for i, sel := range selectors {
		c := &s.selectors[i]
		*c = selector{index: uint32(i), rule: sel.Rule, window: sel.Window}
		for _, m := range sel.Matchers {
			if m.Name == model.MetricNameLabel {
				c.name = append(c.name, m)
			} else {
				c.rest = append(c.rest, m)
			}
		}
		names := c.names()
		for _, n := range names {
			s.byName[n] = append(s.byName[n], c)
		}
		if names == nil {
			s.open = append(s.open, c)
		}
	}
	return s
}

// names lists the only metric names the selector can take, nil if they cannot
// be listed.
func (c *selector) names() []string {
	for _, m := range c.name {
		switch m.Type {
		case labels.MatchEqual:
			return []string{m.Value}
		case labels.MatchRegexp:
			if set := m.SetMatches(); len(set) > 0 {
				return set
			}
		default:
		}
	}
	return nil
}

// Name tells whether any selector might take a series of the metric name. It
// does not allocate and does not keep name.
func (s *Selection) Name(name []byte) bool {
	if len(name) == 0 && len(s.open) == 0 {
		return false
	}
	n := unsafe.String(unsafe.SliceData(name), len(name))
	for _, c := range s.byName[n] {
		if matches(c.name, n) {
			return true
		}
	}
	for _, c := range s.open {
		if matches(c.name, n) {
			return true
		}
	}
	return false
}

// Names lists the metric names that selectors ask for, sorted, and whether
// these are all that any selector can take.
func (s *Selection) Names() (names []string, complete bool) {
	for n := range s.byName {
		names = append(names, n)
	}
	slices.Sort(names)
	return names, len(s.open) == 0
}

// MayMatch tells whether a selector might take a series of the metric name. If
// not, none does, whatever the labels that are not known: value returns a label's
// value, empty if the series lacks the label, and false if that cannot be told. It
// does not allocate and keeps neither argument.
func (s *Selection) MayMatch(name []byte, value func(label string) (string, bool)) bool {
	n := unsafe.String(unsafe.SliceData(name), len(name))
	for _, list := range [2][]*selector{s.byName[n], s.open} {
		for _, c := range list {
			if matches(c.name, n) && c.mayMatchRest(value) {
				return true
			}
		}
	}
	return false
}

func (c *selector) mayMatchRest(value func(label string) (string, bool)) bool {
	for _, m := range c.rest {
		if v, known := value(m.Name); known && !m.Matches(v) {
			return false
		}
	}
	return true
}

// match tells which rules select a series, and how long its samples are kept. It
// returns nil if no rule does.
func (s *Selection) match(l labels.Labels) *match {
	name := l.Get(model.MetricNameLabel)
	var taken [16]uint32
	hits := taken[:0]
	for _, list := range [2][]*selector{s.byName[name], s.open} {
		for _, c := range list {
			if matches(c.name, name) && c.matchRest(l) {
				hits = append(hits, c.index)
			}
		}
	}
	if len(hits) == 0 {
		return nil
	}
	return s.intern(hits)
}

func (c *selector) matchRest(l labels.Labels) bool {
	for _, m := range c.rest {
		if !m.Matches(l.Get(m.Name)) {
			return false
		}
	}
	return true
}

func matches(ms []*labels.Matcher, value string) bool {
	for _, m := range ms {
		if !m.Matches(value) {
			return false
		}
	}
	return true
}

// intern returns the one match of a set of selectors. The number of distinct
// sets is bounded by the rules, not by the series.
func (s *Selection) intern(hits []uint32) *match {
	var buf [64]byte
	key := buf[:0]
	for _, i := range hits {
		key = binary.AppendUvarint(key, uint64(i))
	}
	if m, ok := s.matches.Load(string(key)); ok {
		return m.(*match)
	}
	m := &match{selection: s}
	for _, i := range hits {
		c := &s.selectors[i]
		m.Rules = append(m.Rules, c.rule)
		m.Window = max(m.Window, c.window)
	}
	slices.Sort(m.Rules)
	m.Rules = slices.Compact(m.Rules)
	actual, _ := s.matches.LoadOrStore(string(key), m)
	return actual.(*match)
}
