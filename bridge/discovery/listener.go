package discovery

import (
	"cmp"
	"context"
	"log/slog"
	"reflect"
	"slices"
	"time"

	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/targetgroup"

	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/host/socket"
	"github.com/promscope/promscope/bridge/scrape/job"
)

// Entry is one entry of a job's listener_sd_configs.
type Entry struct {
	Scrape *job.Config // the job: how listeners are asked
	Config *ListenerSDConfig

	// before are the entries of the jobs before it that take unix sockets of any owner.
	before []*ListenerSDConfig
	// claimed is signaled when the targets change that jobs name.
	claimed chan struct{}
}

// open reports whether the entry takes unix sockets of any owner. Ports do not tell them
// apart, so that credentials go only to those whose owners the entry names.
func (e *Entry) open() bool { return !e.Config.NamesOwners() && e.Scrape.Credentials() == "" }

// takesUnix reports whether the entry takes the unix sockets of an owner. Of several that
// take those of any owner, the first job has them: the others would scrape them as well.
func (e *Entry) takesUnix(owner host.Process) bool {
	return e.Config.NamesOwners() || e.open() && !slices.ContainsFunc(e.before, func(c *ListenerSDConfig) bool {
		return c.admits(owner.Comm, owner.Exe)
	})
}

// listenerDiscoverer finds this machine's listeners that serve an exposition:
// the targets of an entry.
type listenerDiscoverer struct {
	*Entry
	asker  *asker
	prober *Prober
	logger *slog.Logger

	// Guarded by the prober's lock:
	looks int       // how often it has looked
	ended time.Time // zero while it runs
}

// Discoverer returns the discoverer of an entry.
func (p *Prober) Discoverer(e *Entry, logger *slog.Logger) discovery.Discoverer {
	return &listenerDiscoverer{Entry: e, asker: p.askerOf(e.Scrape), prober: p, logger: logger}
}

// Run implements discovery.Discoverer. It looks for listeners at each interval and
// sends all targets as one group when they changed. A new listener becomes a target when
// it has answered; one that is gone is no target after the next look.
func (d *listenerDiscoverer) Run(ctx context.Context, up chan<- []*targetgroup.Group) {
	defer d.end()
	ticker := time.NewTicker(time.Duration(d.Config.Interval))
	defer ticker.Stop()
	answered := make(chan struct{}, 1)

	var found []endpoint
	var sent *targetgroup.Group
	failing := false
	for look := true; ; {
		if look {
			endpoints, err := d.look(ctx)
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
		case <-d.claimed:
			look = false
		}
	}
}

// end notes that the discoverer looks no more.
func (d *listenerDiscoverer) end() {
	d.prober.mu.Lock()
	defer d.prober.mu.Unlock()
	d.ended = time.Now()
}

// group returns the endpoints that serve an exposition, as targets. New ones are asked,
// and answered is signaled when one has answered.
func (d *listenerDiscoverer) group(found []endpoint, answered chan<- struct{}) *targetgroup.Group {
	group := &targetgroup.Group{Source: "listeners"}
	for _, e := range distinct(d.prober.claims().unclaimed(found)) {
		if e.spared != "" {
			d.spare(e)
		} else if e, ok := d.serves(e, answered); ok {
			group.Targets = append(group.Targets, e.labels(d.prober.machine))
		}
	}
	d.prober.forget()
	return group
}

// look returns the endpoints that the entry admits, those that it spares among them. A
// process may have several of them on a port.
func (d *listenerDiscoverer) look(ctx context.Context) ([]endpoint, error) {
	p, c := d.prober, d.Config
	defer func(begin time.Time) { p.metrics.looks.Observe(time.Since(begin).Seconds()) }(time.Now())
	listeners, err := p.sockets.Listeners(ctx, socket.Wanted{
		TCP:  p.wantsTCP(c),
		Unix: p.wantsUnix(),
	})
	if err != nil {
		return nil, err
	}
	p.countNamespaces()
	var admitted []endpoint
	for _, l := range listeners {
		switch {
		case l.Owner.PID != 0 && l.Owner.PID == p.machine.PID():
			// Our own debug server: its series are gathered in process.
		case l.Path != "" && !d.takesUnix(l.Owner):
		case p.reach == nil && l.Owner.Comm == "docker-proxy":
			// The container's own listener, behind it, is found in its namespace.
		case c.admits(l.Owner.Comm, l.Owner.Exe):
			e := endpoint{Listener: l, asker: d.asker, path: cmp.Or(c.Path, d.asker.job.MetricsPath)}
			e.spared = p.whySpared(e, c)
			admitted = append(admitted, e)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	d.looks++
	return admitted, nil
}
