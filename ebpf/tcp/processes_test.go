package tcp

import (
	"math/rand/v2"
	"testing"
	"time"
)

// began is when the tables of the tests begin.
func began() time.Time { return time.Unix(1_800_000_000, 0) }

// retransmitted is what was counted of a process that has so many retransmits.
func retransmitted(n uint64) *total {
	return &total{counts: counts{retransmits: n}, comm: [16]byte{'a'}}
}

func alive(owners ...owner) map[owner]*living {
	all := map[owner]*living{}
	for _, o := range owners {
		all[o] = &living{Owner: o, Comm: [16]byte{'b'}}
	}
	return all
}

// has tells whether the process has a series of that value.
func (t *table) has(o owner, want uint64) bool {
	p := t.all[o]
	return p != nil && p.shown != nil && p.shown.values[retransmits] == want && !p.shown.born[retransmits].IsZero()
}

func TestTable(t *testing.T) {
	table := newTable(2, 2*time.Second, began())
	at := func(s int) time.Time { return began().Add(time.Duration(s) * time.Second) }
	// Three processes, and room for two. What the third does is the host's.
	table.update(at(1), map[owner]*total{1: retransmitted(5), 2: retransmitted(0), 3: retransmitted(7), 4: retransmitted(9)}, alive(1, 2, 3, 4))
	if !table.has(1, 5) || table.all[2].shown != nil || !table.has(3, 7) || table.all[4].shown != nil || table.leftOut != 1 {
		t.Fatalf("%+v", table)
	}
	if born := table.all[1].shown.born; born[retransmits] != at(0) || !born[bytesSent].IsZero() || table.all[1].comm != "b" {
		t.Errorf("born %v", born)
	}
	if table.host.values[retransmits] != 9 || table.host.born[bytesSent] != at(0) {
		t.Errorf("the host: %+v", table.host)
	}
	// The first one ends, and what it does last counts. A sum may fall short.
	table.update(at(2), map[owner]*total{1: retransmitted(6), 3: retransmitted(6), 4: retransmitted(9)}, alive(2, 3, 4))
	if !table.has(1, 6) || !table.has(3, 7) || table.all[4].shown != nil {
		t.Fatalf("%+v", table)
	}
	// It is kept, and forgotten when it has no sockets any more.
	late := retransmitted(8)
	late.open = true
	if gone, _ := table.update(at(4), map[owner]*total{1: late, 3: retransmitted(9), 4: retransmitted(9)}, alive(2, 3, 4)); len(gone) != 0 {
		t.Errorf("forgotten: %v", gone)
	}
	if table.all[1].shown != nil || table.host.values[retransmits] != 11 || !table.has(3, 9) {
		t.Fatalf("%+v", table)
	}
	if gone, _ := table.update(at(5), map[owner]*total{1: retransmitted(8), 3: retransmitted(9), 4: retransmitted(10)}, alive(2, 3, 4)); len(gone) != 1 || gone[0] != 1 {
		t.Errorf("forgotten: %v", gone)
	}
	// Its room is the fourth's, whose series begins then.
	if !table.has(4, 1) || table.all[4].shown.born[retransmits] != at(4) {
		t.Fatalf("%+v", table.all[4])
	}
	// One that has been quiet has no series, until it does something again.
	table.update(at(400), map[owner]*total{3: retransmitted(9), 4: retransmitted(10)}, alive(3, 4))
	if table.all[3].shown != nil || table.all[4].shown != nil {
		t.Fatalf("%+v", table)
	}
	// The pid of the fourth is another's now.
	again := owner(1<<22 | 4)
	table.update(at(401), map[owner]*total{3: retransmitted(10), 4: retransmitted(12), again: retransmitted(1)}, alive(3, again))
	if !table.has(3, 1) || table.all[4].shown != nil || !table.has(again, 1) || table.host.values[retransmits] != 13 {
		t.Fatalf("%+v %+v", table, table.all[4])
	}
}

