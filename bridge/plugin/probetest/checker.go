package probetest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

const (
	// maxReportBytes is where the probe stops reading and drops the report.
	maxReportBytes = 50 << 20

	// maxValue is the largest value that Scope shows rightly; it counts
	// hundredths in an int64.
	maxValue = 9e16

	// apiVersion is the probe's, sent with each poll and expected back.
	apiVersion = "1"

	defaultDeadGrace = 2 * time.Second
	clockTolerance   = time.Second
)

var pluginID = regexp.MustCompile(`^[A-Za-z0-9]+([-][A-Za-z0-9]+)*$`)

// Options say what a Checker knows of the machine. Zero values stand for the
// defaults.
type Options struct {
	// Host is the name that the host's nodes must bear; any, but one, if empty.
	Host string
	// Alive tells whether a process lives; by default, whether /proc has it.
	Alive func(pid int) bool
	// DeadGrace is how long a report may carry a process after it was first
	// found dead; 2 s by default, one report more than it takes to notice.
	DeadGrace time.Duration
	// Now is the clock; time.Now by default.
	Now func() time.Time
	// Timeout is for everything about a poll; the probe's 500 ms by default. More
	// is for tests of something else on machines that are busy with something else.
	Timeout time.Duration
}

// Checker checks reports of one plugin, one after another.
type Checker struct {
	id   string
	opts Options

	templates map[string]map[string]Template // seen so far, by topology and id
	newest    map[string]time.Time           // sample of each metric, by path
	dead      map[int]time.Time              // processes, since when
}

// NewChecker returns a checker of reports of the plugin with that id.
func NewChecker(id string, opts Options) *Checker {
	if opts.Alive == nil {
		opts.Alive = func(pid int) bool {
			_, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid)))
			return err == nil
		}
	}
	if opts.DeadGrace == 0 {
		opts.DeadGrace = defaultDeadGrace
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Checker{
		id:        id,
		opts:      opts,
		templates: make(map[string]map[string]Template),
		newest:    make(map[string]time.Time),
		dead:      make(map[int]time.Time),
	}
}

// Check checks a report by itself and against those before it. An error is of type
// *Error; the report is returned as far as it could be read.
func (c *Checker) Check(body []byte) (*Report, error) {
	if len(body) > maxReportBytes {
		v := violations{}
		v.add("", "the report has %d bytes; beyond %d the probe drops it", len(body), maxReportBytes)
		return &Report{Body: body}, v.err()
	}
	report, found := decode(body)
	v := &found
	c.checkPlugins(v, report.Plugins)
	hosts := newHostNames(c.opts.Host)
	for _, name := range sortedKeys(report.Topologies) {
		t := report.Topologies[name]
		if t == nil {
			continue
		}
		checkTemplates(v, join(name, "metric_templates"), t.Templates)
		checkTemplates(v, join(name, "metadata_templates"), t.Rows)
		for _, key := range sortedKeys(t.Nodes) {
			path := join(join(name, "nodes"), key)
			hosts.checkKey(v, path, name, key)
			c.checkNode(v, path, t.Templates, t.Nodes[key])
			checkRows(v, path, t.Rows, t.Nodes[key])
		}
	}
	c.checkStable(v, report)
	c.checkDead(v, report)
	return report, found.err()
}

func (c *Checker) checkPlugins(v *violations, plugins []Plugin) {
	const path = "Plugins"
	if len(plugins) != 1 {
		v.add(path, "has %d plugins, want exactly 1", len(plugins))
		return
	}
	p := plugins[0]
	if !pluginID.MatchString(c.id) {
		v.add("", "the socket's name makes %q the plugin's id, which the probe does not take", c.id)
	}
	if p.ID != c.id {
		v.add(path, "id is %q, the socket's name says %q", p.ID, c.id)
	}
	if p.Label == "" {
		v.add(path, "label is empty")
	}
	if p.APIVersion != apiVersion {
		v.add(path, "api_version is %q, the probe's is %q", p.APIVersion, apiVersion)
	}
	reporter := false
	for _, name := range p.Interfaces {
		switch name {
		case "reporter":
			reporter = true
		case "controller":
			v.add(path, `claims the interface "controller", with which the probe overwrites the controls of every node reported`)
		default:
			v.add(path, "claims the interface %q, which Scope does not know", name)
		}
	}
	if !reporter {
		v.add(path, `does not claim the interface "reporter"`)
	}
}

