package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/promscope/promscope/bridge/config"
	"github.com/promscope/promscope/bridge/doctor"
	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/mapping/document"
)

// Doctor looks at what this machine allows. It runs promscope without a socket
// until each target was tried once, at most for ten seconds.
func Doctor(ctx context.Context, opts Options, progress Progress) (doctor.Diagnosis, error) {
	var d doctor.Diagnosis
	add := func(findings ...doctor.Finding) { d.Findings = append(d.Findings, findings...) }
	k := doctor.NewKernel()
	add(k.Release(), k.BTF(), k.Lockdown(), k.Capabilities())

	cfg, configured := examineConfig(opts)
	add(configured)
	if cfg == nil {
		var err error
		if cfg, _, err = loadConfig(Options{PluginsRoot: opts.PluginsRoot, PluginID: opts.PluginID, Host: opts.Host}, quiet()); err != nil {
			return d, err
		}
	}
	b, err := newBase(cfg, quiet())
	if err != nil {
		add(doctor.Failure("machine", "mount /proc, and run promscope where it shows the machine's processes", "%s", err))
		return d, nil
	}
	defer func() { _ = b.close() }() // nothing of it matters any more
	add(k.Namespaces(b.machine), k.Processes(b.machine))

	plugins := doctor.NewPlugins(cfg.Scope.PluginsRoot, cfg.Scope.PluginID, b.machine)
	add(plugins.Directory())
	probes := plugins.FindProbes()
	add(plugins.Probes(probes)...)
	add(plugins.Sockets(ctx)...)
	add(hostNames(b.machine, cfg, probes))

	tried, err := try(ctx, b, progress)
	if err != nil {
		return d, err
	}
	add(tried...)
	return d, ctx.Err()
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// examineConfig loads the configuration; nil if it has errors.
func examineConfig(opts Options) (*config.Config, doctor.Finding) {
	const check = "configuration"
	load := config.Default
	name := "the defaults"
	if opts.ConfigFile != "" {
		name = opts.ConfigFile
		load = func() (*config.Config, document.List) { return config.Load(opts.ConfigFile) }
	}
	cfg, list := load()
	if err := list.Err(); err != nil {
		return nil, doctor.Failure(check, "correct it; promscope check says the same, with the lines. What follows is for the defaults", "%s", err)
	}
	override(&cfg.Scope.PluginsRoot, opts.PluginsRoot)
	override(&cfg.Scope.PluginID, opts.PluginID)
	override(&cfg.Scope.Host, opts.Host)
	if n := len(list.Warnings()); n > 0 {
		return cfg, doctor.Warning(check, "promscope check "+name+" says which", "%s, %s", name, count(n, "warning", "warnings"))
	}
	return cfg, doctor.Good(check, "%s: %s, %s", name, count(len(cfg.Jobs), "scrape job", "scrape jobs"), count(len(cfg.Rules.Rules()), "rule", "rules"))
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// hostNames says what this host will be called, as the first probe names it.
func hostNames(m *host.Machine, cfg *config.Config, probes []doctor.Probe) doctor.Finding {
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
		return doctor.Warning(check, "if Scope shows this host twice, set --scope.host to the name that the probe uses", "%s", text)
	}
	return doctor.Good(check, "%s", text)
}

const (
	// tryTime bounds how long the doctor waits for targets.
	tryTime = 10 * time.Second

	// lookTime is how long listeners are looked for at least: they have to be
	// found and asked before they are targets.
	lookTime = 4 * time.Second
)

// try runs the pipeline for a while and says what came of it.
func try(ctx context.Context, b *base, progress Progress) ([]doctor.Finding, error) {
	p := b.pipeline.Load()
	running, stop := context.WithTimeout(ctx, tryTime)
	defer stop()
	told := make(chan struct{})
	go func() {
		defer close(told)
		tellProgress(running, progress, tryTime)
	}()
	done := make(chan error, 1)
	go func() { done <- p.Run(running) }()

	start := time.Now()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for running.Err() == nil && (!p.scrape.Ready() || time.Since(start) < lookTime) {
		select {
		case <-running.Done():
		case <-ticker.C:
		}
	}
	// Before it ends: a target that is given up for that looks like one that is down.
	findings := collectorFindings(p)
	findings = append(findings, listenerFindings(b)...)
	findings = append(findings, targetFindings(p)...)
	stop()
	<-told
	if err := <-done; err != nil {
		findings = append(findings, doctor.Failure("pipeline", "", "%s", err))
	}
	return findings, ctx.Err()
}
