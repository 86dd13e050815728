package pipeline

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/promscope/promscope/bridge/store"
)

// clock is a time that a test moves.
type clock struct{ t time.Time }

func (c *clock) at(seconds float64) time.Time {
	c.t = time.Unix(1_800_000_000, 0).Add(time.Duration(seconds * float64(time.Second)))
	return c.t
}

// arrival is a commit that arrives some time after its timestamp.
type arrival struct {
	timestamp, wall float64
	interval        time.Duration
	rules           []int
}

// evaluations plays scrapes against a schedule of two rules, and a standing one of
// that interval if it is not 0, and returns the
// timestamps, in seconds, at which each rule was evaluated. It looks when the schedule
// wakes it or says so, as the evaluator does. Each evaluation costs that.
func evaluations(scrapes []arrival, standing, cost time.Duration, until float64) (got map[int][]float64, looks int) {
	var c clock
	s := newSchedule([]time.Duration{0, 0, standing})
	s.now = func() time.Time { return c.t }
	got = map[int][]float64{}
	epoch := c.at(0)
	take := func() (next time.Time) {
		looks++
		due, wait := s.take(time.Hour)
		for _, d := range due {
			got[d.rule] = append(got[d.rule], d.at.Sub(epoch).Seconds())
			s.done(d.rule, cost, false)
		}
		return c.t.Add(wait)
	}
	next := take()
	for _, sc := range append(scrapes, arrival{wall: until}) {
		for arrives := c.at(sc.wall); next.Before(arrives); {
			c.t = next
			next = take()
		}
		c.at(sc.wall)
		if sc.interval > 0 {
			s.commit(store.Commit{Time: epoch.Add(time.Duration(sc.timestamp * float64(time.Second))), Interval: sc.interval, Rules: sc.rules})
		}
		select {
		case <-s.wake:
			next = take()
		default:
		}
	}
	return got, looks
}

func TestSchedule(t *testing.T) {
	const i = 5 * time.Second
	for _, tt := range []struct {
		name     string
		scrapes  []arrival
		standing time.Duration
		cost     time.Duration
		want     map[int][]float64
	}{{
		name:    "one target: at each of its scrapes",
		scrapes: []arrival{{10, 10.1, i, []int{0}}, {15, 15.3, i, []int{0}}, {20, 20.1, i, []int{0}}},
		want:    map[int][]float64{0: {10, 15, 20}},
	}, {
		name:    "only the rules that the samples feed",
		scrapes: []arrival{{10, 10.1, i, []int{0}}, {11, 11.1, i, []int{1}}, {15, 15.1, i, []int{0}}},
		want:    map[int][]float64{0: {10, 15}, 1: {11}},
	}, {
		name: "two targets: at the scrapes of both",
		scrapes: []arrival{
			{10, 10, i, []int{0}}, {12, 12, i, []int{0}},
			{15, 15, i, []int{0}}, {17, 17, i, []int{0}},
			{20, 20, i, []int{0}},
		},
		want: map[int][]float64{0: {10, 12, 15, 17, 20}},
	}, {
		name: "two targets, of a rule that takes a hundredth of the interval: once an interval, with the first that comes",
		scrapes: []arrival{
			{10, 10, i, []int{0}}, {12, 12, i, []int{0}},
			{15, 15, i, []int{0}}, {17, 17, i, []int{0}},
			{20, 20, i, []int{0}},
		},
		cost: 50 * time.Millisecond,
		want: map[int][]float64{0: {10, 15, 20}},
	}, {
		name: "many targets: each quarter of the interval, with the samples that are there then",
		scrapes: []arrival{
			{10, 10, i, []int{0}}, {10.5, 10.5, i, []int{0}}, {11, 11, i, []int{0}}, {11.5, 11.5, i, []int{0}}, {12, 12, i, []int{0}},
			{12.5, 12.5, i, []int{0}}, {13, 13, i, []int{0}}, {13.5, 13.5, i, []int{0}}, {14, 14, i, []int{0}},
			{14.5, 14.5, i, []int{0}}, {15, 15, i, []int{0}},
		},
		// 1.25 s after the evaluation before, by the clock.
		want: map[int][]float64{0: {10, 11, 12.5, 13.5, 15}},
	}, {
		name: "many targets, of a rule that takes more: each 100 times that",
		scrapes: []arrival{
			{10, 10, i, []int{0}}, {10.5, 10.5, i, []int{0}}, {11, 11, i, []int{0}}, {11.5, 11.5, i, []int{0}}, {12, 12, i, []int{0}},
			{12.5, 12.5, i, []int{0}}, {13, 13, i, []int{0}}, {13.5, 13.5, i, []int{0}}, {14, 14, i, []int{0}},
			{14.5, 14.5, i, []int{0}}, {15, 15, i, []int{0}},
		},
		cost: 22 * time.Millisecond,
		want: map[int][]float64{0: {10, 12, 14, 15}},
	}, {
		name:    "the last samples of a target that vanished go alone",
		scrapes: []arrival{{10, 10, i, []int{0}}, {12, 12, i, []int{0}}},
		want:    map[int][]float64{0: {10, 12}},
	}, {
		name:    "a fast target beside a slow one sets the pace",
		scrapes: []arrival{{10, 10, time.Second, []int{0}}, {10.5, 10.5, i, []int{0}}, {11, 11, time.Second, []int{0}}},
		want:    map[int][]float64{0: {10, 11}},
	}, {
		name:    "samples of a slow scrape do not turn time back",
		scrapes: []arrival{{15, 15, i, []int{0}}, {11, 20, i, []int{0}}},
		want:    map[int][]float64{0: {15, 15}},
	}, {
		name:     "a standing rule without samples",
		standing: 10 * time.Second,
		want:     map[int][]float64{2: {11, 22, 33, 44, 55}},
	}, {
		name:     "a standing rule goes with its samples while there are any",
		scrapes:  []arrival{{9.5, 10, i, []int{2}}, {14.5, 15, i, []int{2}}, {19.5, 20, i, []int{2}}},
		standing: i,
		want:     map[int][]float64{2: {5.5, 9.5, 14.5, 19.5, 25.5, 31, 36.5, 42, 47.5, 53, 58.5}},
	}} {
		t.Run(tt.name, func(t *testing.T) {
			got, _ := evaluations(tt.scrapes, tt.standing, tt.cost, 60)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("evaluations (-want +got):\n%s", diff)
			}
		})
	}
}