func checkTemplates(v *violations, path string, templates map[string]Template) {
	labels, priorities := make(map[string]string), make(map[float64]string)
	for _, key := range sortedKeys(templates) {
		t, path := templates[key], join(path, key)
		if t.ID != key {
			v.add(path, "id is %q, the key is %q", t.ID, key)
		}
		switch t.Format {
		case "", "percent", "filesize", "integer":
		default:
			v.add(path, "format %q is none of Scope's", t.Format)
		}
		if t.Priority <= 0 {
			v.add(path, "priority is %v, which comes before Scope's own metrics", t.Priority)
		}
		if other, taken := priorities[t.Priority]; taken {
			v.add(path, "priority %v is that of %s too: their order is random", t.Priority, other)
		}
		priorities[t.Priority] = key
		if t.Label == "" {
			v.add(path, "label is empty")
			continue
		}
		if other, taken := labels[t.Label]; taken {
			v.add(path, "label %q is that of %s too: one hides the other in the metric selector", t.Label, other)
		}
		labels[t.Label] = key
	}
}

func (c *Checker) checkNode(v *violations, path string, templates map[string]Template, n *Node) {
	if len(n.Metrics) == 0 && len(n.Latest) == 0 {
		v.add(path, "says nothing of the node, which makes it but litter in the app's report")
	}
	known := make(map[string]struct{}, len(templates))
	for _, t := range templates {
		known[t.ID] = struct{}{}
	}
	for _, id := range sortedKeys(n.Metrics) {
		path := join(join(path, "metrics"), id)
		if _, found := known[id]; !found {
			v.add(path, "has no template in its topology, and is not drawn")
		}
		c.checkMetric(v, path, n.Metrics[id])
	}
}

// maxRowPriority is from where on Scope hides rows.
const maxRowPriority = 10

func checkRows(v *violations, path string, templates map[string]Template, n *Node) {
	for _, id := range sortedKeys(n.Latest) {
		path := join(join(path, "latest"), id)
		switch t, found := templates[id]; {
		case !found:
			v.add(path, "has no template in its topology, and is not drawn")
		case t.Priority >= maxRowPriority:
			v.add(path, "has priority %v, and hides: rows below %d are shown", t.Priority, maxRowPriority)
		case n.Latest[id] == "":
			v.add(path, "is empty, and not drawn")
		}
	}
}

func (c *Checker) checkMetric(v *violations, path string, m *Metric) {
	if m.Max <= 0 {
		v.add(path, "max is %v, which breaks the drawing of the node", m.Max)
	}
	if len(m.Samples) == 0 {
		v.add(path, "has no samples, which is shown as 0")
	}
	latest := c.opts.Now().Add(clockTolerance)
	for i, s := range m.Samples {
		path := fmt.Sprintf("%s/samples[%d]", path, i)
		if s.Value > maxValue || s.Value < -maxValue {
			v.add(path, "value %v is beyond what Scope can show", s.Value)
		}
		if s.Date.After(latest) {
			v.add(path, "date %s lies in the future", s.Date.Format(time.RFC3339Nano))
		}
		if i > 0 && !s.Date.After(m.Samples[i-1].Date) {
			v.add(path, "date %s is not after the one before, %s",
				s.Date.Format(time.RFC3339Nano), m.Samples[i-1].Date.Format(time.RFC3339Nano))
		}
	}
}
