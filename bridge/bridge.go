package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/promscope/promscope/bridge/config"
	"github.com/promscope/promscope/bridge/plugin"
	"github.com/promscope/promscope/bridge/web"
	"github.com/promscope/promscope/mapping/document"
)

// Options are what the command line says. Where they are not empty, they win
// over the configuration.
type Options struct {
	ConfigFile  string // empty for the default configuration
	PluginsRoot string
	PluginID    string
	Host        string
	Web         WebOptions
}

// WebOptions are those of the debug server.
type WebOptions struct {
	ListenAddress   string // empty for no debug server
	ConfigFile      string
	EnableLifecycle bool
}

// Bridge is a running promscope.
type Bridge struct {
	*base

	opts     Options
	reloads  *reloads
	listener *plugin.Listener
	server   *plugin.Server
	web      *web.Server // nil if switched off

	next   chan *pipeline // the pipeline of a reload
	reload sync.Mutex     // one reload at a time
}

// New loads the configuration and takes the plugin's socket and the debug
// address. Nothing is scraped before Run.
func New(opts Options, logger *slog.Logger) (_ *Bridge, err error) {
	cfg, warnings, err := loadConfig(opts, logger)
	if err != nil {
		return nil, err
	}
	base, err := newBase(cfg, logger)
	if err != nil {
		return nil, err
	}
	b := &Bridge{base: base, opts: opts, next: make(chan *pipeline)}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	b.reloads = newReloads(warnings, b.registry)
	if b.listener, err = plugin.Listen(cfg.Scope.PluginsRoot, cfg.Scope.PluginID, logger); err != nil {
		return nil, err
	}
	b.server = plugin.NewServer(b.report, plugin.ServerOptions{OnProbe: b.meetProbe}, logger, b.registry)
	if opts.Web.ListenAddress == "" {
		return b, nil
	}
	webOptions := web.Options{
		ListenAddress: opts.Web.ListenAddress,
		ConfigFile:    opts.Web.ConfigFile,
		Gatherer:      prometheus.GathererFunc(b.gather),
		Ready:         b.ready,
	}
	if webOptions.Pages, err = web.NewPages(newStatus(b), web.PageOptions{}, logger); err != nil {
		return nil, fmt.Errorf("setting up the status pages: %w", err)
	}
	if opts.Web.EnableLifecycle {
		webOptions.Reload = b.Reload
	}
	if b.web, err = web.New(webOptions, logger); err != nil {
		return nil, err
	}
	return b, nil
}

// Run does what promscope is for, until ctx is done. Then the socket is gone.
func (b *Bridge) Run(ctx context.Context) error {
	defer func() {
		if err := b.close(); err != nil {
			b.logger.Warn("Not everything could be closed", "err", err)
		}
	}()
	status := "off"
	tasks := []task{
		named{"plugin", func(ctx context.Context) error { return b.server.Run(ctx, b.listener) }},
		named{"pipeline", b.runPipelines},
	}
	if b.web != nil {
		tasks = append(tasks, b.web)
		status = "http://" + b.web.Address()
	}
	b.logger.Info("promscope is running", "socket", b.listener.Path(), "status", status,
		"host", b.hostName.name(), "host_source", b.hostName.source())
	return runTasks(ctx, tasks)
}

// runPipelines runs the current pipeline, and after a reload the next one.
func (b *Bridge) runPipelines(ctx context.Context) error {
	for {
		running, cancel := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- b.pipeline.Load().Run(running) }()
		select {
		case next := <-b.next:
			cancel()
			if err := <-done; err != nil {
				b.logger.Warn("The pipeline of the last configuration ended with an error", "err", err)
			}
			b.report.Reconfigure(reportOptions(next.config, b.hostName.name()), next.config.Rules.Templates())
			b.pipeline.Store(next)
		case err := <-done:
			cancel()
			return err // nil if ctx is done
		}
	}
}

