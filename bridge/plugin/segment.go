package plugin

import (
	"math"
	"slices"
)

// maxSegmentNodes is how many neighbours a changed node makes be copied. Smaller
// segments make for more writes per poll, larger ones for more copying per change.
const maxSegmentNodes = 64

// segment is a run of consecutive nodes of a topology, spliced into one chunk.
type segment struct {
	nodes   []*node // in order of their ids
	first   bool    // in its topology: no comma before it
	changed bool
	chunk   chunk
	expires int64 // when the first sample of a node leaves
	samples int
}

func (s *segment) last() string { return s.nodes[len(s.nodes)-1].id }

// expire drops what is too old and returns the nodes that have nothing left.
func (s *segment) expire(now int64, opts Options) (gone []*node) {
	if !s.changed && now < s.expires {
		return nil
	}
	s.nodes = slices.DeleteFunc(s.nodes, func(n *node) bool {
		if n.changed || n.expires <= now {
			s.changed = true
			n.changed = true
			n.expire(now, opts)
		}
		if len(n.metrics) == 0 {
			gone = append(gone, n)
			return true
		}
		return false
	})
	return gone
}

// splice encodes the nodes that have changed and copies those that have not. The
// old chunk is left as it is, for it may be on its way to a probe.
func (s *segment) splice(d *deflater) {
	plain := make([]byte, 0, grown(len(s.chunk.plain)))
	deflated := make([]byte, 0, grown(len(s.chunk.deflated)))
	s.expires, s.samples = math.MaxInt64, 0
	for i, n := range s.nodes {
		if i > 0 || !s.first {
			plain = append(plain, ',')
			deflated = append(deflated, separator...)
		}
		plainStart, deflateStart := len(plain), len(deflated)
		if n.changed {
			plain = appendNode(plain, n.key, n.metrics)
			deflated = d.append(deflated, plain[plainStart:])
			n.changed = false
		} else {
			plain = append(plain, n.plain...)
			deflated = append(deflated, n.deflated...)
		}
		n.plain, n.deflated = plain[plainStart:], deflated[deflateStart:]
		s.expires = min(s.expires, n.expires)
		s.samples += n.samples
	}
	s.chunk = newChunk(plain, deflated)
	s.changed = false
	s.adopt()
}

// adopt points the nodes at their parts of the chunk: while it was written, it may
// have moved, and the parts would keep its former places in memory.
func (s *segment) adopt() {
	var plainEnd, deflateEnd int
	for i, n := range s.nodes {
		if i > 0 || !s.first {
			plainEnd++
			deflateEnd += len(separator)
		}
		plainStart, deflateStart := plainEnd, deflateEnd
		plainEnd += len(n.plain)
		deflateEnd += len(n.deflated)
		n.plain = s.chunk.plain[plainStart:plainEnd:plainEnd]
		n.deflated = s.chunk.deflated[deflateStart:deflateEnd:deflateEnd]
	}
}

// grown is the room for something that was n bytes long and has changed a little.
func grown(n int) int { return n + n/16 + 512 }
