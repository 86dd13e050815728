package plugin

import (
	"log/slog"
	"time"
)

const (
	sectionEnd = `}}` // of nodes and topology
	reportEnd  = `}`
)

// Publish makes visible what was applied, and drops samples that are too old by
// now. It encodes the nodes that have changed, copies their neighbours, and leaves
// the rest alone.
func (r *Report) Publish(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	start := time.Now()
	r.publish(now)
	r.metrics.publish.Observe(time.Since(start).Seconds())
}

func (r *Report) publish(now time.Time) {
	changed := r.changed
	for _, s := range r.sections {
		gone := s.sweep(now.UnixNano(), r.opts)
		for _, n := range gone {
			delete(r.nodes, n.nodeRef)
		}
		if s.encode(r.deflater) || len(gone) > 0 {
			changed = true
		}
	}
	if changed {
		r.changed = false
		r.edition.Store(r.print())
	}
}

// print puts the chunks together. Topologies and templates are always all there;
// of the nodes, those that fit, and of those that do not, the last are left out.
func (r *Report) print() *edition {
	closing, end := r.deflater.chunk([]byte(sectionEnd)), r.deflater.chunk([]byte(reportEnd))
	room := r.opts.MaxBytes - len(r.opening.plain) - len(reportEnd)
	chunks := 2
	for _, s := range r.sections {
		room -= len(s.head.plain) + len(sectionEnd)
		chunks += 2 + len(s.segments)
	}

	p := newPress(chunks)
	p.add(r.opening)
	var samples, leftOut int
	for _, s := range r.sections {
		nodes, fits := 0, len(s.templates) > 0
		if !fits { // and hence no nodes
			r.metrics.nodes.WithLabelValues(string(s.topology)).Set(0)
			continue
		}
		p.add(s.head)
		for _, seg := range s.segments {
			// What follows a segment that is left out would begin with a comma.
			if fits = fits && len(seg.chunk.plain) <= room; !fits {
				leftOut += len(seg.nodes)
				continue
			}
			p.add(seg.chunk)
			room -= len(seg.chunk.plain)
			nodes += len(seg.nodes)
			samples += seg.samples
		}
		p.add(closing)
		r.metrics.nodes.WithLabelValues(string(s.topology)).Set(float64(nodes))
	}
	p.add(end)

	e := p.finish()
	r.metrics.samples.Set(float64(samples))
	r.metrics.leftOut.Set(float64(leftOut))
	r.metrics.bytes.WithLabelValues("identity").Set(float64(e.plain.bytes))
	r.metrics.bytes.WithLabelValues("gzip").Set(float64(e.gzipped.bytes))
	r.judge(leftOut)
	return e
}

// judge says it, once, when the report becomes full and when it no longer is.
func (r *Report) judge(leftOut int) {
	r.crowded = r.crowded && len(r.nodes) >= r.opts.MaxNodes
	full := leftOut > 0 || r.crowded
	if full == r.full {
		return
	}
	r.full = full
	if !full {
		r.logger.Info("The report has room for all nodes again")
		return
	}
	r.logger.Warn("The report is full, nodes are left out",
		slog.Int("nodes", len(r.nodes)), slog.Int("node_limit", r.opts.MaxNodes),
		slog.Int("byte_limit", r.opts.MaxBytes), slog.Int("nodes_left_out", leftOut))
}
