// Package view is what the status pages, the API and promscope explain show, as
// plain values. Nothing in them is secret: what fills them in takes secrets out.
//
// Durations are in seconds, sizes in bytes. A zero time means "not yet".
package view

import (
	"math"
	"strings"
	"time"

	"github.com/promscope/promscope/bridge/format"
)

// Labels are the labels of a target, a series or an element of a vector.
type Labels map[string]string

// Sample is a value at a time.
type Sample struct {
	Time  time.Time `json:"time"`
	Value float64   `json:"value"` // finite
}

// Status tells of promscope itself.
type Status struct {
	Version   string    `json:"version"`
	Revision  string    `json:"revision,omitempty"`
	GoVersion string    `json:"go_version,omitempty"`
	Started   time.Time `json:"started,omitzero"`
	// Unhealthy is why promscope does not do its job; empty when it does.
	Unhealthy string `json:"unhealthy,omitempty"`
	// NotReady is why promscope is not ready; empty when it is.
	NotReady string `json:"not_ready,omitempty"`
	// Series is how many series the store keeps, SeriesLimit how many it may.
	Series      int `json:"series"`
	SeriesLimit int `json:"series_limit,omitempty"`
	// Refused is how many samples of further series a full store has refused
	// since the configuration was loaded; not counted while there is room.
	Refused uint64 `json:"refused_samples,omitempty"`
}

// Health is the state of a target.
type Health string

// The healths of a target. A dropped one was discovered, but relabelling took
// it away or it could not be made sense of.
const (
	HealthUp      Health = "up"
	HealthDown    Health = "down"
	HealthUnknown Health = "unknown"
	HealthDropped Health = "dropped"
)

// Target is one endpoint that is scraped, or one collector that is gathered.
type Target struct {
	Job string `json:"job"`
	// URL is empty for targets of this process.
	URL        string `json:"url,omitempty"`
	Labels     Labels `json:"labels"`
	Discovered Labels `json:"discovered_labels,omitempty"`

	Health Health    `json:"health"`
	Since  time.Time `json:"since,omitzero"` // when Health last changed
	// Error is why the last scrape failed, or why the target was dropped.
	Error string `json:"error,omitempty"`

	LastScrape          time.Time `json:"last_scrape,omitzero"`
	LastDurationSeconds float64   `json:"last_duration_seconds"`
	IntervalSeconds     float64   `json:"interval_seconds"`
	TimeoutSeconds      float64   `json:"timeout_seconds"`

	Samples int    `json:"samples"` // that the last good scrape exposed
	Kept    int    `json:"kept"`    // of them, those that some rule selects
	Bytes   int64  `json:"bytes"`   // of the uncompressed body
	Format  string `json:"format,omitempty"`
	// Notes are sentences about how the target is scraped: why all of its
	// series are parsed, what it was asked for.
	Notes []string `json:"notes,omitempty"`
}

// Instance is what tells the target from the others of its job.
func (t Target) Instance() string {
	if instance := t.Labels["instance"]; instance != "" {
		return instance
	}
	return t.Discovered["__address__"]
}

// RuleState is what the last evaluation of a rule came to.
type RuleState string

// The states of a rule. An idle one works, but puts nothing on any node.
const (
	RuleOK      RuleState = "ok"
	RuleIdle    RuleState = "idle"
	RuleFailing RuleState = "failing"
)

// Rule is a mapping rule and what became of it.
type Rule struct {
	// Name names the rule among all: topology and metric, "host/cpu_iowait". The
	// figures from Series to Dropped are of the last evaluation that succeeded.
	Name      string  `json:"name"`
	Metric    string  `json:"metric"`
	Label     string  `json:"label"`
	Format    string  `json:"format,omitempty"`
	Max       float64 `json:"max,omitempty"`
	Priority  float64 `json:"priority"`
	Topology  string  `json:"topology"` // Host, Process, Container, Pod
	NodeLabel string  `json:"node_label,omitempty"`
	Regex     string  `json:"regex,omitempty"`
	Expr      string  `json:"expr"`               // with $__rate_interval filled in
	Preset    string  `json:"preset,omitempty"`   // empty for a rule of the configuration
	Position  string  `json:"position,omitempty"` // file:line:column

	IntervalSeconds float64    `json:"interval_seconds"`
	Selectors       []Selector `json:"selectors"`

	LastEvaluation      time.Time      `json:"last_evaluation,omitzero"`
	LastDurationSeconds float64        `json:"last_duration_seconds"`
	Evaluations         int            `json:"evaluations"`        // so far
	Failures            int            `json:"failures"`           // of these
	Error               string         `json:"error,omitempty"`    // of the last evaluation
	Warnings            []string       `json:"warnings,omitempty"` // of the check, and of PromQL at the last evaluation; a line each
	Series              int            `json:"series"`             // that the selectors matched
	Elements            int            `json:"elements"`           // of the resulting vector
	Points              int            `json:"points"`             // of them, those that are on a node
	Dropped             map[string]int `json:"dropped,omitempty"`  // of them, those that are not, by reason
}

