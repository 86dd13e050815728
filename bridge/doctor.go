package bridge

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"github.com/promscope/promscope/bridge/config"
	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/mapping/document"
)

// Verdict is what a finding means for promscope.
type Verdict string

// The verdicts, from good to bad. With a warning something does not work as it
// could; with a failure promscope cannot do its job.
const (
	VerdictOK   Verdict = "ok"
	VerdictWarn Verdict = "warn"
	VerdictFail Verdict = "fail"
)

// Finding is one thing that the doctor looked at.
type Finding struct {
	Check   string  `json:"check"`
	Verdict Verdict `json:"verdict"`
	Finding string  `json:"finding"`
	Remedy  string  `json:"remedy,omitempty"`
}

func ok(check, format string, args ...any) Finding {
	return Finding{Check: check, Verdict: VerdictOK, Finding: fmt.Sprintf(format, args...)}
}

func warn(check, remedy, format string, args ...any) Finding {
	return Finding{Check: check, Verdict: VerdictWarn, Finding: fmt.Sprintf(format, args...), Remedy: remedy}
}

func fail(check, remedy, format string, args ...any) Finding {
	return Finding{Check: check, Verdict: VerdictFail, Finding: fmt.Sprintf(format, args...), Remedy: remedy}
}

// Diagnosis is all that the doctor found.
type Diagnosis struct {
	Findings []Finding `json:"findings"`
}

// OK tells whether promscope can do its job.
func (d Diagnosis) OK() bool {
	for _, f := range d.Findings {
		if f.Verdict == VerdictFail {
			return false
		}
	}
	return true
}

// WriteText writes the findings as a table, each remedy below its finding.
func (d Diagnosis) WriteText(w io.Writer) error {
	width := 0
	for _, f := range d.Findings {
		width = max(width, len(f.Check))
	}
	out := bufio.NewWriter(w)
	for _, f := range d.Findings {
		indent := strings.Repeat(" ", len("ok    ")+width+2)
		text := strings.ReplaceAll(printable(f.Finding), "\n", "\n"+indent)
		// A bufio.Writer keeps its first error for Flush.
		_, _ = fmt.Fprintf(out, "%-6s%-*s  %s\n", f.Verdict, width, f.Check, text)
		if f.Remedy != "" {
			_, _ = fmt.Fprintf(out, "%s→ %s\n", indent, strings.ReplaceAll(printable(f.Remedy), "\n", "\n"+indent+"  "))
		}
	}
	return out.Flush()
}

// printable takes out what a terminal would obey: names of processes are
// anybody's text.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return '\ufffd'
		}
		return r
	}, text)
}

// Doctor looks at what this machine allows. It runs promscope without a socket
// until each target was tried once, at most for ten seconds.
func Doctor(ctx context.Context, opts Options, progress Progress) (Diagnosis, error) {
	var d Diagnosis
	add := func(findings ...Finding) { d.Findings = append(d.Findings, findings...) }
	k := newKernelCheck()
	add(k.release(), k.btf(), k.lockdown(), k.capabilities())

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
		add(fail("machine", "mount /proc, and run promscope where it shows the machine's processes", "%s", err))
		return d, nil
	}
	defer func() { _ = b.close() }() // nothing of it matters any more
	add(k.namespaces(b.machine), k.processes(b.machine))

	root := pluginsCheck{root: cfg.Scope.PluginsRoot, id: cfg.Scope.PluginID, machine: b.machine, procRoot: "/proc"}
	add(root.directory())
	probes := root.findProbes()
	add(root.probes(probes)...)
	add(root.sockets(ctx)...)
	add(hostNames(b.machine, cfg, probes))

	tried, err := try(ctx, b, progress)
	if err != nil {
		return d, err
	}
	add(tried...)
	add(k.clock())
	return d, ctx.Err()
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// examineConfig loads the configuration; nil if it has errors.
func examineConfig(opts Options) (*config.Config, Finding) {
	const check = "configuration"
	load := config.Default
	name := "the defaults"
	if opts.ConfigFile != "" {
		name = opts.ConfigFile
		load = func() (*config.Config, document.List) { return config.Load(opts.ConfigFile) }
	}
	cfg, list := load()
	if err := list.Err(); err != nil {
		return nil, fail(check, "correct it; promscope check says the same, with the lines. What follows is for the defaults", "%s", err)
	}
	override(&cfg.Scope.PluginsRoot, opts.PluginsRoot)
	override(&cfg.Scope.PluginID, opts.PluginID)
	override(&cfg.Scope.Host, opts.Host)
	if n := len(list.Warnings()); n > 0 {
		return cfg, warn(check, "promscope check "+name+" says which", "%s, %s", name, count(n, "warning", "warnings"))
	}
	return cfg, ok(check, "%s: %s, %s", name, count(len(cfg.Jobs), "scrape job", "scrape jobs"), count(len(cfg.Rules.Rules()), "rule", "rules"))
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// hostNames says what this host will be called, as the first probe names it.
func hostNames(m *host.Machine, cfg *config.Config, probes []probeProcess) Finding {
	const check = "host name"
	in := host.NameInputs{Configured: cfg.Scope.Host}
	if len(probes) > 0 {
		in.ProbePID = probes[0].pid
	}
	names := m.Names(in)
	var all []string
	for _, n := range names {
		all = append(all, fmt.Sprintf("%q by %s", n.Name, sourceName(n.Source)))
	}
	text := strings.Join(all, ", then ")
	if len(host.Disagreeing(names)) > 0 {
		return warn(check, "if Scope shows this host twice, set --scope.host to the name that the probe uses", "%s", text)
	}
	return ok(check, "%s", text)
}

const (
	// tryTime bounds how long the doctor waits for targets.
	tryTime = 10 * time.Second

	// lookTime is how long listeners are looked for at least: they have to be
	// found and asked before they are targets.
	lookTime = 4 * time.Second
)

// try runs the pipeline for a while and says what came of it.
func try(ctx context.Context, b *base, progress Progress) ([]Finding, error) {
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
		findings = append(findings, fail("pipeline", "", "%s", err))
	}
	return findings, ctx.Err()
}

// socketPath is where promscope's own socket is.
func (c *pluginsCheck) socketPath() string { return filepath.Join(c.root, c.id, c.id+".sock") }
