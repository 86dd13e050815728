// Package status makes what the status pages and the API show out of the running
// pipeline: targets, rules, nodes, collectors, the configuration, queries. It takes
// secrets out of all of it.
package status

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/common/version"

	"github.com/promscope/promscope/bridge/config"
	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/pipeline"
	"github.com/promscope/promscope/bridge/plugin"
	"github.com/promscope/promscope/bridge/view"
	"github.com/promscope/promscope/mapping/document"
	"github.com/promscope/promscope/mapping/secret"
)

// Source tells the status pages and the API what they show. It reads the running
// pipeline and keeps only what takes too long to find out for each page.
type Source struct {
	opts    Options
	runtime *pipeline.Runtime
	started time.Time
	counts  seriesCounts
	names   processNames
	text    configText
}

// Options are what the pipeline does not know.
type Options struct {
	Socket    string       // of the plugin
	SocketErr func() error // why it is not there, nil if it is; may be nil
	Healthy   func() error // why promscope does not do its job, nil if it does; may be nil
	Pollers   func() []plugin.Poller
	Loaded    func() Loaded
}

// Loaded is what the last attempts to load the configuration came to.
type Loaded struct {
	At       time.Time     // when the configuration in force was loaded
	Warnings document.List // about it
	Tried    time.Time     // when a reload was last tried; zero if never
	Err      error         // why that reload was refused; nil if it was not
}

// New returns the source of a runtime's pages.
func New(r *pipeline.Runtime, opts Options) *Source {
	return &Source{opts: opts, runtime: r, started: time.Now(), names: processNames{machine: r.Machine}}
}

// Status tells of promscope itself.
func (s *Source) Status(context.Context) view.Status {
	p := s.runtime.Pipeline()
	w := view.Status{
		Version:     version.Version,
		Revision:    version.GetRevision(),
		GoVersion:   runtime.Version(),
		Started:     s.started,
		Series:      p.Store.Len(),
		SeriesLimit: p.Config.Limits.MaxSeries,
	}
	if w.Series >= w.SeriesLimit {
		w.Refused = p.Store.Refused()
	}
	if w.Revision == "unknown" {
		w.Revision = "" // built without version control
	}
	w.Unhealthy = errorText(s.opts.Healthy)
	if !p.Ready() {
		w.NotReady = "not every target was tried yet"
	}
	return w
}

// errorText asks for an error, if there is somebody to ask; empty if there is none.
func errorText(ask func() error) string {
	if ask == nil {
		return ""
	}
	if err := ask(); err != nil {
		return secret.Text(err.Error())
	}
	return ""
}

// Configuration tells what promscope runs with.
func (s *Source) Configuration(context.Context) view.Configuration {
	cfg := s.runtime.Pipeline().Config
	r := s.opts.Loaded()
	w := view.Configuration{File: cfg.File, Loaded: r.At, Reloaded: r.Tried}
	if r.Err != nil {
		w.ReloadError = secret.Text(r.Err.Error())
	}
	for _, d := range r.Warnings {
		w.Warnings = append(w.Warnings, secret.Text(d.Error()))
	}
	w.Text = s.text.of(cfg)
	return w
}

// configText remembers what a configuration looks like, which does not change.
type configText struct {
	mu   sync.Mutex
	cfg  *config.Config
	text string
}

func (c *configText) of(cfg *config.Config) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cfg != cfg {
		c.cfg, c.text = cfg, secret.Text(cfg.String())
	}
	return c.text
}

// Scope tells who polls, and what Scope is told.
func (s *Source) Scope(context.Context) view.Scope {
	snapshot := s.runtime.Report.Snapshot()
	candidates := s.runtime.HostName.Candidates()
	w := view.Scope{
		Socket:      s.opts.Socket,
		PluginID:    s.runtime.Pipeline().Config.Scope.PluginID,
		Host:        candidates[0].Name,
		HostSource:  candidates[0].Source.String(),
		Candidates:  hostCandidates(candidates),
		HostWarning: hostWarning(candidates),
		Report:      s.reportSize(snapshot),
		Pollers:     []view.Poller{},
	}
	w.Pods, w.PodsWhy = s.runtime.Pods.On()
	w.SocketError = errorText(s.opts.SocketErr)
	for _, p := range s.opts.Pollers() {
		w.Pollers = append(w.Pollers, s.poller(p))
	}
	return w
}