// Reload loads the configuration anew, builds what it asks for, and swaps it
// in. If that fails, everything stays as it is.
func (b *Bridge) Reload() error {
	b.reload.Lock()
	defer b.reload.Unlock()
	warnings, err := b.tryReload()
	b.reloads.done(warnings, err)
	if err != nil {
		b.logger.Error("Reload failed, the last configuration stays in force", "err", err)
		return err
	}
	b.logger.Info("The configuration was loaded anew")
	return nil
}

func (b *Bridge) tryReload() (document.List, error) {
	cfg, warnings, err := loadConfig(b.opts, b.logger)
	if err != nil {
		return nil, err
	}
	if old := b.pipeline.Load().config.Scope; old.PluginsRoot != cfg.Scope.PluginsRoot || old.PluginID != cfg.Scope.PluginID {
		b.logger.Warn("scope.plugins_root and scope.plugin_id take effect at the next start")
		cfg.Scope.PluginsRoot, cfg.Scope.PluginID = old.PluginsRoot, old.PluginID
	}
	p, err := newPipeline(cfg, b.base)
	if err != nil {
		return nil, err
	}
	b.hostName.configure(cfg.Scope.Host)
	select {
	case b.next <- p:
		return warnings, nil
	case <-time.After(10 * time.Second):
		return nil, errors.Join(errors.New("promscope is not running"), p.close())
	}
}

// meetProbe looks at a probe that polls for the first time: it knows best what
// the host is called. Its first report is to have that name already: under another
// one, Scope would show a second host for a while.
func (b *Bridge) meetProbe(pid int) {
	b.hostName.meet(pid)
	if b.report.SetHost(b.hostName.name()) {
		b.report.Publish(time.Now())
	}
}

// ready tells whether promscope does its job: the socket listens, which New saw
// to, and each target was tried. Targets that come later change nothing about it.
func (b *Bridge) ready() error {
	p := b.pipeline.Load()
	if !p.ready.Load() && !p.scrape.Ready() {
		return errors.New("not every target was tried yet")
	}
	p.ready.Store(true)
	return nil
}

// gather collects promscope's own metrics and those of its collectors.
func (b *Bridge) gather() ([]*dto.MetricFamily, error) {
	return append(prometheus.Gatherers{b.registry}, b.pipeline.Load().gatherers()...).Gather()
}

// close gives back what New took.
func (b *Bridge) close() error {
	var errs []error
	if b.listener != nil {
		errs = append(errs, b.listener.Close())
	}
	if b.web != nil {
		_ = b.web.Close() // closed already where Run was called
	}
	return errors.Join(append(errs, b.base.close())...)
}

// loadConfig loads the configuration and logs its warnings, which it returns too.
func loadConfig(opts Options, logger *slog.Logger) (*config.Config, document.List, error) {
	load := config.Default
	if opts.ConfigFile != "" {
		load = func() (*config.Config, document.List) { return config.Load(opts.ConfigFile) }
	}
	cfg, diagnostics := load()
	warnings := diagnostics.Warnings()
	for _, d := range warnings {
		attrs := []any{"at", d.Position.String()}
		if d.Hint != "" {
			attrs = append(attrs, "hint", d.Hint)
		}
		logger.Warn(d.Message, attrs...)
	}
	if err := diagnostics.Err(); err != nil {
		return nil, nil, fmt.Errorf("loading the configuration:\n%w", err)
	}
	if err := config.CheckHost(opts.Host); err != nil {
		return nil, nil, fmt.Errorf("--scope.host: %w", err)
	}
	override(&cfg.Scope.PluginsRoot, opts.PluginsRoot)
	override(&cfg.Scope.PluginID, opts.PluginID)
	override(&cfg.Scope.Host, opts.Host)
	return cfg, warnings, nil
}

func override(value *string, flag string) {
	if flag != "" {
		*value = flag
	}
}
