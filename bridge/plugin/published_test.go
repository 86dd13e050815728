package plugin

import (
	"bufio"
	"bytes"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/promscope/promscope/mapping"
)

// TestManyNodes has nodes come and go in an order that is not theirs.
func TestManyNodes(t *testing.T) {
	h := newHarness(t, options())
	const n = 1000
	some := func(keep func(pid int) bool) (points []mapping.Point, want []string) {
		want = []string{}
		for i := range n {
			if pid := (i*379)%n + 1; keep(pid) { // 379 and 1000 have no common divisor
				points = append(points, onProcess(pid, heap, float64(pid)))
				want = append(want, "vm;"+strconv.Itoa(pid))
			}
		}
		slices.Sort(want)
		return points, want
	}
	sets := []func(pid int) bool{
		func(pid int) bool { return pid%3 == 0 },
		func(int) bool { return true },
		func(pid int) bool { return pid >= 500 },
		func(pid int) bool { return strconv.Itoa(pid) < "5" },
		func(int) bool { return false },
		func(pid int) bool { return pid == 7 },
	}
	for at, keep := range sets {
		points, want := some(keep)
		h.apply(0, at, points...)
		r := h.publish(at)
		if diff := cmp.Diff(want, keys(r.Topologies["Process"].Nodes)); diff != "" {
			t.Fatalf("nodes of set %d (-want +got):\n%s", at, diff)
		}
		order := []string{}
		for _, node := range h.Snapshot().Nodes {
			order = append(order, node.Key)
		}
		if !slices.Equal(order, want) {
			t.Errorf("nodes of set %d are in the order %q", at, order)
		}
	}
}

// answers returns the answers of all turns, and the one with all samples.
func answers(p *published) (all []string) {
	for turn := range p.bytes {
		var out bytes.Buffer
		w := bufio.NewWriter(&out)
		p.write(w, turn)
		w.Flush()
		all = append(all, out.String())
	}
	return all
}

// TestPublishedNeverChanges keeps what is being served while many follow, with new
// samples, samples that are replaced, that are too old, and of a clock set back.
func TestPublishedNeverChanges(t *testing.T) {
	opts := options()
	opts.MaxSamples = 6
	h := newHarness(t, opts)
	type kept struct {
		published *published
		answers   []string
		snapshot  Snapshot
	}
	var all []kept
	check := func() {
		t.Helper()
		p := h.published.Load()
		all = append(all, kept{p, answers(p), h.Snapshot()})
		for i, k := range all {
			if diff := cmp.Diff(k.answers, answers(k.published)); diff != "" {
				t.Fatalf("publication %d has changed (-was +is):\n%s", i, diff)
			}
		}
	}
	for i := range 40 {
		h.apply(0, 4*i, onProcess(1, heap, float64(i)), onProcess(2, heap, float64(i%7)))
		h.publish(4 * i)
		check()
		h.apply(0, 4*i, onProcess(1, heap, float64(100+i)))
		h.publish(4 * i)
		check()
		if i%10 == 9 {
			h.Forget(second(4*i - 6))
			h.newChecker() // which holds that time does not go back
			h.publish(4 * i)
			check()
		}
	}
	for i, k := range all {
		h.published.Store(k.published)
		if diff := cmp.Diff(k.snapshot, h.Snapshot()); diff != "" {
			t.Fatalf("snapshot %d has changed (-was +is):\n%s", i, diff)
		}
	}
}

// TestAnswerBytes compares sizes with what is written, which goes into Content-Length.
func TestAnswerBytes(t *testing.T) {
	h := newHarness(t, options())
	check := func() {
		t.Helper()
		p := h.published.Load()
		for turn, answer := range answers(p) {
			if len(answer) != p.bytes[turn] {
				t.Fatalf("turn %d has %d bytes, not %d: %s", turn, len(answer), p.bytes[turn], answer)
			}
			if _, err := h.checker.Check([]byte(answer)); err != nil {
				t.Fatalf("turn %d: %v", turn, err)
			}
		}
	}
	check()
	for i := range 20 {
		h.apply(0, 5*i, onProcess(1, heap, float64(i)), onProcess(2, heap, 1), onProcess(3, heap, float64(i)/3))
		h.apply(1, 5*i, onProcess(2, fds, 1), onHost(load, -1/float64(i+1)))
		h.publish(5 * i)
		check()
	}
}

func TestPublishOfNothingNew(t *testing.T) {
	h := newHarness(t, options())
	h.apply(0, 0, onHost(load, 1))
	h.publish(0)
	before := h.published.Load()
	h.publish(1)
	if h.published.Load() != before {
		t.Error("nothing new was published anew")
	}
}

// TestReadersTakeNoLock reads while the report is locked.
func TestReadersTakeNoLock(t *testing.T) {
	h := newHarness(t, options())
	h.mu.Lock()
	defer h.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.Snapshot()
		h.JSON()
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("a reader waits for the report's lock")
	}
}
