package pipeline

import (
	"sync"
	"time"

	"github.com/promscope/promscope/bridge/scrape"
	"github.com/promscope/promscope/bridge/store"
)

// A rule whose evaluation timed out is tried again after retryAfter, and after twice
// as long each time that it times out again, up to retryAtMost.
const (
	retryAfter  = 10 * time.Second
	retryAtMost = 5 * time.Minute
)

// schedule decides which rules are evaluated when. Evaluation follows the data: a
// rule becomes due when samples that it selects arrive. It is evaluated at their
// timestamp, so that a counter's increase is not extrapolated beyond the scrape.
//
// A rule that one target feeds is evaluated at each of that target's scrapes: when samples
// come that are 0.9 of the interval younger than those of its last evaluation. The
// samples' own times count: an evaluation that came late does not make the next one late.
//
// A rule that two hundred targets feed would be evaluated two hundred times an interval. It
// is evaluated four times, so that no value waits for longer than a quarter of it, as long
// as the rules are cheap: see [schedule.pause].
//
// A standing rule has a value without any samples, absent(up) for example. It goes
// alone, too, where no samples arrive.
//
// A rule is evaluated once at a time: one that is taken is not due again before it is
// done.
type schedule struct {
	mu       sync.Mutex
	rules    []ruleSchedule
	standing []time.Duration // intervals of standing rules; 0 for rules that need samples
	total    time.Duration   // of the rules' costs
	next     time.Time       // when the evaluator looks again, at the latest
	// wake has room for one: a commit must not wait for an evaluation.
	wake chan struct{}
	now  func() time.Time
}

type ruleSchedule struct {
	pending bool      // there are samples that were not evaluated
	at      time.Time // newest timestamp of these samples
	overdue time.Time // when the rule goes with these samples
	ready   bool      // due now

	last   time.Time // wall time of the last evaluation
	lastAt time.Time // timestamp of the last evaluation

	cost    time.Duration // of the last evaluation
	running bool
	retry   time.Time     // not due before, after a timeout
	backoff time.Duration // that led to retry; 0 if the last evaluation did not time out
}

// dueRule is a rule to be evaluated, and the timestamp to do it at.
type dueRule struct {
	rule int
	at   time.Time
	cost time.Duration // of the last evaluation
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
	// The clock was set back after the scrape began: rules would stand still until that time.
	if now := s.now().Round(0); c.Time.Sub(now) > scrape.SetBackBy {
		c.Time = now
	}
	for _, rule := range c.Rules {
		r := &s.rules[rule]
		if c.Time.After(r.at) {
			r.at = c.Time
		}
		if overdue := r.last.Add(s.pause(c.Interval)); !r.pending || overdue.Before(r.overdue) {
			r.overdue = overdue
		}
		r.pending = true
		if c.Time.Sub(r.lastAt) >= c.Interval*9/10 {
			r.ready = true
		}
		s.awake(r)
	}
}

// dueAt returns when the rule is due, which may be past; false if it waits for samples or is
// being evaluated.
func (r *ruleSchedule) dueAt() (at time.Time, due bool) {
	if !r.pending || r.running {
		return time.Time{}, false
	}
	if r.ready {
		return r.retry, true
	}
	return maxTime(r.overdue, r.retry), true
}

// costShare bounds what evaluations take that are not at the pace of the scrapes: one part
// in costShare of a CPU.
const costShare = 100

// pause returns how long after its last evaluation a rule waits with samples that are not an
// interval younger: a quarter of the interval, or longer if all rules together cost so much.
// It is 1.1 of the interval at most, by which time such samples should have come.
func (s *schedule) pause(interval time.Duration) time.Duration {
	return min(max(interval/4, costShare*s.total), interval*11/10)
}

// awake wakes the evaluator if the rule is due before it looks again.
func (s *schedule) awake(r *ruleSchedule) {
	if at, due := r.dueAt(); !due || !at.Before(s.next) {
		return
	}
	select {
	case s.wake <- struct{}{}:
	default: // it is awake already
	}
}

// done takes note of the end of an evaluation, and of the time that it took.
func (s *schedule) done(rule int, cost time.Duration, timedOut bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &s.rules[rule]
	r.running = false
	s.total += cost - r.cost
	r.cost = cost
	if timedOut {
		r.backoff = min(max(retryAfter, 2*r.backoff), retryAtMost)
		r.retry = s.now().Add(r.backoff)
	} else {
		r.backoff, r.retry = 0, time.Time{}
	}
	s.awake(r)
}

// forget forgets when rules were evaluated, and at which timestamps.
func (s *schedule) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.rules {
		s.rules[i] = ruleSchedule{running: s.rules[i].running, cost: s.rules[i].cost}
	}
}

// take returns the rules that are due, in rule order, and how long it is until the
// next one is due without further samples; at most idle.
func (s *schedule) take(idle time.Duration) (due []dueRule, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	wait = idle
	for i := range s.rules {
		r := &s.rules[i]
		if interval := s.standing[i]; interval > 0 && !r.pending {
			// At the start, the samples that it may be about get time to come.
			begin := r.last
			if begin.IsZero() {
				begin = now
			}
			r.pending, r.overdue = true, begin.Add(interval*11/10)
		}
		dueAt, pending := r.dueAt()
		if !pending {
			continue
		}
		if left := dueAt.Sub(now); left > 0 {
			wait = min(wait, left)
			continue
		}
		if r.at.IsZero() { // no samples
			r.at = now.Round(0)
		}
		// Samples of a slow scrape may be older than the last evaluation. Time never
		// runs backwards in a report.
		if r.at.Before(r.lastAt) {
			r.at = r.lastAt
		}
		due = append(due, dueRule{rule: i, at: r.at, cost: r.cost})
		*r = ruleSchedule{last: now, lastAt: r.at, running: true, backoff: r.backoff, cost: r.cost}
		if s.standing[i] > 0 {
			wait = min(wait, s.standing[i]*11/10)
		}
	}
	s.next = now.Add(wait)
	return due, wait
}

// takeOver goes on where the schedule of another set has ended, for the rules that are
// the same, by their indices there and here. An evaluation that was broken off is due.
func (s *schedule) takeOver(old *schedule, same map[int]int) {
	old.mu.Lock()
	defer old.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, j := range same {
		r := old.rules[i]
		if r.running {
			r.running, r.pending, r.ready = false, true, true
			r.at = maxTime(r.at, r.lastAt)
		}
		s.rules[j] = r
		s.total += r.cost
	}
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
