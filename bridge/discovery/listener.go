package discovery

import (
	"cmp"
	"context"
	"log/slog"
	"reflect"
	"time"

	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/targetgroup"

	"github.com/promscope/promscope/bridge/host/socket"
	"github.com/promscope/promscope/bridge/scrape/job"
)

// listenerDiscoverer finds this machine's listeners that serve an exposition:
// the targets of one entry of a job's listener_sd_configs.
type listenerDiscoverer struct {
	asker  *asker
	config *ListenerSDConfig
	prober *Prober
	logger *slog.Logger
}

// Discoverer returns the discoverer of one entry of a job.
func (p *Prober) Discoverer(j *job.Config, config *ListenerSDConfig, logger *slog.Logger) discovery.Discoverer {
	return &listenerDiscoverer{asker: p.askerOf(j), config: config, prober: p, logger: logger}
}

// Run implements discovery.Discoverer. It looks for listeners at each interval and
// sends all targets as one group when they changed. A new listener becomes a target when
// it has answered; one that is gone is no target after the next look.
func (d *listenerDiscoverer) Run(ctx context.Context, up chan<- []*targetgroup.Group) {
	ticker := time.NewTicker(time.Duration(d.config.Interval))
	defer ticker.Stop()
	answered := make(chan struct{}, 1)

	var found []endpoint
	var sent *targetgroup.Group
	failing := false
	for look := true; ; {
		if look {
			endpoints, err := d.prober.endpoints(ctx, d.asker, d.config)
			switch {
			case ctx.Err() != nil:
				return
			case err == nil:
				found = endpoints
			case !failing:
				d.logger.Warn("Local listeners cannot be looked for", "err", err)
			}
			failing = err != nil
		}
		group := d.group(found, answered)
		if !reflect.DeepEqual(group, sent) {
			select {
			case <-ctx.Done():
				return
			case up <- []*targetgroup.Group{group}:
				sent = group
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			look = true
		case <-answered:
			look = false
		}
	}
}

// group returns the endpoints that serve an exposition, as targets. New ones are asked,
// and answered is signaled when one has answered.
func (d *listenerDiscoverer) group(found []endpoint, answered chan<- struct{}) *targetgroup.Group {
	group := &targetgroup.Group{Source: "listeners"}
	claims := d.prober.claims()
	for _, e := range found {
		if claims.claimed(e) {
			continue
		}
		if e, ok := d.prober.serves(e, time.Duration(d.config.Interval), answered); ok {
			group.Targets = append(group.Targets, e.labels(d.prober.machine))
		}
	}
	return group
}

// endpoints returns the endpoints that an entry admits: of each process and port one
// listener. Ports do not tell unix sockets apart, so that a job with credentials asks
// these only where it names their owners.
func (p *Prober) endpoints(ctx context.Context, a *asker, c *ListenerSDConfig) ([]endpoint, error) {
	defer func(begin time.Time) { p.metrics.looks.Observe(time.Since(begin).Seconds()) }(time.Now())
	listeners, err := p.sockets.Listeners(ctx, socket.Wanted{
		TCP:  p.wantsTCP(c),
		Unix: p.wantsUnix(),
	})
	if err != nil {
		return nil, err
	}
	p.countNamespaces()
	p.forget()
	var admitted []endpoint
	for _, l := range listeners {
		switch {
		case l.Owner.PID != 0 && l.Owner.PID == p.machine.PID():
			// Our own debug server: its series are gathered in process.
		case l.Dormant:
		case l.Path != "" && !c.NamesOwners() && a.job.Credentials() != "":
		case p.reach == nil && l.Owner.Comm == "docker-proxy":
			// The container's own listener, behind it, is found in its namespace.
		case c.admits(l.Owner.Comm, l.Owner.Exe):
			e := endpoint{Listener: l, asker: a, path: cmp.Or(c.Path, a.job.MetricsPath)}
			if !p.prints(e, c) {
				admitted = append(admitted, e)
			}
		}
	}
	return distinct(admitted), nil
}
