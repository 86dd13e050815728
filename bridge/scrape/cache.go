package scrape

import (
	"hash/maphash"
	"maps"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/store"
)

// cache knows the series of one target by the bytes that stand for them in an
// exposition, so that a series which was there before costs a lookup and no
// allocation. It also knows which of them are live, for stale markers.
//
// It keeps a hash of these bytes: they themselves would be a seventh of all
// that a series takes. With 128 bits and seeds that nobody knows, two series
// of one hash will not happen.
type cache struct {
	seeds   [2]maphash.Seed
	entries map[key]*entry
	round   uint32 // the scrape in progress
	good    int    // number of entries after the last good scrape
	// translated has the entries whose pids mean other processes than they say, and
	// tells whether they still mean these.
	translated map[*entry]func() bool
	// orphans were live under labels that the target, or the series, no longer has.
	orphans []*store.Series
}

type key [2]uint64

// entry is what became of one exposed series.
type entry struct {
	series  *store.Series // nil if it is not kept
	round   uint32        // the last scrape that had it
	outcome outcome
	// ends: the series goes stale when it is no longer exposed, because its
	// samples have no timestamps of their own.
	ends bool
	// live: the last good scrape had it, and it ends.
	live bool
	// tries is how often its pids were translated in vain, up to maxTries; 0 if
	// they are settled.
	tries uint8
	// translated: the cache knows whether its pids still mean the same processes.
	translated bool
}

// maxTries makes pids that are never settled cost a translation in 64 scrapes.
const maxTries = 7

// outcome is what became of an exposed series.
type outcome uint8

const (
	kept       outcome = iota
	unselected         // by any rule
	dropped            // by metric_relabel_configs
)

func newCache() *cache {
	return &cache{
		seeds:      [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		entries:    make(map[key]*entry),
		translated: make(map[*entry]func() bool),
	}
}

func (c *cache) key(exposed []byte) key {
	return key{maphash.Bytes(c.seeds[0], exposed), maphash.Bytes(c.seeds[1], exposed)}
}

// begin begins a scrape.
func (c *cache) begin() { c.round++ }

// get returns the entry of an exposed series, or nil.
func (c *cache) get(exposed []byte) *entry { return c.entries[c.key(exposed)] }

// due tells whether to translate the pids of an entry again: at once if one means another
// process than before. For a process that was not found that is in the next scrape, later
// in one scrape of two, of four and so on. The entries take turns.
func (c *cache) due(e *entry, exposed []byte) bool {
	if e.translated && !c.translated[e]() {
		return true
	}
	if e.tries == 0 || e.round == c.round {
		return false
	}
	every := uint64(1) << (e.tries - 1)
	return (uint64(c.round)+c.key(exposed)[0])%every == 0
}

// put notes what became of an exposed series. If it was live as another one, that
// becomes an orphan.
func (c *cache) put(exposed []byte, s *store.Series, o outcome, pids translation) *entry {
	k := c.key(exposed)
	e := c.entries[k]
	if e == nil {
		e = &entry{series: s, outcome: o}
		c.entries[k] = e
	} else if s == nil || e.series == nil || !labels.Equal(s.Labels(), e.series.Labels()) {
		if e.live {
			c.orphan(e.series)
		}
		*e = entry{series: s, outcome: o, tries: e.tries}
	}
	if !pids.lost {
		e.tries = 0
	} else {
		e.tries = min(e.tries+1, maxTries)
	}
	if e.translated = pids.holds != nil; e.translated {
		c.translated[e] = pids.holds
	} else {
		delete(c.translated, e)
	}
	return e
}

// orphan notes series that go stale at the end of the scrape.
func (c *cache) orphan(series ...*store.Series) { c.orphans = append(c.orphans, series...) }

// relabel forgets all entries, because the labels of the target changed. Those
// that were live become orphans.
func (c *cache) relabel() {
	for _, e := range c.entries {
		if e.live {
			c.orphan(e.series)
		}
	}
	c.clear()
}

// clear forgets all entries.
func (c *cache) clear() {
	clear(c.entries)
	clear(c.translated)
}

// reselect forgets what became of series that another selection may treat otherwise.
func (c *cache) reselect(keeps func(*store.Series) bool) {
	maps.DeleteFunc(c.entries, func(_ key, e *entry) bool {
		forgotten := e.outcome == unselected || e.outcome == kept && !keeps(e.series)
		if forgotten {
			delete(c.translated, e)
		}
		return forgotten
	})
}

// live returns the series that the last good scrape had and that end.
func (c *cache) live() (live []*store.Series) {
	for _, e := range c.entries {
		if e.live {
			live = append(live, e.series)
		}
	}
	return live
}

// succeed ends a good scrape and forgets the entries that it did not have. It calls
// stale for each series that was live and is no longer.
func (c *cache) succeed(stale func(*store.Series)) {
	gone := c.orphans
	c.orphans = nil
	for k, e := range c.entries {
		if e.round == c.round {
			e.live = e.ends
			continue
		}
		if e.live {
			gone = append(gone, e.series)
		}
		delete(c.entries, k)
		delete(c.translated, e)
	}
	c.good = len(c.entries)
	if len(gone) == 0 {
		return
	}
	// A series may have been exposed under other bytes than before.
	present := make(map[*store.Series]bool, len(c.entries))
	for _, e := range c.entries {
		if e.live {
			present[e.series] = true
		}
	}
	for _, s := range gone {
		if !present[s] {
			present[s] = true
			stale(s)
		}
	}
}

// fail ends a scrape that failed, or ends scraping. It calls stale for each
// series that was live.
func (c *cache) fail(stale func(*store.Series)) {
	for _, s := range c.orphans {
		stale(s)
	}
	c.orphans = nil
	for _, e := range c.entries {
		if e.live {
			stale(e.series)
			e.live = false
		}
	}
	// Scrapes that fail each time with other series must not fill it. What this one has
	// worked out stays: one that timed out for its new series gets further the next time.
	if len(c.entries) > 2*c.good+1000 {
		for k, e := range c.entries {
			if e.round != c.round {
				delete(c.entries, k)
				delete(c.translated, e)
			}
		}
	}
}
