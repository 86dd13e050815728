package store

import (
	"fmt"

	"github.com/prometheus/prometheus/model/labels"
)

// Size returns how many series' room one with these labels takes: one for each KiB of
// them. So a limit of series is one of memory, too.
func Size(l labels.Labels) int { return 1 + int(l.ByteSize()/1024) }

// MaxSeries returns how many series are kept at a time, in the unit of [Size]; 0 is no
// limit.
func (s *Store) MaxSeries() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.opts.MaxSeries
}

// Fits returns an error if the store has no room for those series of the batch that it
// does not keep. The batch is then to be given up as a whole: a rule that adds up some
// of a target's series is wrong.
func (b *Batch) Fits() error {
	if b.items == nil {
		return nil
	}
	s := b.store
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.opts.MaxSeries == 0 {
		return nil
	}
	need, further := 0, map[*Series]bool{}
	for i := range *b.items {
		k := (*b.items)[i].series
		if k.known() || further[k] || s.lookup(k.labels.Hash(), k.labels) != nil {
			continue
		}
		further[k] = true
		if s.Selection().match(k.labels) != nil { // it may be another one than when the batch was begun
			need += Size(k.labels)
		}
	}
	if room := s.opts.MaxSeries - s.size; need > max(0, room) {
		return fmt.Errorf("limits.max_series of %d exceeded: there is room for %d more, and rules select %d new ones of this target",
			s.opts.MaxSeries, max(0, room), need)
	}
	return nil
}
