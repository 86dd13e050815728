package bridge

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/version"

	"github.com/promscope/promscope/bridge/config"
	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/plugin"
	"github.com/promscope/promscope/bridge/view"
	"github.com/promscope/promscope/bridge/web"
)

// status is what the status pages and the API of the debug server are made of.
// It reads the running pipeline, and keeps nothing but what would cost too much to
// be found out for each page.
type status struct {
	*Bridge

	started  time.Time
	counts   seriesCounts
	names    processNames
	exposed  exposed
	text     configText
	explains chan struct{} // a place for each question that may be worked on
}

// maxExplains bounds the questions that are worked on at a time; each may ask all
// targets.
const maxExplains = 2

func newStatus(b *Bridge) *status {
	return &status{
		Bridge:   b,
		started:  time.Now(),
		names:    processNames{machine: b.machine},
		explains: make(chan struct{}, maxExplains),
	}
}

var _ web.Source = (*status)(nil)

// Status implements web.Source.
func (s *status) Status(context.Context) web.Status {
	p := s.pipeline.Load()
	w := web.Status{
		Version:     version.Version,
		Revision:    version.GetRevision(),
		GoVersion:   runtime.Version(),
		Started:     s.started,
		Series:      p.store.Len(),
		SeriesLimit: p.config.Limits.MaxSeries,
	}
	if w.Series >= w.SeriesLimit {
		w.Refused = p.refused()
	}
	if w.Revision == "unknown" {
		w.Revision = "" // built without version control
	}
	if err := s.ready(); err != nil {
		w.NotReady = err.Error()
	}
	return w
}

// Configuration implements web.Source.
func (s *status) Configuration(context.Context) web.Configuration {
	cfg := s.pipeline.Load().config
	r := s.reloads.state()
	w := web.Configuration{File: cfg.File, Loaded: r.loaded, Reloaded: r.tried}
	if r.err != nil {
		w.ReloadError = view.RedactText(r.err.Error())
	}
	for _, d := range r.warnings {
		w.Warnings = append(w.Warnings, view.RedactText(d.Error()))
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
		c.cfg, c.text = cfg, view.RedactText(cfg.String())
	}
	return c.text
}

// Scope implements web.Source.
func (s *status) Scope(context.Context) web.Scope {
	snapshot := s.report.Snapshot()
	candidates := s.hostName.all()
	w := web.Scope{
		Socket:      s.listener.Path(),
		PluginID:    s.pipeline.Load().config.Scope.PluginID,
		Host:        candidates[0].Name,
		HostSource:  sourceName(candidates[0].Source),
		Candidates:  hostCandidates(candidates),
		HostWarning: hostWarning(candidates),
		Report:      s.reportSize(snapshot),
		Pollers:     []web.Poller{},
	}
	for _, p := range s.server.Pollers() {
		w.Pollers = append(w.Pollers, s.poller(p))
	}
	return w
}

// poller says who polls.
func (s *status) poller(p plugin.Poller) web.Poller {
	w := web.Poller{
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

// reportSize measures what is published. How long that takes is an average: the
// report's histogram knows no last one.
func (s *status) reportSize(snapshot plugin.Snapshot) web.Report {
	w := web.Report{
		Nodes:     len(snapshot.Nodes),
		Bytes:     int64(snapshot.Bytes),
		GzipBytes: int64(snapshot.GzipBytes),
	}
	type template struct{ topology, id string }
	templates := map[template]bool{}
	for topology, list := range s.pipeline.Load().config.Rules.Templates() {
		for _, t := range list {
			templates[template{string(topology), t.ID}] = true
		}
	}
	for _, n := range snapshot.Nodes {
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
	if h := s.histogram("promscope_report_publish_duration_seconds"); h.GetSampleCount() > 0 {
		w.EncodeSeconds = h.GetSampleSum() / float64(h.GetSampleCount())
	}
	return w
}

// refused is how many samples the store had no room for.
func (p *pipeline) refused() uint64 {
	families, _ := p.registry.Gather() // what could not be gathered is not there
	for _, f := range families {
		if f.GetName() != "promscope_store_dropped_total" {
			continue
		}
		for _, m := range f.Metric {
			if slices.ContainsFunc(m.Label, func(l *dto.LabelPair) bool { return l.GetValue() == "series_limit" }) {
				return uint64(m.GetCounter().GetValue())
			}
		}
	}
	return 0
}

// histogram is one of promscope's own metrics; nil if it is not there.
func (s *status) histogram(name string) *dto.Histogram {
	families, _ := s.registry.Gather() // what could not be gathered is not there
	for _, f := range families {
		if f.GetName() == name && len(f.Metric) > 0 {
			return f.Metric[0].GetHistogram()
		}
	}
	return nil
}

// sourceName is a source of a host name in words.
func sourceName(s host.NameSource) string {
	switch s {
	case host.NameConfigured:
		return "--scope.host or scope.host"
	case host.NameEnvironment:
		return "SCOPE_HOSTNAME"
	case host.NameProbeEnv:
		return "SCOPE_HOSTNAME of the probe"
	case host.NameProbeUTS:
		return "the host name of the probe"
	case host.NameInitUTS:
		return "the host name of process 1"
	case host.NameHostname:
		return "the host name of promscope"
	}
	return string(s)
}

// nameSources are the sources of host names in the order in which they win.
func nameSources() []host.NameSource {
	return []host.NameSource{
		host.NameConfigured, host.NameEnvironment, host.NameProbeEnv, host.NameProbeUTS, host.NameInitUTS, host.NameHostname,
	}
}

// hostCandidates are all sources, also those that say nothing.
func hostCandidates(known []host.NameCandidate) []web.HostCandidate {
	var all []web.HostCandidate
	for _, source := range nameSources() {
		c := web.HostCandidate{Source: sourceName(source), Error: "not set"}
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

// all returns the names from all sources that give one, the winner first.
func (h *hostName) all() []host.NameCandidate {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.candidates)
}

// hostWarning says which names differ; empty if none does that should not.
func hostWarning(candidates []host.NameCandidate) string {
	others := host.Disagreeing(candidates)
	if len(others) == 0 {
		return ""
	}
	said := []string{fmt.Sprintf("%s calls this host %q", sourceName(candidates[0].Source), candidates[0].Name)}
	for _, o := range others {
		said = append(said, fmt.Sprintf("%s %q", sourceName(o.Source), o.Name))
	}
	return strings.Join(said, ", ") + ". If Scope shows the host twice, set --scope.host to the name that the probe uses."
}
