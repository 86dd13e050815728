package http

import (
	"maps"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// births knows since when each series counts: since the gathering before the first that has it,
// which saw that nothing was counted. A counter is not exposed while it is 0.
type births struct {
	last   *timestamppb.Timestamp // when the last gathering began, or the collector
	before map[birth]*timestamppb.Timestamp
	now    map[birth]*timestamppb.Timestamp // of the gathering in progress
}

// birth names what is counted of an owner: a code by its column, or one of these.
type birth struct {
	owner
	what int
}

const (
	birthOther   = 0 // the column that no code has
	birthOfAll   = -1
	birthOwn     = -2
	birthUnasked = -3
	birthOfCodes = 1000 // and the code, of one without a column
)

func newBirths(at time.Time) births {
	return births{last: timestamppb.New(at), now: map[birth]*timestamppb.Timestamp{}}
}

// begin begins a gathering.
func (b *births) begin() {
	b.now = make(map[birth]*timestamppb.Timestamp, len(b.before))
}

// end ends a gathering that began at that time.
func (b *births) end(began time.Time) {
	b.last, b.before, b.now = timestamppb.New(began), b.now, nil
}

// forget has the counters of owners that are dropped begin anew.
func (b *births) forget(gone []owner) {
	if len(gone) == 0 {
		return
	}
	dropped := make(map[owner]bool, len(gone))
	for _, o := range gone {
		dropped[o] = true
	}
	maps.DeleteFunc(b.before, func(of birth, _ *timestamppb.Timestamp) bool { return dropped[of.owner] })
}

// of returns since when the series counts.
func (b *births) of(o owner, what int) *timestamppb.Timestamp {
	key := birth{o, what}
	at := b.before[key]
	if at == nil {
		at = b.last
	}
	b.now[key] = at
	return at
}
