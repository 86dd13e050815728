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

// Hold holds room in the store for those series of the batch that it does not keep, until
// the batch is committed or reset. If there is none it returns an error. The batch is then
// to be given up as a whole: a rule that adds up some of a target's series is wrong.
func (b *Batch) Hold() error {
	if b.items == nil {
		return nil
	}
	s := b.store
	s.mu.Lock()
	defer s.mu.Unlock()
	b.release()
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
	if room := max(0, s.opts.MaxSeries-s.size-s.held); need > room {
		return fmt.Errorf("limits.max_series of %d exceeded: there is room for %d more, and rules select %d new ones of this target",
			s.opts.MaxSeries, room, need)
	}
	b.held = need
	s.held += need
	return nil
}

// release gives back the room that the batch holds. The store's mutex must be held for
// writing.
func (b *Batch) release() {
	b.store.held -= b.held
	b.held = 0
}
