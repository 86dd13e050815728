package doctor

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/promscope/promscope/bridge/config"
	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/pipeline"
	"github.com/promscope/promscope/mapping/document"
)

// Diagnose looks at what this machine allows. It runs promscope without a socket
// until each target was tried once, at most for ten seconds.
func Diagnose(ctx context.Context, flags config.Flags, progress pipeline.Progress) (Diagnosis, error) {
	var d Diagnosis
	add := func(findings ...Finding) { d.Findings = append(d.Findings, findings...) }
	k := newKernel()
	add(k.release(), k.btf(), k.lockdown(), k.capabilities())

	cfg, configured := examineConfig(flags)
	add(configured)
	if cfg == nil {
		flags.File = ""
		var list document.List
		if cfg, list = flags.Load(); list.Err() != nil {
			return d, list.Err()
		}
	}
	r, err := pipeline.NewRuntime(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		add(failure("machine", "mount /proc, and run promscope where it shows the machine's processes", "%s", err))
		return d, nil
	}
	defer func() { _ = r.Close() }() // nothing of it matters any more
	add(k.namespaces(r.Machine), k.processes(r.Machine))

	plugins := newPlugins(cfg.Scope.PluginsRoot, cfg.Scope.PluginID, r.Machine)
	add(plugins.directory())
	probes := plugins.findProbes()
	add(plugins.probes(probes)...)
	add(plugins.sockets(ctx)...)
	add(hostNames(r.Machine, cfg, probes), pods(r, probes))

	tried, err := try(ctx, r, progress)
	if err != nil {
		return d, err
	}
	add(tried...)
	return d, ctx.Err()
}

// examineConfig loads the configuration; nil if it has errors.
func examineConfig(flags config.Flags) (*config.Config, Finding) {
	const check = "configuration"
	name := cmp.Or(flags.File, "the defaults")
	cfg, list := flags.Load()
	if err := list.Err(); err != nil {
		return nil, failure(check, "correct it; promscope check says the same, with the lines. What follows is for the defaults", "%s", err)
	}
	if n := len(list.Warnings()); n > 0 {
		return cfg, warning(check, "promscope check "+name+" says which", "%s, %s", name, count(n, "warning", "warnings"))
	}
	return cfg, good(check, "%s: %s, %s", name, count(len(cfg.Jobs), "scrape job", "scrape jobs"), count(len(cfg.Rules.Rules()), "rule", "rules"))
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// hostNames says what this host will be called, as the first probe names it.
func hostNames(m *host.Machine, cfg *config.Config, probes []probe) Finding {
	const check = "host name"
	in := host.NameInputs{Configured: cfg.Scope.Host}
	if len(probes) > 0 {
		in.ProbePID = probes[0].PID
	}
	names := m.Names(in)
	var all []string
	for _, n := range names {
		all = append(all, fmt.Sprintf("%q by %s", n.Name, n.Source))
	}
	text := strings.Join(all, ", then ")
	if len(host.Disagreeing(names)) > 0 {
		return warning(check, "if Scope shows this host twice, set --scope.host to the name that the probe uses", "%s", text)
	}
	return good(check, "%s", text)
}

// pods says whether presets put metrics on pods, as the first probe decides.
func pods(r *pipeline.Runtime, probes []probe) Finding {
	if len(probes) > 0 {
		r.Pods.AskProbe(probes[0].PID)
	}
	on, why := r.Pods.On()
	if on {
		return good("pods", "presets put their metrics on pods: %s", why)
	}
	return good("pods", "presets put no metrics on pods: %s", why)
}

const (
	// tryTime bounds how long the doctor waits for targets.
	tryTime = 10 * time.Second

	// lookTime is how long listeners are looked for at least: they have to be
	// found and asked before they are targets.
	lookTime = 4 * time.Second
)

// try runs the pipeline for a while and says what came of it.
func try(ctx context.Context, r *pipeline.Runtime, progress pipeline.Progress) ([]Finding, error) {
	p := r.Pipeline()
	running, stop := context.WithTimeout(ctx, tryTime)
	defer stop()
	told := make(chan struct{})
	go func() {
		defer close(told)
		progress.Tell(running, tryTime)
	}()
	done := make(chan error, 1)
	go func() { done <- p.Run(running) }()

	start := time.Now()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for running.Err() == nil && (!p.Scrape.Ready() || time.Since(start) < lookTime) {
		select {
		case <-running.Done():
		case <-ticker.C:
		}
	}
	// Before it ends: a target that is given up for that looks like one that is down.
	findings := collectorFindings(p)
	findings = append(findings, listenerFindings(r)...)
	findings = append(findings, targetFindings(p)...)
	stop()
	<-told
	if err := <-done; err != nil {
		findings = append(findings, failure("pipeline", "", "%s", err))
	}
	return findings, ctx.Err()
}
