package plugin

import (
	"log/slog"
	"math"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/promscope/promscope/mapping"
)

// Report is what Scope is told: the metrics of nodes, each with its last samples.
//
// Results of rules go in with Apply and become visible with Publish. Serving takes
// no part in that: it hands out the last published edition. All methods may be
// called concurrently.
type Report struct {
	logger    *slog.Logger
	metrics   *reportMetrics
	responder *responder
	edition   atomic.Pointer[edition]

	mu       sync.Mutex
	opts     Options
	sections []*section // one for each topology
	nodes    map[nodeRef]*node
	sources  map[int]*source // by rule
	opening  chunk
	deflater *deflater
	changed  bool // what belongs to no node, since the last edition
	crowded  bool // a node was refused for want of room, and there is none yet
	full     bool // something does not fit
}

// NewReport returns a report without nodes, published already. templates are those
// that are known beforehand; they stay in the report whether or not a node has the
// metric. Others come with the points that use them, and go ten minutes after these.
func NewReport(opts Options, templates map[mapping.Topology][]mapping.Template, logger *slog.Logger, reg prometheus.Registerer) *Report {
	r := &Report{
		logger:    logger,
		metrics:   newReportMetrics(reg),
		responder: newResponder(),
		nodes:     make(map[nodeRef]*node),
		deflater:  newDeflater(),
	}
	for _, topology := range mapping.Topologies() {
		r.sections = append(r.sections, &section{topology: topology})
	}
	r.configure(opts, templates)
	r.publish(time.Now())
	return r
}

// Reconfigure makes the report another set of rules'. Their indices start anew.
// Metrics whose templates were known beforehand and still are keep their samples
// until the new rules have reported, at most for MaxAge; others go.
func (r *Report) Reconfigure(opts Options, templates map[mapping.Topology][]mapping.Template) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.configure(opts, templates)
	for ref, n := range r.nodes {
		section := r.section(ref.topology)
		kept := n.metrics[:0]
		for _, m := range n.metrics {
			m.source = nil
			if template, found := section.known[m.template.ID]; found {
				m.template = template
				kept = append(kept, m)
			} else {
				m.node = nil
			}
		}
		clear(n.metrics[len(kept):])
		n.metrics = kept
		n.key = ref.topology.NodeKey(r.opts.Host, ref.id)
		n.touch()
	}
}

func (r *Report) configure(opts Options, templates map[mapping.Topology][]mapping.Template) {
	r.opts = opts.withDefaults()
	r.opening = r.deflater.chunk(appendOpening(nil, r.opts))
	r.sources = make(map[int]*source)
	for _, s := range r.sections {
		s.templates, s.known = nil, make(map[string]*mapping.Template)
		s.changed = true
		for _, template := range templates[s.topology] {
			s.define(template)
		}
		s.fixed = len(s.templates)
	}
	r.changed = true
}

// SetHost gives the host another name, and with it the nodes that bear it. It
// reports whether that is a change, which the next Publish makes visible.
func (r *Report) SetHost(name string) (changed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if name == r.opts.Host {
		return false
	}
	r.opts.Host = name
	for ref, n := range r.nodes {
		n.key = ref.topology.NodeKey(name, ref.id)
		n.touch()
	}
	return true
}

// Forget drops the samples that are later than now, which the clock was set back to.
func (r *Report) Forget(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.nodes {
		for _, m := range n.metrics {
			m.samples = slices.DeleteFunc(m.samples, func(s sample) bool { return s.at > now.UnixNano() })
		}
		n.touch()
	}
}

// Apply takes in a rule's result, in place of its last one: nodes that are not in
// it lose the rule's metric.
func (r *Report) Apply(result mapping.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	src, found := r.sources[result.Rule]
	if !found {
		src = &source{rule: result.Rule}
		r.sources[result.Rule] = src
	}
	src.begin(result.At)
	for i := range result.Points {
		if reason := r.apply(src, &result.Points[i]); reason != "" {
			r.metrics.dropped.WithLabelValues(reason).Inc()
		}
	}
	src.end()
}

// apply takes in one point, or returns the reason why not.
func (r *Report) apply(src *source, p *mapping.Point) (dropped string) {
	if !(math.Abs(p.Value) <= mapping.MaxValue) { // NaN is not <= anything
		return dropValue
	}
	section := r.section(p.Topology)
	if section == nil || !utf8.ValidString(p.ID) || p.Template.ID == "" || !utf8.ValidString(p.Template.ID) {
		return dropID
	}
	ref := nodeRef{p.Topology, p.ID}
	n := r.nodes[ref]
	if n == nil {
		if len(r.nodes) >= r.opts.MaxNodes {
			r.crowded = true
			return dropNodes
		}
		n = &node{nodeRef: ref, key: ref.topology.NodeKey(r.opts.Host, ref.id)}
		r.nodes[ref] = n
		section.insert(n)
	}
	i, found := n.find(p.Template.ID)
	if !found {
		n.insert(i, &metric{template: section.define(p.Template)})
	}
	m := n.metrics[i]
	if m.source != src && m.source != nil || m.source == src && m.round == src.round {
		return dropDuplicate
	}
	src.report(m)
	m.max = 0
	if p.Max > 0 && p.Max <= mapping.MaxValue {
		m.max = p.Max
	}
	n.touch()
	if !m.add(sample{at: src.at, value: p.Value}, r.opts) {
		return dropOutOfOrder
	}
	return ""
}

// Prune drops the nodes that are gone. alive is asked for every node but hosts,
// and must not call the report. It is given the time of the samples that are
// shown as current (of the oldest, where metrics of a node differ): a pid may be
// another process's since.
func (r *Report) Prune(alive func(t mapping.Topology, id string, at time.Time) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for ref, n := range r.nodes {
		if ref.topology == mapping.Host || len(n.metrics) == 0 || alive(ref.topology, ref.id, n.current()) {
			continue
		}
		for _, m := range n.metrics {
			m.node = nil
		}
		n.metrics = nil
		n.touch()
	}
}

func (r *Report) section(t mapping.Topology) *section {
	for _, s := range r.sections {
		if s.topology == t {
			return s
		}
	}
	return nil
}

// JSON returns the published report. Its bytes are the caller's.
func (r *Report) JSON() []byte { return r.edition.Load().json() }

// ServeHTTP answers GET and HEAD with the published report, compressed if the
// client can take that.
func (r *Report) ServeHTTP(w http.ResponseWriter, req *http.Request) { _, _ = r.serve(w, req) }

// serve returns how many bytes it wrote, or an error if the client did not take all
// of them.
func (r *Report) serve(w http.ResponseWriter, req *http.Request) (int, error) {
	return r.responder.serve(r.edition.Load(), w, req)
}
