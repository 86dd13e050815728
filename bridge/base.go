package bridge

import (
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"

	"github.com/promscope/promscope/bridge/config"
	"github.com/promscope/promscope/bridge/discovery"
	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/host/socket"
	"github.com/promscope/promscope/bridge/plugin"
)

// base is what outlives a configuration: the machine and what is known of its
// listeners, the host's name, the report, promscope's own metrics.
type base struct {
	logger   *slog.Logger
	registry *prometheus.Registry
	machine  *host.Machine
	sockets  *socket.Table
	prober   *discovery.Prober
	hostName *hostName
	report   *plugin.Report
	pipeline atomic.Pointer[pipeline] // of the configuration in force
}

// newBase looks at the machine, and builds the pipeline of a configuration. The
// base must be closed.
func newBase(cfg *config.Config, logger *slog.Logger) (_ *base, err error) {
	b := &base{logger: logger, registry: prometheus.NewRegistry()}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	b.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		versioncollector.NewCollector("promscope"),
	)
	if b.machine, err = host.New(host.Options{OnExit: b.processEnded}); err != nil {
		return nil, fmt.Errorf("looking at this machine: %w", err)
	}
	if !b.machine.KernelPIDs() {
		logger.Warn("This pid namespace is not the host's: Scope may know processes by other pids, " +
			"and the built-in collectors cannot tell them; run promscope with --pid=host (hostPID: true)")
	}
	b.sockets = socket.New(b.machine)
	b.prober, err = discovery.NewProber(b.machine, b.sockets, b.claimed, logger, b.registry)
	if err != nil {
		return nil, fmt.Errorf("setting up the discovery of listeners: %w", err)
	}
	b.hostName = newHostName(b.machine, cfg.Scope.Host, logger, b.registry)
	b.report = plugin.NewReport(reportOptions(cfg, b.hostName.name()), cfg.Rules.Templates(), logger, b.registry)
	p, err := newPipeline(cfg, b)
	if err != nil {
		return nil, err
	}
	b.pipeline.Store(p)
	return b, nil
}

// processEnded sees to it that a process that ends is out of the report before
// the next poll.
func (b *base) processEnded() {
	if p := b.pipeline.Load(); p != nil {
		p.evaluator.prune()
	}
}

// claimed are the endpoints that jobs scrape which name them: the discovery of
// listeners leaves them alone.
func (b *base) claimed() []discovery.Claim {
	if p := b.pipeline.Load(); p != nil {
		return p.claims()
	}
	return nil
}

func (b *base) close() error {
	var errs []error
	if p := b.pipeline.Load(); p != nil {
		errs = append(errs, p.close())
	}
	if b.prober != nil {
		b.prober.Close()
	}
	if b.machine != nil {
		b.machine.Close()
	}
	return errors.Join(errs...)
}
