package plugin

import (
	"log/slog"
	"math"
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
// Apply takes in results of rules, Publish makes them visible. JSON, Snapshot and
// answers to polls read what was published last, and take no lock. All methods may be
// called concurrently.
type Report struct {
	logger      *slog.Logger
	metrics     *reportMetrics
	published   atomic.Pointer[published]
	publishTook atomic.Int64 // nanoseconds that the last publication took
	publishedAt atomic.Pointer[time.Time]

	mu       sync.Mutex
	opts     Options
	sections []*section // one for each topology
	nodes    map[nodeRef]*node
	results  map[int]*lastResult // by rule
	opening  []byte              // the JSON up to the first topology
	changed  bool                // what belongs to no topology, since it was published
	turn     int                 // of the next metric
	crowded  bool                // a node was refused for want of room, and there is none yet
	full     bool                // something does not fit
}

// NewReport returns a report without nodes, published already. templates are those
// that are known beforehand; they stay in the report whether or not a node has the
// metric. Others come with the points that use them, and go ten minutes after these.
func NewReport(opts Options, templates map[mapping.Topology][]mapping.Template, logger *slog.Logger, reg prometheus.Registerer) *Report {
	r := &Report{
		logger:  logger,
		metrics: newReportMetrics(reg),
		nodes:   make(map[nodeRef]*node),
	}
	for _, topology := range mapping.Topologies() {
		r.sections = append(r.sections, &section{topology: topology})
	}
	r.configure(opts, templates)
	now := time.Now()
	r.publish(now)
	r.publishedAt.Store(&now)
	return r
}

// Reconfigure makes the report another set of rules'. same has the rules that stay, by
// their index in the last set, and points the templates of their values of ${label}:
// their metrics go on. Of the others, metrics whose templates were known beforehand and
// still are keep their samples until a new rule has reported, at most for MaxAge. The
// rest goes.
func (r *Report) Reconfigure(opts Options, templates, points map[mapping.Topology][]mapping.Template, same map[int]int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	results := r.results
	r.configure(opts, templates)
	for i, j := range same {
		if last := results[i]; last != nil {
			last.rule = j
			r.results[j] = last
		}
	}
	for _, s := range r.sections {
		for _, template := range points[s.topology] {
			s.define(template)
		}
	}
	for ref, n := range r.nodes {
		known := r.section(ref.topology).known
		n.removeAll(func(m *metric) bool {
			if m.result != nil && r.results[m.result.rule] != m.result {
				m.result = nil
			}
			m.head = nil // the template may draw it otherwise
			m.template = known[m.template.ID]
			return m.template == nil
		})
		n.key = ref.topology.NodeKey(r.opts.Host, ref.id)
		n.places = nil // what had them may be no rule's any more
	}
}

func (r *Report) configure(opts Options, templates map[mapping.Topology][]mapping.Template) {
	r.opts = opts
	r.opening = appendOpening(nil, opts)
	r.results = make(map[int]*lastResult)
	for _, s := range r.sections {
		s.templates, s.known, s.unused = nil, make(map[string]*mapping.Template), nil
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
	r.changed = true
	for ref, n := range r.nodes {
		n.key = ref.topology.NodeKey(name, ref.id)
		n.changed = true
	}
	return true
}

// Forget drops the samples that are later than now, which the clock was set back to, and
// since when templates are not used.
func (r *Report) Forget(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.sections {
		s.looked, s.unused = 0, nil
	}
	for _, n := range r.nodes {
		for _, m := range n.metrics {
			later := slices.IndexFunc(m.samples, func(s sample) bool { return s.at > now.UnixNano() })
			if later >= 0 {
				m.keep(later)
			}
		}
		n.changed = true
	}
}

// Apply takes in a rule's result, in place of its last one: nodes that are not in
// it lose the rule's metric.
func (r *Report) Apply(result mapping.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, found := r.results[result.Rule]
	if !found {
		last = &lastResult{rule: result.Rule}
		r.results[result.Rule] = last
	}
	last.begin(result.At)
	for i := range result.Points {
		if reason := r.apply(last, &result.Points[i]); reason != "" {
			r.metrics.dropped.WithLabelValues(reason).Inc()
		}
	}
	last.end()
}

// apply takes in one point, or returns the reason why not.
func (r *Report) apply(result *lastResult, p *mapping.Point) (dropped string) {
	value := p.Value
	if p.Template.Row {
		value = 0
	}
	if !(math.Abs(value) <= mapping.MaxValue) { // NaN is not <= anything
		return dropValue
	}
	section := r.section(p.Topology)
	if section == nil {
		return dropID
	}
	ref := nodeRef{p.Topology, p.ID}
	n := r.nodes[ref]
	i, found := 0, false
	if n != nil {
		i, found = n.find(p.Template.ID)
	}
	// What is in the report has passed this.
	if !found && (!utf8.ValidString(p.ID) || p.Template.ID == "" || !utf8.ValidString(p.Template.ID)) {
		return dropID
	}
	if n == nil {
		if len(r.nodes) >= r.opts.MaxNodes {
			r.crowded = true
			return dropNodes
		}
		n = &node{nodeRef: ref, key: ref.topology.NodeKey(r.opts.Host, ref.id)}
		r.nodes[ref] = n
		section.insert(n)
	}
	if !found {
		n.insert(i, &metric{template: section.define(p.Template), turn: r.turn})
		r.turn = (r.turn + 1) % turns
	}
	m := n.metrics[i]
	if m.result != result && m.result != nil || m.result == result && m.round == result.round {
		return dropDuplicate
	}
	result.add(m)
	m.max = 0
	if p.Max > 0 && p.Max <= mapping.MaxValue {
		m.max = p.Max
	}
	n.changed = true
	m.text = p.Text
	if !m.add(result.at, result.date, value, r.opts) {
		return dropOutOfOrder
	}
	return ""
}

// Prune drops the nodes that are gone. It asks alive about every node but hosts.
// alive must not call the report. It gets the time of the samples that are shown as
// current (of the oldest, where metrics of a node differ): since then, another process
// may have got the pid.
func (r *Report) Prune(alive func(t mapping.Topology, id string, at time.Time) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for ref, n := range r.nodes {
		if ref.topology == mapping.Host || len(n.metrics) == 0 || alive(ref.topology, ref.id, n.current()) {
			continue
		}
		n.removeAll(func(*metric) bool { return true })
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

// JSON returns the published report with all samples. Its bytes are the caller's.
func (r *Report) JSON() []byte { return r.published.Load().json() }