// Many targets do not wake the evaluator one by one: for each evaluation it is woken once, by
// the first samples that come after it, and looks again when the rule is due.
func TestManyTargetsWakeSeldom(t *testing.T) {
	var scrapes []arrival
	for i := range 3000 {
		at := 10 + float64(i)/300
		scrapes = append(scrapes, arrival{at, at, time.Second, []int{0}})
	}
	got, looks := evaluations(scrapes, 0, 0, 30)
	if n := len(got[0]); n < 39 || n > 41 || looks > 2*n+2 {
		t.Errorf("%d evaluations in 10 s, for which the evaluator looked %d times", n, looks)
	}
}

// Samples with a time from before the clock was set back are looked at now, and those that
// follow, too.
func TestSamplesOfTheFuture(t *testing.T) {
	var c clock
	s := newSchedule(make([]time.Duration, 1))
	s.now = func() time.Time { return c.t }
	for i, ahead := range []time.Duration{time.Hour, 0, 0} {
		c.at(float64(i))
		s.commit(store.Commit{Time: c.t.Add(ahead), Interval: time.Second, Rules: []int{0}})
		if due, _ := s.take(time.Hour); len(due) != 1 || !due[0].at.Equal(c.t) {
			t.Errorf("due at %s: %v", c.t, due)
		}
		s.done(0, 0, false)
	}
}

// A commit comes from a scrape loop, which must never wait for an evaluation.
func TestCommitNeverBlocks(t *testing.T) {
	s := newSchedule(make([]time.Duration, 1))
	for range 100 {
		s.commit(store.Commit{Time: time.Now(), Interval: time.Second, Rules: []int{0}})
	}
	if due, _ := s.take(time.Second); len(due) != 1 {
		t.Errorf("due after 100 commits: %v, want the rule once", due)
	}
}

// A rule is evaluated once at a time. Samples that come meanwhile are not lost.
func TestRuleIsNotDueWhileItRuns(t *testing.T) {
	var c clock
	s := newSchedule(make([]time.Duration, 1))
	s.now = func() time.Time { return c.t }
	s.commit(store.Commit{Time: c.at(0), Interval: time.Second, Rules: []int{0}})
	if due, _ := s.take(time.Hour); len(due) != 1 {
		t.Fatalf("due: %v", due)
	}
	second := c.at(1)
	s.commit(store.Commit{Time: second, Interval: time.Second, Rules: []int{0}})
	if due, _ := s.take(time.Hour); len(due) != 0 {
		t.Errorf("due while it runs: %v", due)
	}
	s.done(0, 0, false)
	if due, _ := s.take(time.Hour); len(due) != 1 || !due[0].at.Equal(second) {
		t.Errorf("due after it ran: %v", due)
	}
}

// A scrape that comes late does not put its rule out of step with the next ones.
func TestLateScrape(t *testing.T) {
	var c clock
	s := newSchedule(make([]time.Duration, 1))
	s.now = func() time.Time { return c.t }
	for _, scrape := range []struct{ timestamp, arrival float64 }{{10, 10.1}, {15, 18}, {20, 20.1}, {25, 25.1}} {
		at := c.at(scrape.timestamp)
		c.at(scrape.arrival)
		s.commit(store.Commit{Time: at, Interval: 5 * time.Second, Rules: []int{0}})
		if due, _ := s.take(time.Hour); len(due) != 1 || !due[0].at.Equal(at) {
			t.Errorf("due when the scrape of %v s arrives: %v", scrape.timestamp, due)
		}
		s.done(0, 0, false)
	}
}