// poller says who polls.
func (s *Source) poller(p plugin.Poller) view.Poller {
	w := view.Poller{
		ProbeID:       p.ProbeID,
		FirstPoll:     p.First,
		LastPoll:      p.Last,
		Polls:         p.Polls,
		AnswerSeconds: p.LastDuration.Seconds(),
		AnswerBytes:   int64(p.LastBytes),
	}
	if p.Polls > 1 {
		w.IntervalSeconds = p.Last.Sub(p.First).Seconds() / float64(p.Polls-1)
	}
	if p.Peer.PID > 0 {
		w.Process = "pid " + strconv.Itoa(p.Peer.PID)
		if name := s.names.of(p.Peer.PID); name != "" {
			w.Process = fmt.Sprintf("%s (pid %d)", name, p.Peer.PID)
		}
	}
	return w
}

// reportSize measures what is published.
func (s *Source) reportSize(snapshot plugin.Snapshot) view.Report {
	w := view.Report{
		Bytes:         int64(snapshot.Bytes),
		EncodeSeconds: s.runtime.Report.PublishDuration().Seconds(),
	}
	type template struct{ topology, id string }
	templates := map[template]bool{}
	for topology, list := range s.runtime.Pipeline().Config.Rules.Templates() {
		for _, t := range list {
			templates[template{string(topology), t.ID}] = true
		}
	}
	for _, n := range snapshot.Nodes {
		if n.LeftOut {
			w.LeftOut++
			continue
		}
		w.Nodes++
		w.Metrics += len(n.Metrics)
		for _, m := range n.Metrics {
			templates[template{string(n.Topology), m.Template.ID}] = true
			w.Samples += len(m.Samples)
			if last := len(m.Samples) - 1; last >= 0 && m.Samples[last].At.After(w.Published) {
				w.Published = m.Samples[last].At
			}
		}
	}
	w.Templates = len(templates)
	return w
}

// nameSources are the sources of host names in the order in which they win.
func nameSources() []host.NameSource {
	return []host.NameSource{
		host.NameConfigured, host.NameEnvironment, host.NameProbeEnv, host.NameProbeUTS, host.NameInitUTS, host.NameHostname,
	}
}

// hostCandidates are all sources, also those that say nothing.
func hostCandidates(known []host.NameCandidate) []view.HostCandidate {
	var all []view.HostCandidate
	for _, source := range nameSources() {
		c := view.HostCandidate{Source: source.String(), Error: "not set"}
		switch source {
		case host.NameProbeUTS:
			c.Error = "no probe has polled, or its namespace may not be looked into"
		case host.NameInitUTS:
			c.Error = "may not be looked into"
		case host.NameProbeEnv:
			c.Error = "no probe has polled, or it has none"
		case host.NameConfigured, host.NameEnvironment, host.NameHostname:
		}
		for _, k := range known {
			if k.Source == source {
				c.Name, c.Error = k.Name, ""
			}
		}
		all = append(all, c)
	}
	return all
}

// hostWarning says which names differ; empty if none does that should not.
func hostWarning(candidates []host.NameCandidate) string {
	others := host.Disagreeing(candidates)
	if len(others) == 0 {
		return ""
	}
	said := []string{fmt.Sprintf("%s calls this host %q", candidates[0].Source, candidates[0].Name)}
	for _, o := range others {
		said = append(said, fmt.Sprintf("%s %q", o.Source, o.Name))
	}
	return strings.Join(said, ", ") + ". If Scope shows the host twice, set --scope.host to the name that the probe uses."
}