// State is the rule's state.
func (r Rule) State() RuleState {
	switch {
	case r.Error != "":
		return RuleFailing
	case r.Points == 0:
		return RuleIdle
	}
	return RuleOK
}

// Selector is what a rule asks of the store.
type Selector struct {
	Matchers         string  `json:"matchers"`          // as in PromQL
	RetentionSeconds float64 `json:"retention_seconds"` // range, offset and lookback
	Series           int     `json:"series"`            // in the store now
}

// Node is a node of the report: what Scope is being told, or is to be told.
type Node struct {
	Key      string   `json:"key"`            // in the report: "vm;1234"
	Topology string   `json:"topology"`       // Host, Process, Container, Pod
	ID       string   `json:"id"`             // host name, pid, container id, pod UID
	Name     string   `json:"name,omitempty"` // for people: a command, a container's name
	Metrics  []Metric `json:"metrics"`        // in the order in which Scope shows them
	Rows     []Row    `json:"rows,omitempty"` // of the Info section
	// Beyond are the ids of metrics of default presets that are not shown, since the node
	// has as many of these as it may have.
	Beyond []string `json:"beyond,omitempty"`
	// LeftOut tells that Scope is not told of it, since the report is full.
	LeftOut bool `json:"left_out,omitempty"`
}

// Row is a line of a node's Info section.
type Row struct {
	ID    string `json:"id"`
	Label string `json:"label"`
	Text  string `json:"text"`
	Rule  string `json:"rule"` // as in Metric
}

// Metric is a metric of a node.
type Metric struct {
	ID      string   `json:"id"`
	Label   string   `json:"label"`
	Format  string   `json:"format,omitempty"` // percent, filesize, integer, or empty
	Max     float64  `json:"max"`
	Rule    string   `json:"rule"`    // Rule.Name of the rule that it comes from; empty if that is gone
	Samples []Sample `json:"samples"` // ascending
}

// CollectorState tells whether a built-in collector works.
type CollectorState string

// The states of a collector: on, switched off by the configuration, or not
// possible here.
const (
	CollectorOn     CollectorState = "on"
	CollectorOff    CollectorState = "off"
	CollectorFailed CollectorState = "failed"
)

// Collector is a built-in collector.
type Collector struct {
	Name  string         `json:"name"`
	Help  string         `json:"help"`
	State CollectorState `json:"state"`
	// Error is why it does not work or why its last gathering failed, Remedy
	// what would help.
	Error  string `json:"error,omitempty"`
	Remedy string `json:"remedy,omitempty"`
	// Hook is where it listens in the kernel: the one of Hooks that serves.
	Hook     string   `json:"hook,omitempty"`
	Hooks    []Hook   `json:"hooks,omitempty"` // in the order in which they are tried
	Requires []string `json:"requires,omitempty"`

	IntervalSeconds     float64   `json:"interval_seconds"`
	LastGather          time.Time `json:"last_gather,omitzero"`
	LastDurationSeconds float64   `json:"last_duration_seconds"`
	Series              int       `json:"series"`
	Kept                int       `json:"kept"`
	Errors              uint64    `json:"errors"` // gatherings that failed since the start
	// Warnings say what may make its counts wrong, and what helps.
	Warnings []string `json:"warnings,omitempty"`
	// Facts are figures of its own: tracked processes, lost connections.
	Facts []Fact `json:"facts,omitempty"`
	// Programs that run in the kernel, and the Maps that they fill.
	Programs []Program `json:"programs,omitempty"`
	Maps     []Map     `json:"maps,omitempty"`
	// CountsRuns tells whether the kernel counts the runs of programs now: whether
	// the sysctl kernel.bpf_stats_enabled is 1.
	CountsRuns bool `json:"counts_runs,omitempty"`
}

// Program is what the kernel counts of a program.
type Program struct {
	Name string `json:"name"`
	// Runs, and the CPU time that they took, while the kernel counted them.
	Runs       uint64  `json:"runs"`
	RunSeconds float64 `json:"run_seconds"`
	Missed     uint64  `json:"missed"` // events that were not passed to it
}

// MeanNanoseconds is what a run took, of those that were counted.
func (p Program) MeanNanoseconds() int { return int(math.Round(1e9 * p.RunSeconds / float64(p.Runs))) }

// Map is how full a map of the programs is.
type Map struct {
	Name    string `json:"name"`
	Entries int    `json:"entries"`
	Limit   int    `json:"limit"`
	// Evicts tells that the oldest entry makes room for a new one where the map is
	// full. Any other map has no room then.
	Evicts bool `json:"evicts"`
}