// TestOnce has processes come, go and count at random: what was counted is in the host's series
// or in one process's, once.
func TestOnce(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	table := newTable(3, 2*time.Second, began())
	var (
		counted, exposed uint64
		totals           = map[owner]*total{}
		lives            = map[owner]*living{}
		before           = map[*series]uint64{&table.host: 0}
	)
	for i := range 3000 {
		o := owner(random.IntN(12) + 1)
		o |= owner(random.IntN(2)) << 22
		sum := totals[o]
		if sum == nil {
			sum = &total{}
			totals[o] = sum
		}
		n := uint64(random.IntN(3))
		sum.counts[retransmits] += n
		counted += n
		sum.open = random.IntN(2) == 0
		if random.IntN(2) == 0 {
			lives[o] = &living{}
		} else {
			delete(lives, o)
		}
		gone, _ := table.update(began().Add(time.Duration(i)*time.Second), totals, lives)
		for _, o := range gone {
			delete(totals, o)
		}
		all := map[*series]uint64{&table.host: table.host.values[retransmits]}
		shown := 0
		for _, p := range table.all {
			if p.shown != nil {
				all[p.shown] = p.shown.values[retransmits]
				shown++
			}
		}
		if shown > 3 {
			t.Fatalf("%d have series", shown)
		}
		for s, n := range all {
			if n < before[s] {
				t.Fatalf("a series goes back from %d to %d", before[s], n)
			}
			exposed += n - before[s]
		}
		before = all
		if exposed != counted {
			t.Fatalf("after %d updates %d of %d are exposed", i+1, exposed, counted)
		}
	}
}

// Somebody else is looked for who has the sockets of a process when it ends, and when there are more
// of them: not again and again.
func TestOrphaned(t *testing.T) {
	table := newTable(2, 2*time.Second, began())
	for i, step := range []struct {
		held  uint64
		lives map[owner]*living
		want  bool
	}{
		{3, alive(7), false},
		{3, nil, true},
		{3, nil, false}, // nobody was found
		{1, nil, false},
		{2, nil, true},
		{0, nil, false},
		{1, nil, true},
		{1, alive(7), false}, // it was not seen to live
		{1, nil, true},
	} {
		totals := map[owner]*total{7: {open: true, held: step.held}}
		if _, orphaned := table.update(began().Add(time.Duration(i)*time.Second), totals, step.lives); (len(orphaned) == 1) != step.want {
			t.Errorf("update %d: %d are orphaned", i, len(orphaned))
		}
	}
}

// Who does something for the first time is looked for, and whoever is not known to live.
func TestMissed(t *testing.T) {
	table := newTable(2, time.Second, began())
	totals := map[owner]*total{nobody: {}, 7: {}}
	lives := map[owner]*living{7: {}}
	if table.missed(map[owner]*total{nobody: {}}, nil) {
		t.Error("nobody is missed")
	}
	if !table.missed(totals, lives) {
		t.Error("a process that does something for the first time is not missed")
	}
	table.update(began(), totals, lives)
	if table.missed(totals, lives) {
		t.Error("a process that lives is missed")
	}
	if !table.missed(totals, nil) {
		t.Error("a process of which it is not known whether it lives is not missed")
	}
	table.update(began(), totals, nil)
	if table.missed(totals, nil) {
		t.Error("a process that has ended is missed")
	}
}

// What a listener has dropped does not fall when one of its sockets is closed, and goes on from there.
func TestDrops(t *testing.T) {
	var d drops
	for i, step := range []struct{ open, want uint64 }{
		{7, 7}, {7, 7}, {10, 10}, // a socket that has dropped 7, and one that has dropped 3
		{3, 10}, {5, 12},
	} {
		if d.grow(step.open); d.n != step.want {
			t.Errorf("reading %d: %d were dropped, want %d", i, d.n, step.want)
		}
	}
}
