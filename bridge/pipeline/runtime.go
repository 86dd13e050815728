package pipeline

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"
	dto "github.com/prometheus/client_model/go"

	"github.com/promscope/promscope/bridge/config"
	"github.com/promscope/promscope/bridge/discovery"
	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/host/socket"
	"github.com/promscope/promscope/bridge/plugin"
	"github.com/promscope/promscope/bridge/store"
)

// Runtime is what outlives a configuration: the machine and what is known of its
// listeners, the host's name, the report, promscope's own metrics.
type Runtime struct {
	Logger   *slog.Logger
	Registry *prometheus.Registry
	Machine  *host.Machine
	Sockets  *socket.Table
	Prober   *discovery.Prober
	HostName *HostName
	Pods     *Pods
	Store    *store.Store
	Report   *plugin.Report

	// GivenUp are the names of the capabilities that promscope gave up at its start, since
	// the configuration had no use for them. Nothing changes it after that.
	GivenUp []string

	current atomic.Pointer[Pipeline]
}

// NewRuntime looks at the machine and builds the pipeline of a configuration. The
// runtime must be closed.
func NewRuntime(cfg *config.Config, logger *slog.Logger) (_ *Runtime, err error) {
	r := &Runtime{Logger: logger, Registry: prometheus.NewRegistry()}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	r.Registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		versioncollector.NewCollector("promscope"),
	)
	if r.Machine, err = host.New(host.Options{OnExit: r.processEnded}); err != nil {
		return nil, fmt.Errorf("looking at this machine: %w", err)
	}
	if !r.Machine.KernelPIDs() {
		logger.Warn("This pid namespace is not the host's: Scope may know processes by other pids, " +
			"and the built-in collectors cannot tell them; run promscope with --pid=host (hostPID: true)")
	}
	r.Sockets = socket.New(r.Machine)
	r.Prober, err = discovery.NewProber(r.Machine, r.Sockets, r.claimed, logger, r.Registry)
	if err != nil {
		return nil, fmt.Errorf("setting up the discovery of listeners: %w", err)
	}
	r.HostName = newHostName(r.Machine, cfg.Scope.Host, logger, r.Registry)
	r.Pods = newPods(r.Machine, cfg.Scope.Pods, logger)
	r.Report = plugin.NewReport(r.reportOptions(cfg), cfg.Rules.Templates(), logger, r.Registry)
	r.Store = store.New(store.NewSelection(nil), store.Options{}, r.Registry)
	p, err := r.NewPipeline(cfg)
	if err != nil {
		return nil, err
	}
	p.begin(nil)
	r.current.Store(p)
	return r, nil
}

// Pipeline returns the pipeline of the configuration in force.
func (r *Runtime) Pipeline() *Pipeline { return r.current.Load() }

// Use puts a pipeline in force. The one before it must have ended, but for scrapes under way.
func (r *Runtime) Use(p *Pipeline) {
	r.HostName.configure(p.Config.Scope.Host)
	r.Pods.configure(p.Config.Scope.Pods)
	same := p.begin(r.Pipeline())
	r.Report.Reconfigure(r.reportOptions(p.Config), p.Config.Rules.Templates(), p.Rules.Templates(), same)
	r.current.Store(p)
}

// reportOptions are what the report needs of a configuration and of the machine.
func (r *Runtime) reportOptions(cfg *config.Config) plugin.Options {
	opts := ReportOptions(cfg, r.HostName.Name())
	opts.Exporter = func(id string) bool {
		pid, err := strconv.Atoi(id)
		return err == nil && socket.IsExporter(r.Machine, pid)
	}
	return opts
}

// NewProbe asks the process of a probe that polls for the first time for the host's
// name. The probe's first report has that name already: under another one, Scope
// would show a second host for a while.
func (r *Runtime) NewProbe(pid int) {
	r.HostName.askProbe(pid)
	r.Pods.AskProbe(pid)
	if r.Report.SetHost(r.HostName.Name()) {
		r.Report.Publish(time.Now())
	}
}

// Gather implements prometheus.Gatherer for all metrics of promscope and of its
// collectors.
func (r *Runtime) Gather() ([]*dto.MetricFamily, error) {
	p := r.Pipeline()
	all := prometheus.Gatherers{r.Registry, p.Registry}
	for _, c := range p.Collectors {
		all = append(all, c)
	}
	return all.Gather()
}

// processEnded takes a process that ends out of the report before the next poll.
func (r *Runtime) processEnded() {
	if p := r.Pipeline(); p != nil {
		p.evaluator.prune()
	}
}

// claimed are the endpoints that jobs name. The discovery of listeners leaves them
// alone.
func (r *Runtime) claimed() []discovery.Claim {
	if p := r.Pipeline(); p != nil {
		return p.discovery.Claims()
	}
	return nil
}

// Close closes the pipeline in force and everything that outlives it.
func (r *Runtime) Close() error {
	var errs []error
	if p := r.Pipeline(); p != nil {
		p.discovery.Close()
		errs = append(errs, p.Close())
	}
	if r.Prober != nil {
		r.Prober.Close()
	}
	if r.Machine != nil {
		r.Machine.Close()
	}
	return errors.Join(errs...)
}
