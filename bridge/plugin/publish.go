package plugin

import (
	"log/slog"
	"time"
)

// Publish makes visible what was applied, and drops samples that are too old by now.
func (r *Report) Publish(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	start := time.Now()
	r.publish(now)
	end := time.Now()
	r.publishedAt.Store(&end)
	took := end.Sub(start)
	r.publishTook.Store(int64(took))
	r.metrics.publish.Observe(took.Seconds())
}

func (r *Report) publish(now time.Time) {
	changed := r.changed
	for _, s := range r.sections {
		if s.update(now.UnixNano(), r.opts, func(gone *node) { delete(r.nodes, gone.nodeRef) }) {
			changed = true
		}
	}
	if changed {
		r.changed = false
		r.published.Store(r.assemble())
	}
}

// assemble puts the parts together. Topologies and templates are always all there. Of
// the nodes those are that fit, and of those that do not, the last are left out.
func (r *Report) assemble() *published {
	p := &published{host: r.opts.Host, opening: r.opening}
	p.bytes.addToAll(len(r.opening) + len(reportEnd))
	for _, s := range r.sections {
		if len(s.templates) > 0 { // without, there are no nodes
			p.bytes.addToAll(len(s.head) + len(topologyEnd))
		}
	}
	samples, leftOut := 0, 0
	for _, s := range r.sections {
		t := publishedTopology{head: s.head, nodes: make([]*publishedNode, len(s.nodes))}
		fits := true
		for i, n := range s.nodes {
			t.nodes[i] = n.published
			comma := min(i, 1)
			fits = fits && p.bytes[allSamples]+comma+n.published.bytes[allSamples] <= r.opts.MaxBytes
			if !fits {
				leftOut++
				continue
			}
			p.bytes.addToAll(comma)
			p.bytes.add(&n.published.bytes)
			samples += n.published.samples
			t.fit++
		}
		r.metrics.nodes.WithLabelValues(string(s.topology)).Set(float64(t.fit))
		if len(s.templates) > 0 {
			p.topologies = append(p.topologies, t)
		}
	}
	r.metrics.samples.Set(float64(samples))
	r.metrics.leftOut.Set(float64(leftOut))
	r.metrics.size(&p.bytes)
	r.logFull(leftOut)
	return p
}

// logFull says it, once, when the report becomes full and when it no longer is.
func (r *Report) logFull(leftOut int) {
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
