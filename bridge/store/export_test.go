package store

import (
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// Match tells which rules select a series and how long its samples are kept; false if
// none does.
type Match struct {
	Rules  []int
	Window time.Duration
}

func (s *Selection) Match(l labels.Labels) (Match, bool) {
	if m := s.match(l); m != nil {
		return Match{m.Rules, m.Window}, true
	}
	return Match{}, false
}
