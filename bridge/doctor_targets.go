package bridge

import (
	"fmt"
	"strings"

	"github.com/promscope/promscope/bridge/config"
	"github.com/promscope/promscope/bridge/doctor"
	"github.com/promscope/promscope/bridge/scrape"
	"github.com/promscope/promscope/bridge/view"
	builtin "github.com/promscope/promscope/ebpf/collector"
)

// collectorFindings says for each collector which hook serves it, or why none.
func collectorFindings(p *pipeline) []doctor.Finding {
	var findings []doctor.Finding
	for _, b := range p.config.Collectors.All() {
		check := "collector " + b.Name
		if !b.Enabled {
			findings = append(findings, doctor.Good(check, "switched off by the configuration"))
			continue
		}
		for _, c := range p.collectors {
			if c.name == b.Name {
				findings = append(findings, c.finding(check, b))
			}
		}
	}
	return findings
}

func (c *collector) finding(check string, b config.BuiltIn) doctor.Finding {
	if c.err != nil {
		reason, remedy := builtin.ReasonAndRemedy(c.err)
		return doctor.Warning(check, remedy, "%s", reason)
	}
	if _, err := c.gatherer.Gather(); err != nil {
		return doctor.Warning(check, "", "gathering: %s", err)
	}
	w := collectorModel(b)
	c.describe(&w)
	if w.Hook != "" {
		return doctor.Good(check, "works, by %s", w.Hook)
	}
	return doctor.Good(check, "works")
}

// shownListeners is how many listeners are named that are no exporters.
const shownListeners = 8

// listenerFindings says what came of looking for exporters.
func listenerFindings(b *base) []doctor.Finding {
	const check = "local endpoints"
	looked := false
	for _, job := range b.pipeline.Load().config.DiscoveryJobs() {
		looked = looked || len(job.Listeners) > 0
	}
	if !looked {
		return []doctor.Finding{doctor.Good(check, "not looked for: no job has listener_sd_configs")}
	}
	var exporters, others []string
	for _, l := range b.prober.Listeners() {
		name := l.Addr.String()
		if l.Listener.Path != "" {
			name = l.Listener.Path
		}
		if l.Owner.Comm != "" {
			name += " (" + l.Owner.Comm + ")"
		}
		if l.Result == "exposition" {
			exporters = append(exporters, name)
			continue
		}
		if l.Reason != "" {
			name += ": " + l.Reason
		}
		others = append(others, name)
	}
	text := count(len(exporters), "exporter listens", "exporters listen")
	if len(exporters) > 0 {
		text += ": " + strings.Join(exporters, ", ")
	}
	findings := []doctor.Finding{doctor.Good(check, "%s", text)}
	if len(others) > 0 {
		more := ""
		if n := len(others) - shownListeners; n > 0 {
			others, more = others[:shownListeners], fmt.Sprintf("\nand %d more", n)
		}
		findings = append(findings, doctor.Good("other listeners", "in the ports that were looked at, and no exporters:\n%s%s", strings.Join(others, "\n"), more))
	}
	return findings
}

// targetFindings says which targets answer.
func targetFindings(p *pipeline) []doctor.Finding {
	const check = "targets"
	var up []string
	var findings []doctor.Finding
	for _, t := range p.scrape.Targets() {
		ref := view.TargetRef(&t)
		switch {
		case t.URL == "":
		case t.Health == scrape.HealthUp:
			up = append(up, fmt.Sprintf("%s (%d series, %d kept)", ref, t.Samples, t.Kept))
		case t.Health == scrape.HealthDown:
			findings = append(findings, doctor.Warning(check, "the targets page of the running promscope has its labels and URL", "%s is down: %s", ref, ref.Error))
		default:
			findings = append(findings, doctor.Warning(check, "", "%s was not scraped within %s", ref, tryTime))
		}
	}
	for _, d := range p.scrape.Dropped() {
		if t := view.Dropped(&d); d.Error != "" {
			findings = append(findings, doctor.Warning(check, "correct its job", "%s of job %s: %s", t.Discovered["__address__"], t.Job, t.Error))
		}
	}
	if len(up) == 0 {
		return append([]doctor.Finding{doctor.Good(check, "none is up besides the collectors")}, findings...)
	}
	return append([]doctor.Finding{doctor.Good(check, "%s up: %s", count(len(up), "is", "are"), strings.Join(up, ", "))}, findings...)
}
