package scrape

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/scrape/request"
)

// whose is who answers a target's scrapes, as far as it is known.
type whose struct {
	origin   labels.Labels // of the process that accepted the connection
	said     Testimony     // of the last exposition
	labels   labels.Labels // those of the origin that the series get
	withheld string        // why they do not get all of them; empty if they do
	// unsteady: answers contradict each other while the origin stays the same. No label
	// of it is right then.
	unsteady bool
}

const unsteady = "its answers come from different processes or machines in turn, by what node_uname_info and process_start_time_seconds say"

// follow puts the labels of the process that answers onto the target's series, as far as
// that agrees with what the target says of itself.
func (l *loop) follow(origin labels.Labels, said Testimony) {
	w := whose{origin: origin, said: said, labels: origin, unsteady: l.whose.unsteady}
	switch {
	case origin.IsEmpty():
	case w.unsteady:
		w.labels, w.withheld = labels.EmptyLabels(), unsteady
	case l.shared.own != nil:
		w.labels, w.withheld = l.shared.own(origin, said)
	}
	if l.shared.knownBy != nil {
		l.app.witness.await(l.shared.knownBy(origin))
	}
	before := l.whose
	l.whose = w
	if w.withheld != before.withheld {
		l.mu.Lock()
		l.status.Withheld = w.withheld
		l.mu.Unlock()
	}
	if labels.Equal(w.labels, before.labels) {
		return
	}
	l.promptCommits = commitsAfterChange
	target, added := labels.NewBuilder(l.target.Public), labels.NewBuilder(labels.EmptyLabels())
	w.labels.Range(func(o labels.Label) {
		if !l.target.Public.Has(o.Name) {
			target.Set(o.Name, o.Value)
			added.Set(o.Name, o.Value)
		}
	})
	public := target.Labels()
	l.app.retarget(public, added.Labels())
	l.app.cache.orphan(l.synthetic.retarget(l.shared.store, l.target.Job, public)...)
	l.mu.Lock()
	l.status.Labels = public
	l.mu.Unlock()
}

// followOrigin takes in who accepted the connection of the scrape in progress. What the
// one before said of itself does not count.
func (l *loop) followOrigin(origin labels.Labels) {
	if !labels.Equal(origin, l.whose.origin) {
		l.whose.unsteady = false
		l.follow(origin, Testimony{})
	}
}

// contradicted takes in what the target said in the scrape in progress. It returns true
// if the series ought to have other labels than they got. A part of an exposition may lack
// what the process is known by.
func (l *loop) contradicted(part bool) bool {
	said := l.app.witness.testimony().or(l.whose.said)
	if part && said.Behind {
		said.Behind = l.whose.said.Behind
	}
	if said.equal(l.whose.said) {
		return false
	}
	said.Starts = slices.Clone(said.Starts)
	before := l.whose.labels
	l.follow(l.whose.origin, said)
	return !labels.Equal(before, l.whose.labels)
}

// fetch fetches and appends the exposition that a query gives. What a target says of
// itself may stand at the exposition's end. If it says that somebody else answers than
// was thought, what was appended is thrown away, and the target asked once more: that
// happens when the target changes. To look at each body before it is parsed would cost
// memory for all of it, each time.
func (l *loop) fetch(ctx context.Context, query url.Values, res *result) error {
	if err := l.forcedError(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, l.target.Timeout)
	defer cancel()
	err := l.fetchOnce(ctx, query, res)
	if err != nil || !l.contradicted(query != nil) {
		return err
	}
	l.again(res)
	if err = l.fetchOnce(ctx, query, res); err != nil || !l.contradicted(query != nil) {
		return err
	}
	l.whose.unsteady = true
	l.follow(l.whose.origin, l.whose.said)
	return request.NewError("identity", errors.New(unsteady))
}

// again begins the scrape in progress anew.
func (l *loop) again(res *result) {
	l.app.batch.Reset()
	l.app.begin(time.UnixMilli(l.app.at))
	*res = result{}
}