// Percent is how full the map is.
func (m Map) Percent() float64 { return 100 * float64(m.Entries) / float64(m.Limit) }

// Hook is one way to attach to the kernel.
type Hook struct {
	Name string `json:"name"`
	// Error is why it cannot be used; empty if it can, or was not tried.
	Error string `json:"error,omitempty"`
}

// Fact is something to know, by name.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Configuration is what promscope runs with.
type Configuration struct {
	File string `json:"file,omitempty"` // empty for the defaults
	// Text is the configuration as YAML, all secrets redacted.
	Text   string    `json:"text"`
	Loaded time.Time `json:"loaded,omitzero"`
	// ReloadError is why the last reload was refused; empty if it was not.
	ReloadError string    `json:"reload_error,omitempty"`
	Reloaded    time.Time `json:"reloaded,omitzero"` // when a reload was last tried
	Warnings    []string  `json:"warnings,omitempty"`
}

// Scope is the other end: who asks, and what he is told.
type Scope struct {
	Socket string `json:"socket"`
	// SocketError is why the socket is not there and cannot be made again; empty if it is.
	SocketError string `json:"socket_error,omitempty"`
	PluginID    string `json:"plugin_id"`
	// Host is the host name in the report, HostSource where it comes from.
	Host       string          `json:"host"`
	HostSource string          `json:"host_source"`
	Candidates []HostCandidate `json:"host_candidates"` // in their order of precedence
	// HostWarning is not empty if candidates differ; it names the flag that decides.
	HostWarning string `json:"host_warning,omitempty"`
	// Pods tells whether presets put metrics on pods, PodsWhy why.
	Pods    bool     `json:"pods"`
	PodsWhy string   `json:"pods_why"`
	Pollers []Poller `json:"pollers"`
	Report  Report   `json:"report"`
}

// HostCandidate is a name that the host may have to Scope's probe.
type HostCandidate struct {
	Source string `json:"source"`
	Name   string `json:"name,omitempty"`
	Error  string `json:"error,omitempty"` // why the source gives no name
}

// Poller is a probe that polls the plugin's socket.
type Poller struct {
	ProbeID   string    `json:"probe_id"`
	Process   string    `json:"process,omitempty"` // command and pid, by the connection's credentials
	FirstPoll time.Time `json:"first_poll,omitzero"`
	LastPoll  time.Time `json:"last_poll,omitzero"`
	Polls     uint64    `json:"polls"`
	// IntervalSeconds is the usual time between its polls; 0 if it polled once.
	IntervalSeconds float64 `json:"interval_seconds,omitempty"`
	// AnswerSeconds and AnswerBytes are of the last answer.
	AnswerSeconds float64 `json:"answer_seconds"`
	AnswerBytes   int64   `json:"answer_bytes"`
}

// Report is the size of what is published.
type Report struct {
	Published time.Time `json:"published,omitzero"`
	Nodes     int       `json:"nodes"`
	LeftOut   int       `json:"nodes_left_out,omitempty"` // for which the report has no room
	Metrics   int       `json:"metrics"`
	Samples   int       `json:"samples"`
	Templates int       `json:"templates"`
	Bytes     int64     `json:"bytes"`
	// EncodeSeconds is what the last publication took.
	EncodeSeconds float64 `json:"encode_seconds"`
}

// Origin are the labels that tell a target from others at a glance: those
// beside job and instance.
func (t Target) Origin() []Fact {
	var facts []Fact
	for _, name := range t.Labels.Names() {
		if name != "job" && name != "instance" {
			facts = append(facts, Fact{Name: name, Value: short(t.Labels[name])})
		}
	}
	return facts
}

// short is the beginning of what is a container's id, and everything else whole.
func short(text string) string {
	const whole, enough = 64, 12
	if len(text) == whole && strings.Trim(text, "0123456789abcdef") == "" {
		return text[:enough]
	}
	return text
}

// DroppedTotal is how many elements of the last result are on no node.
func (r Rule) DroppedTotal() int {
	total := 0
	for _, n := range r.Dropped {
		total += n
	}
	return total
}

// Last is the metric's newest sample; nil if it has none.
func (m Metric) Last() *Sample {
	if len(m.Samples) == 0 {
		return nil
	}
	return &m.Samples[len(m.Samples)-1]
}

// Shown is the newest value as Scope shows it.
func (m Metric) Shown() string {
	if last := m.Last(); last != nil {
		return format.Metric(m.Format, last.Value)
	}
	return "–"
}

// Exact is the newest value with all of its digits.
func (m Metric) Exact() string {
	if last := m.Last(); last != nil {
		return format.Float(last.Value)
	}
	return ""
}

// ShortID is the id where there is little room: the beginning of a hash.
func (n Node) ShortID() string {
	return short(n.ID)
}
