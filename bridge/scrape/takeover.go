package scrape

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// ErrHandedOver is the cause with which the context of Manager.Run is cancelled if another
// manager takes over. Scrapes of targets outside of this process that are under way then go on,
// and their samples are committed as those of any other.
var ErrHandedOver = errors.New("another manager takes over")

func handedOver(ctx context.Context) bool { return errors.Is(context.Cause(ctx), ErrHandedOver) }

// leftLoops are the loops of managers that have ended, by targetID.
type leftLoops map[string]leftLoop

// leftLoop is a loop whose place another one may take until a time.
type leftLoop struct {
	*loop
	until time.Time
}

// targetID tells targets apart: by the job's name, and what makes a target.
func targetID(l *loop) string {
	return l.target.Job.JobName + "\xff" + l.target.Public.Get("instance") + "\xff" + l.key
}

// TakeOver makes the manager go on with the targets of another one that has ended, and
// that has the same store: those of the same job and labels. If they are asked as before,
// they are scraped when they are due, after the scrape that is under way. A scrape that was broken off is made up for. If
// the job's settings are the same, the target's series go on too. The series of targets that
// are gone go stale after leftGrace. It is called at most once, before Run.
func (m *Manager) TakeOver(old *Manager) {
	// Those that the old one had not come to yet keep their time: managers may follow each other
	// faster than that.
	m.left = maps.Clone(old.left)
	if m.left == nil {
		m.left = leftLoops{}
	}
	until := time.Now().Add(leftGrace)
	for _, l := range old.inside {
		m.left[targetID(l)] = leftLoop{l, until}
	}
	for _, p := range old.pools {
		for _, l := range p.loops {
			m.left[targetID(l)] = leftLoop{l, until}
		}
	}
}

// leftGrace is how long targets of another manager may take to be discovered anew.
const leftGrace = 5 * time.Second

// endLeft marks the series of targets stale that were not taken over in time. It returns how
// long the next one has.
func (m *Manager) endLeft(now time.Time) time.Duration {
	next := leftGrace
	for id, l := range m.left {
		if left := l.until.Sub(now); left > 0 {
			next = min(next, left)
			continue
		}
		l.abort()
		<-l.done
		l.end(now)
		delete(m.left, id)
	}
	return next
}

// claim returns the loop whose place another one takes, nil if there is none. A target that is
// asked at another interval, or for another path, still has the same series: to let the old
// loop end would mark those stale that the new one feeds.
func (left leftLoops) claim(l *loop) *loop {
	id := targetID(l)
	if _, same := left[id]; !same {
		for other, old := range left {
			if old.target.Job.JobName == l.target.Job.JobName && labels.Equal(old.target.Public, l.target.Public) {
				id = other
				break
			}
		}
	}
	old := left[id]
	delete(left, id)
	return old.loop
}

// asksLike tells whether two loops ask the same of the same target, at the same times.
func (l *loop) asksLike(old *loop) bool {
	return old.key == l.key && old.target.Interval == l.target.Interval
}

// sameJob tells whether the settings of the job are the same, so that series are.
func (l *loop) sameJob(old *loop) bool {
	return reflect.DeepEqual(old.target.Job, l.target.Job) && slices.Equal(old.shared.pidLabels, l.shared.pidLabels)
}

// await returns when another loop has ended, whose place this one takes. Its scrape under way
// goes on if this one would do the same.
func (l *loop) await(old *loop) {
	if !l.asksLike(old) || !l.sameJob(old) {
		old.abort()
	}
	stop := context.AfterFunc(l.scraping, old.abort)
	defer stop()
	l.show(old.Status()) // until then
	<-old.done
}

// takeOver goes on where another loop has ended.
func (l *loop) takeOver(old *loop) {
	l.failed, l.left = old.failed, old.left
	if l.asksLike(old) {
		l.next, l.contentType = old.next, old.contentType
		if old.left.Health != HealthUnknown {
			l.promptCommits = 0
		}
	}
	if l.sameJob(old) {
		l.whose = old.whose
		l.app.takeOver(old.app)
		live := old.synthetic.live
		l.synthetic.retarget(l.shared.store, l.target.Job, l.app.target)
		l.synthetic.live = live
		return
	}
	l.app.cache.orphan(old.app.cache.live()...)
	l.app.cache.orphan(old.app.cache.orphans...)
	l.app.cache.orphan(old.synthetic.liveSeries()...)
}

// start takes the target into the gauges, with what the loop before it left.
func (l *loop) start() {
	// The settings by which its labels are judged may be others now.
	l.follow(l.whose.origin, l.whose.said)
	l.show(l.left)
	l.account(func(s *TargetStatus) { s.Labels, s.Withheld = l.app.target, l.whose.withheld })
}

// show takes the target into the gauges, with what is known of it.
func (l *loop) show(before TargetStatus) {
	l.account(func(s *TargetStatus) {
		if before.Health != "" {
			s.Health, s.LastError, s.Since = before.Health, before.LastError, before.Since
			s.LastScrape, s.LastDuration = before.LastScrape, before.LastDuration
			s.Samples, s.Kept, s.Bytes, s.Format = before.Samples, before.Kept, before.Bytes, before.Format
		}
	})
}
