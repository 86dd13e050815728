// Package bridge is promscope itself: it starts what a configuration asks for, runs
// it, and loads the configuration anew.
//
// bridge/pipeline is the way of the data, bridge/plugin the socket that Scope's probe
// polls. A poll is answered from bytes that are ready and waits for nothing else.
package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/promscope/promscope/bridge/config"
	"github.com/promscope/promscope/bridge/explain"
	"github.com/promscope/promscope/bridge/pipeline"
	"github.com/promscope/promscope/bridge/plugin"
	"github.com/promscope/promscope/bridge/rights"
	"github.com/promscope/promscope/bridge/status"
	"github.com/promscope/promscope/bridge/web"
	"github.com/promscope/promscope/mapping/document"
)

// Options are what the command line says.
type Options struct {
	config.Flags
	// AutoReload is how often the configuration's files are looked at for changes; 0 for
	// never.
	AutoReload time.Duration
	Web        WebOptions
}

// WebOptions are those of the debug server.
type WebOptions struct {
	ListenAddress   string // empty for no debug server
	AllowedHosts    []string
	ConfigFile      string
	EnableLifecycle bool
}

// Bridge is a running promscope.
type Bridge struct {
	opts     Options
	logger   *slog.Logger
	runtime  *pipeline.Runtime
	loads    *loads
	listener *plugin.Listener
	server   *plugin.Server
	health   *health
	web      *web.Server // nil if switched off

	next    chan swap
	stopped chan struct{} // closed when no pipeline runs any more

	reload sync.Mutex      // one reload at a time
	loaded config.Checksum // of the configuration's files as the last load read them
}

