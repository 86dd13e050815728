package doctor

import (
	"fmt"
	"strings"

	"github.com/promscope/promscope/bridge/collectors"
	"github.com/promscope/promscope/bridge/pipeline"
	"github.com/promscope/promscope/bridge/scrape"
	"github.com/promscope/promscope/bridge/status"
	"github.com/promscope/promscope/ebpf/collector"
)

// collectorFindings says for each collector which hook serves it, or why none.
func collectorFindings(p *pipeline.Pipeline) []Finding {
	var findings []Finding
	for _, b := range p.Config.Collectors {
		check := "collector " + b.Name
		if !b.Enabled {
			findings = append(findings, good(check, "switched off by the configuration"))
			continue
		}
		for _, c := range p.Collectors {
			if c.Name == b.Name {
				findings = append(findings, collectorFinding(check, c))
			}
		}
	}
	return findings
}

func collectorFinding(check string, c *collectors.Collector) Finding {
	if c.Err != nil {
		reason, remedy := collector.ReasonAndRemedy(c.Err)
		return warning(check, remedy, "%s", reason)
	}
	if _, err := c.Gather(); err != nil {
		return warning(check, "", "gathering: %s", err)
	}
	status := c.Status()
	lines := []string{"works"}
	if status.HookSet != "" {
		lines[0] += ", by " + status.HookSet
	}
	for _, r := range status.Refused {
		lines = append(lines, fmt.Sprintf("not by %s: %s", r.HookSet, r.Reason))
	}
	text := strings.Join(lines, "\n")
	if len(status.Warnings) > 0 {
		w := status.Warnings[0]
		return warning(check, w.Remedy, "%s\n%s", text, w.Reason)
	}
	return good(check, "%s", text)
}

// shownListeners is how many listeners of a kind are named that are no exporters.
const shownListeners = 8

// listenerFindings says what came of looking for exporters.
func listenerFindings(r *pipeline.Runtime) []Finding {
	const check = "local endpoints"
	looked := false
	for _, job := range r.Pipeline().Config.DiscoveryJobs() {
		looked = looked || len(job.Listeners) > 0
	}
	if !looked {
		return []Finding{good(check, "not looked for: no job has listener_sd_configs")}
	}
	var exporters, forbidden, others []string
	for _, l := range r.Prober.Listeners() {
		name := l.Name()
		if l.Owner.Comm != "" {
			name += " (" + l.Owner.Comm + ")"
		}
		if l.Result == "exposition" {
			exporters = append(exporters, name)
			continue
		}
		if l.Listener.Path != "" && l.Result == "not_permitted" {
			forbidden = append(forbidden, name)
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
	findings := []Finding{good(check, "%s", text)}
	if len(forbidden) > 0 {
		findings = append(findings, warning("unix sockets", "if one of them is an exporter's, add promscope's user to the socket's group, or grant CAP_DAC_OVERRIDE",
			"promscope's user may not connect to these:\n%s", someOf(forbidden)))
	}
	if len(others) > 0 {
		findings = append(findings, good("other listeners", "in the ports that were looked at, and no exporters:\n%s", someOf(others)))
	}
	return findings
}

// someOf has the first names, a line each, and how many more there are.
func someOf(names []string) string {
	more := ""
	if n := len(names) - shownListeners; n > 0 {
		names, more = names[:shownListeners], fmt.Sprintf("\nand %d more", n)
	}
	return strings.Join(names, "\n") + more
}

// targetFindings says which targets answer.
func targetFindings(p *pipeline.Pipeline) []Finding {
	const check = "targets"
	var up []string
	var findings []Finding
	for _, t := range p.Scrape.Targets() {
		ref := status.TargetRef(&t)
		switch {
		case t.URL == "":
		case t.Health == scrape.HealthUp:
			up = append(up, fmt.Sprintf("%s (%d series, %d kept)", ref, t.Samples, t.Kept))
		case t.Health == scrape.HealthDown:
			findings = append(findings, warning(check, "the targets page of the running promscope has its labels and URL", "%s is down: %s", ref, ref.Error))
		default:
			findings = append(findings, warning(check, "", "%s was not scraped within %s", ref, tryTime))
		}
	}
	for _, d := range p.Scrape.Dropped() {
		if t := status.Dropped(&d); d.Error != "" {
			findings = append(findings, warning(check, "correct its job", "%s of job %s: %s", t.Discovered["__address__"], t.Job, t.Error))
		}
	}
	if len(up) == 0 {
		return append([]Finding{good(check, "none is up besides the collectors")}, findings...)
	}
	return append([]Finding{good(check, "%s up: %s", count(len(up), "is", "are"), strings.Join(up, ", "))}, findings...)
}
