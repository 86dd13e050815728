package store

import "github.com/prometheus/prometheus/model/labels"

// Match tells which rules select a series and how long its samples are kept; false if
// none does.
type Match = match

func (s *Selection) Match(l labels.Labels) (Match, bool) {
	if m := s.match(l); m != nil {
		return *m, true
	}
	return Match{}, false
}