// New loads the configuration and takes the plugin's socket and the debug
// address. Nothing is scraped before Run.
func New(opts Options, logger *slog.Logger) (_ *Bridge, err error) {
	cfg, warnings, err := loadConfig(opts.Flags, logger)
	if err != nil {
		return nil, err
	}
	runtime, err := pipeline.NewRuntime(cfg, logger)
	if err != nil {
		return nil, err
	}
	b := &Bridge{opts: opts, logger: logger, runtime: runtime, loaded: cfg.LoadedChecksum(), next: make(chan swap), stopped: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	b.loads = newLoads(warnings, runtime.Registry)
	if b.listener, err = plugin.Listen(cfg.Scope.PluginsRoot, cfg.Scope.PluginID, logger); err != nil {
		return nil, err
	}
	b.health = &health{
		check:       b.listener.Check,
		socketErr:   b.listener.Err,
		lastPublish: runtime.Report.LastPublish,
		notify:      notifySystemd(logger),
	}
	if b.health.watchdog, err = daemon.SdWatchdogEnabled(false); err != nil {
		return nil, fmt.Errorf("systemd's watchdog: %w", err)
	}
	b.server = plugin.NewServer(runtime.Report, plugin.ServerOptions{OnProbe: runtime.NewProbe}, logger, runtime.Registry)
	if opts.Web.ListenAddress == "" {
		return b, nil
	}
	b.web, err = b.newWeb()
	return b, err
}

func (b *Bridge) newWeb() (*web.Server, error) {
	source := b.source()
	pages, err := web.NewPages(source, web.PageOptions{}, b.logger)
	if err != nil {
		return nil, fmt.Errorf("setting up the status pages: %w", err)
	}
	opts := web.Options{
		ListenAddress: b.opts.Web.ListenAddress,
		AllowedHosts:  b.opts.Web.AllowedHosts,
		ConfigFile:    b.opts.Web.ConfigFile,
		Gatherer:      b.runtime,
		Ready:         b.ready,
		Healthy:       b.health.err,
		Pages:         pages,
	}
	if b.opts.Web.EnableLifecycle {
		opts.Reload = b.Reload
	}
	return web.New(opts, b.logger)
}

// source is what the pages and the API show.
func (b *Bridge) source() web.Source {
	facts := status.New(b.runtime, status.Options{
		Socket:    b.listener.Path(),
		SocketErr: b.listener.Err,
		Healthy:   b.health.err,
		Pollers:   b.server.Pollers,
		Loaded:    b.loads.state,
	})
	return struct {
		*status.Source
		*explain.Live
	}{facts, explain.NewLive(b.runtime, facts)}
}

// Run does what promscope is for, until ctx is done. Then the socket is gone.
func (b *Bridge) Run(ctx context.Context) error {
	defer func() {
		if err := b.close(); err != nil {
			b.logger.Warn("Not everything could be closed", "err", err)
		}
	}()
	address := "off"
	tasks := []pipeline.Task{
		{Name: "plugin", Run: func(ctx context.Context) error { return b.server.Run(ctx, b.listener) }},
		{Name: "pipeline", Run: b.runPipelines},
		{Name: "health", Run: b.health.Run},
	}
	if b.web != nil {
		tasks = append(tasks, pipeline.Task{Name: b.web.String(), Run: b.web.Run})
		address = "http://" + b.web.Address()
	}
	if b.opts.AutoReload > 0 && b.opts.File != "" {
		tasks = append(tasks, pipeline.Task{Name: "configuration", Run: b.watchFiles})
	}
	b.logger.Info("promscope is running", "socket", b.listener.Path(), "status", address,
		"host", b.runtime.HostName.Name(), "host_source", b.runtime.HostName.Source())
	return pipeline.RunTasks(ctx, tasks...)
}

// GiveUpRights gives up the capabilities that the configuration has no use for, for good, and
// returns the names of those that are left. It is called once, before Run.
func (b *Bridge) GiveUpRights() (left []string, err error) {
	left, b.runtime.GivenUp, err = rights.GiveUp(b.runtime.Pipeline().Config)
	return left, err
}

// swap is a reload's pipeline, and tells when it is the current one.
type swap struct {
	pipeline *pipeline.Pipeline
	done     chan struct{}
}

// runPipelines runs the current pipeline, and after a reload the next one.
func (b *Bridge) runPipelines(ctx context.Context) error {
	defer close(b.stopped)
	for {
		running, cancel := context.WithCancelCause(ctx)
		done := make(chan error, 1)
		go func() { done <- b.runtime.Pipeline().Run(running) }()
		select {
		case next := <-b.next:
			cancel(pipeline.ErrHandedOver)
			if err := <-done; err != nil {
				b.logger.Warn("The pipeline of the last configuration ended with an error", "err", err)
			}
			b.runtime.Use(next.pipeline)
			close(next.done)
		case err := <-done:
			cancel(nil)
			return err // nil if ctx is done
		}
	}
}

// Reload loads the configuration anew, builds what it asks for, and swaps it in. If
// that fails, the last configuration stays in force. It lacks the collectors whose settings
// differ if it fails after they were opened: there is never a second one of a kind.
func (b *Bridge) Reload() error {
	b.reload.Lock()
	defer b.reload.Unlock()
	return b.loadAnew()
}

// loadAnew is Reload with the lock held.
func (b *Bridge) loadAnew() error {
	defer b.health.reloading()()
	warnings, err := b.tryReload()
	b.loads.done(warnings, err)
	if err != nil {
		b.logger.Error("Reload failed, the last configuration stays in force", "err", err)
		return err
	}
	b.logger.Info("The configuration was loaded anew")
	return nil
}

func (b *Bridge) tryReload() (document.List, error) {
	current := b.runtime.Pipeline().Config
	b.loaded = current.Checksum() // if it fails, it is tried again when a file has changed
	cfg, warnings, err := loadConfig(b.opts.Flags, b.logger)
	if err != nil {
		return nil, err
	}
	if old := current.Scope; old.PluginsRoot != cfg.Scope.PluginsRoot || old.PluginID != cfg.Scope.PluginID {
		b.logger.Warn("scope.plugins_root and scope.plugin_id take effect at the next start")
		cfg.Scope.PluginsRoot, cfg.Scope.PluginID = old.PluginsRoot, old.PluginID
	}
	if missed := rights.Missed(cfg, b.runtime.GivenUp); len(missed) > 0 {
		b.logger.Warn("The configuration has a use for capabilities that were given up at the start: restart promscope", "missed", strings.Join(missed, " "))
	}
	p, err := b.runtime.NewPipeline(cfg)
	if err != nil {
		return nil, err
	}
	next := swap{p, make(chan struct{})}
	select {
	case b.next <- next:
		// The next reload builds on this pipeline, and not on the one that ends now.
		<-next.done
		b.loaded = cfg.LoadedChecksum()
		return warnings, nil
	case <-b.stopped:
	case <-time.After(10 * time.Second): // it does not run yet
	}
	return nil, errors.Join(errors.New("promscope is not running"), p.Close())
}

// ready tells whether promscope does its job, and each target was tried.
func (b *Bridge) ready() error {
	if err := b.health.err(); err != nil {
		return err
	}
	if !b.runtime.Pipeline().Ready() {
		return errors.New("not every target was tried yet")
	}
	return nil
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
	return errors.Join(append(errs, b.runtime.Close())...)
}

// loadConfig loads the configuration and logs its warnings, which it returns too.
func loadConfig(flags config.Flags, logger *slog.Logger) (*config.Config, document.List, error) {
	cfg, diagnostics := flags.Load()
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
	return cfg, warnings, nil
}
