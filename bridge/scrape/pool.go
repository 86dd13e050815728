package scrape

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/targetgroup"

	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/bridge/scrape/request"
)

// pool holds the loops of one job.
type pool struct {
	job    *job.Config
	opts   Options
	quoter *request.Quoter
	shared *shared

	mu      sync.Mutex
	loops   map[string]*loop
	dropped []job.DroppedTarget
	refused map[string]bool // why targets could not be scraped, as logged
}

func newPool(job *job.Config, opts Options, s *shared) *pool {
	return &pool{job: job, opts: opts, quoter: request.NewQuoter(job), shared: s, loops: make(map[string]*loop)}
}

// sync starts loops for new targets and stops those of targets that are gone. A new
// loop may take the place of one that was left.
// Loops run until ctx is done, and are waited for by wg.
func (p *pool) sync(ctx context.Context, wg *sync.WaitGroup, groups []*targetgroup.Group, left leftLoops) {
	p.mu.Lock()
	defer p.mu.Unlock()
	loops := make(map[string]*loop, len(p.loops))
	p.dropped = nil
	for _, g := range groups {
		targets, dropped := job.TargetsOf(p.job, g)
		p.dropped = append(p.dropped, dropped...)
		for _, t := range targets {
			p.keep(ctx, wg, loops, t, left)
		}
	}
	for key, l := range p.loops {
		if loops[key] == nil {
			l.cancel()
		}
	}
	p.loops = loops

	var over error
	if limit := int(p.job.TargetLimit); limit > 0 && len(loops) > limit {
		over = request.NewError("target_limit", fmt.Errorf("target_limit of %d exceeded: the job has %d targets", limit, len(loops)))
	}
	for _, l := range loops {
		l.force(over)
	}
	p.logRefused()
	p.shared.metrics.dropped.WithLabelValues(p.job.JobName).Set(float64(len(p.dropped)))
	if limit := int(p.job.KeepDroppedTargets); limit > 0 && len(p.dropped) > limit {
		p.dropped = p.dropped[:limit]
	}
}

// logRefused logs, once for each target, why it cannot be scraped. It is silent about
// targets that relabelling drops, since that is what relabelling is for.
func (p *pool) logRefused() {
	refused := make(map[string]bool)
	for _, d := range p.dropped {
		if d.Error == "" {
			continue
		}
		address := d.Discovered.Get(model.AddressLabel)
		why := address + ": " + d.Error
		if !p.refused[why] && !refused[why] {
			err := d.Error
			if at := strings.LastIndexByte(address, '@'); at >= 0 { // credentials are not for the log
				address, err = address[at+1:], "a user name and password belong into basic_auth"
			}
			p.shared.logger.Warn("Target cannot be scraped", "job", d.Job, "address", address, "err", err)
		}
		refused[why] = true
	}
	p.refused = refused
}

// keep takes the target's loop over into loops, or starts one.
func (p *pool) keep(ctx context.Context, wg *sync.WaitGroup, loops map[string]*loop, t *job.Target, left leftLoops) {
	key := t.Key()
	if loops[key] != nil {
		return
	}
	if l := p.loops[key]; l != nil {
		l.discovered(t.Discovered)
		loops[key] = l
		return
	}
	// What is no URL now is never one. A file that the settings name may come back.
	if _, err := url.Parse(t.URL.String()); err != nil {
		p.dropped = append(p.dropped, job.DroppedTarget{Job: p.job.JobName, Discovered: t.Discovered, Error: p.quoter.Error(err)})
		return
	}
	l := newLoop(t, &fetcher{target: t, opts: p.opts}, p.quoter, p.shared)
	old := left.claim(l)
	var own context.Context
	own, l.cancel = context.WithCancel(ctx)
	loops[key] = l
	wg.Go(func() { l.run(own, ctx, old) })
}

func (p *pool) appendStatus(all []TargetStatus) []TargetStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.loops {
		all = append(all, l.Status())
	}
	return all
}

func (p *pool) appendDropped(all []job.DroppedTarget) []job.DroppedTarget {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append(all, p.dropped...)
}
