package plugin

import (
	"bytes"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/promscope/promscope/mapping"
)

// TestManyNodes goes through inserting, splitting, emptying and dropping segments,
// in an order that is not the nodes'.
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
		func(pid int) bool { return pid < 500 },
		func(pid int) bool { return pid >= 500 },
		func(pid int) bool { return strconv.Itoa(pid) > "5" },
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
		for _, segment := range h.section(mapping.Process).segments {
			if len(segment.nodes) == 0 || len(segment.nodes) > maxSegmentNodes {
				t.Errorf("a segment has %d nodes", len(segment.nodes))
			}
		}
	}
}

// TestEditionsNeverChange keeps an edition that is being served while many follow.
func TestEditionsNeverChange(t *testing.T) {
	h := newHarness(t, options())
	points := []mapping.Point{}
	for pid := range 200 {
		points = append(points, onProcess(pid+1, heap, 1))
	}
	h.apply(0, 0, points...)
	h.publish(0)
	old := h.edition.Load()
	plain, compressed := old.json(), slices.Concat(old.gzipped.pieces...)
	for i := 1; i < 10; i++ {
		h.apply(0, i, points[:200-i]...)
		h.publish(i)
	}
	if !bytes.Equal(plain, old.json()) || !bytes.Equal(compressed, slices.Concat(old.gzipped.pieces...)) {
		t.Error("an edition has changed after it was published")
	}
}

func TestPublishOfNothingNew(t *testing.T) {
	h := newHarness(t, options())
	h.apply(0, 0, onHost(load, 1))
	h.publish(0)
	before := h.edition.Load()
	h.publish(1)
	if h.edition.Load() != before {
		t.Error("a new edition of nothing new")
	}
}

// TestNodesKeepNoOldMemory sees to it that a node's bytes are part of its segment's,
// also after they have outgrown the room that was made for them.
func TestNodesKeepNoOldMemory(t *testing.T) {
	h := newHarness(t, options())
	for at, pids := range []int{3, 60, 20} {
		points := []mapping.Point{}
		for pid := range pids {
			points = append(points, onProcess(pid+1, heap, 1))
		}
		h.apply(0, at, points...)
		h.publish(at)
		segment := h.section(mapping.Process).segments[0]
		if len(segment.nodes) != pids {
			t.Fatalf("%d nodes in the first segment", len(segment.nodes))
		}
		plain, deflated := segment.chunk.plain, segment.chunk.deflated
		for i, n := range segment.nodes {
			if i > 0 {
				plain, deflated = plain[1:], deflated[len(separator):]
			}
			if &n.plain[0] != &plain[0] || &n.deflated[0] != &deflated[0] {
				t.Fatalf("node %d of %d has bytes of its own", i, pids)
			}
			plain, deflated = plain[len(n.plain):], deflated[len(n.deflated):]
		}
		if len(plain) > 0 || len(deflated) > 0 {
			t.Errorf("%d and %d bytes belong to no node", len(plain), len(deflated))
		}
	}
}
