package bridge

import (
	"sync"
	"time"

	"github.com/promscope/promscope/bridge/store"
)

// schedule decides which rules are evaluated when. Evaluation follows the
// data: a rule becomes due when samples that it selects arrive, and is
// evaluated at their timestamp, so that a counter's increase is not
// extrapolated beyond what was scraped.
//
// A rule that one target feeds is evaluated exactly at that target's scrapes.
// One that two hundred targets feed would be evaluated two hundred times an
// interval that way, for the same result: it waits until 0.9 of the interval
// has passed since its last evaluation, and goes with the next samples that
// arrive then. Should none arrive (the last target of a rule has vanished and
// left its stale markers), it goes alone after 1.1 of the interval.
//
// A standing rule, which needs no samples to have a value, goes alone, too, where
// none arrive.
type schedule struct {
	mu       sync.Mutex
	rules    []ruleSchedule
	standing []time.Duration // intervals of standing rules; 0 for those that need samples
	// wake has room for one: a commit must not wait for an evaluation.
	wake chan struct{}
	now  func() time.Time
}

type ruleSchedule struct {
	pending bool
	at      time.Time // newest timestamp of the samples not evaluated yet
	overdue time.Time // when the rule goes without further samples
	last    time.Time // wall time of the last evaluation
	lastAt  time.Time // timestamp of the last evaluation
	ready   bool      // due now
}

// dueRule is a rule to be evaluated and the timestamp to do it at.
type dueRule struct {
	rule int
	at   time.Time
}

// newSchedule returns a schedule of rules by their indices. Of standing rules it is
// given the interval, of others 0.
func newSchedule(standing []time.Duration) *schedule {
	return &schedule{
		rules:    make([]ruleSchedule, len(standing)),
		standing: standing,
		wake:     make(chan struct{}, 1),
		now:      time.Now,
	}
}

// commit takes note of samples that have reached the store. It never blocks.
func (s *schedule) commit(c store.Commit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	due := false
	for _, rule := range c.Rules {
		r := &s.rules[rule]
		if c.Time.After(r.at) {
			r.at = c.Time
		}
		if overdue := r.last.Add(c.Interval * 11 / 10); !r.pending || overdue.Before(r.overdue) {
			r.overdue = overdue
		}
		r.pending = true
		if now.Sub(r.last) >= c.Interval*9/10 {
			r.ready = true
			due = true
		}
	}
	if due {
		select {
		case s.wake <- struct{}{}:
		default: // it is awake already
		}
	}
}

// forget forgets when rules were evaluated, and at which timestamps.
func (s *schedule) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.rules)
}

// take returns the rules that are due, in rule order, and how long it is until
// one that is pending goes alone; at most idle.
func (s *schedule) take(idle time.Duration) (due []dueRule, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	wait = idle
	for i := range s.rules {
		r := &s.rules[i]
		if interval := s.standing[i]; interval > 0 && !r.pending {
			// At the start, it gives the samples that it may be about time to come.
			begin := r.last
			if begin.IsZero() {
				begin = now
			}
			r.pending, r.overdue = true, begin.Add(interval*11/10)
		}
		if !r.pending {
			continue
		}
		if left := r.overdue.Sub(now); !r.ready && left > 0 {
			wait = min(wait, left)
			continue
		}
		if r.at.IsZero() { // no samples
			r.at = now.Round(0)
		}
		// Samples of a slow scrape may be older than the last evaluation; time
		// never runs backwards in a report.
		if r.at.Before(r.lastAt) {
			r.at = r.lastAt
		}
		due = append(due, dueRule{rule: i, at: r.at})
		*r = ruleSchedule{last: now, lastAt: r.at}
		if s.standing[i] > 0 {
			wait = min(wait, s.standing[i]*11/10)
		}
	}
	return due, wait
}
