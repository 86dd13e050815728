package store

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// sweepEvery is how often, in time of commits, forgotten series are looked for.
const sweepEvery = 10 * time.Second

// Options of a Store.
type Options struct {
	// MaxSeries is how many series are kept at a time, in the unit of [Size]; 0 is no
	// limit. Samples of further series are dropped and counted. With the 27 samples of
	// a window of 25 s scraped each second, 100,000 series take 62 MB here.
	MaxSeries int
	// OnCommit, if not nil, is called after each commit that touched a rule's
	// series, outside of any lock and from the committing goroutine. It must
	// not block and must be safe for concurrent use.
	OnCommit func(Commit)
}

// Commit tells what one atomic append brought.
type Commit struct {
	// Time is the scrape's timestamp.
	Time time.Time
	// Interval is the interval of the target that was scraped.
	Interval time.Duration
	// Rules are the indices, ascending, of the rules that select at least one
	// of the appended series. A stale marker counts.
	Rules []int
}

// Store holds the samples of the selected series. It is safe for concurrent
// use.
type Store struct {
	sel     atomic.Pointer[Selection]
	metrics *metrics
	arenas  sync.Pool // of *arena: memory of closed queries
	items   sync.Pool // of *[]item: memory of committed batches
	refused atomic.Uint64

	mu     sync.RWMutex
	opts   Options
	byHash map[uint64]*Series
	byName map[string][]*Series
	series int
	size   int   // of all series
	held   int   // room that batches hold which are not committed yet
	newest int64 // the newest commit's time
	swept  int64 // when forgotten series were last looked for
}

var _ storage.Queryable = (*Store)(nil)

// New returns an empty store for the series of a selection.
func New(sel *Selection, opts Options, reg prometheus.Registerer) *Store {
	s := &Store{
		opts:    opts,
		metrics: newMetrics(reg),
		byHash:  make(map[uint64]*Series),
		byName:  make(map[string][]*Series),
	}
	s.sel.Store(sel)
	return s
}

// Reconfigure gives the store another selection and other options. Series that the new
// selection takes keep their samples and their handles, the others are forgotten. Of a
// batch that was begun before, Commit takes what the new selection takes.
func (s *Store) Reconfigure(sel *Selection, opts Options) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sel.Store(sel)
	s.opts = opts
	for name, list := range s.byName {
		kept := make([]*Series, 0, len(list)) // readers may be in list
		for _, k := range list {
			if k.match = sel.match(k.labels); k.match != nil {
				kept = append(kept, k)
			} else {
				s.forget(k)
			}
		}
		if len(kept) == 0 {
			delete(s.byName, name)
		} else {
			s.byName[name] = kept
		}
	}
	s.metrics.series.Set(float64(s.series))
}

// Selection returns what the store is for.
func (s *Store) Selection() *Selection { return s.sel.Load() }

// Len returns the number of series held.
func (s *Store) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.series
}

// Refused returns how many samples of further series the full store has refused.
func (s *Store) Refused() uint64 { return s.refused.Load() }

// Series returns the handle for a label set, or false if no rule selects it.
// The series is not in the store before a sample of it is committed.
func (s *Store) Series(l labels.Labels) (*Series, bool) {
	m := s.Selection().match(l)
	if m == nil {
		return nil, false
	}
	h := l.Hash()
	s.mu.RLock()
	known := s.lookup(h, l)
	s.mu.RUnlock()
	if known != nil {
		return known, true
	}
	return &Series{labels: l, match: m}, true
}

// Keeps tells whether the selection takes the series.
func (s *Store) Keeps(k *Series) bool { return s.Selection().match(k.labels) != nil }

// lookup finds a known series. The mutex must be held.
func (s *Store) lookup(hash uint64, l labels.Labels) *Series {
	for k := s.byHash[hash]; k != nil; k = k.next {
		if labels.Equal(k.labels, l) {
			return k
		}
	}
	return nil
}

// insert takes a series into the index, or returns the one that already stands
// for its labels, or nil if the store is full. The mutex must be held for
// writing. The caller is to append a sample to what it returns.
func (s *Store) insert(n *Series) *Series {
	hash := n.labels.Hash()
	if k := s.lookup(hash, n.labels); k != nil {
		return k
	}
	size := Size(n.labels)
	if s.opts.MaxSeries > 0 && s.size+s.held+size > s.opts.MaxSeries {
		return nil
	}
	n.next = s.byHash[hash]
	s.byHash[hash] = n
	name := n.labels.Get(model.MetricNameLabel)
	s.byName[name] = append(s.byName[name], n)
	s.series++
	s.size += size
	return n
}

// Forget forgets all series. Handles stay good.
func (s *Store) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, list := range s.byName {
		for _, k := range list {
			s.forget(k)
		}
	}
	clear(s.byName)
	s.newest, s.swept = 0, 0
	s.metrics.series.Set(0)
}

// sweep forgets the series whose newest sample fell out of their window. The
// mutex must be held for writing.
func (s *Store) sweep(now int64) {
	s.swept = now
	for name, list := range s.byName {
		kept := make([]*Series, 0, len(list)) // readers may be in list
		for _, k := range list {
			if newest, _ := k.last(); newest.t >= now-k.match.Window.Milliseconds() {
				kept = append(kept, k)
				continue
			}
			s.forget(k)
		}
		if len(kept) == 0 {
			delete(s.byName, name)
		} else {
			s.byName[name] = kept
		}
	}
}

// forget removes a series from the hash index and drops its samples.
func (s *Store) forget(k *Series) {
	s.metrics.samples.Sub(float64(k.n))
	hash := k.labels.Hash()
	if first := s.byHash[hash]; first != k {
		for first.next != k {
			first = first.next
		}
		first.next = k.next
	} else if k.next != nil {
		s.byHash[hash] = k.next
	} else {
		delete(s.byHash, hash)
	}
	k.next, k.ring = nil, ring{}
	s.series--
	s.size -= Size(k.labels)
}
