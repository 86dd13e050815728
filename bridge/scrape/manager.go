package scrape

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/bridge/scrape/request"
	"github.com/promscope/promscope/bridge/store"
)

// Options of a Manager. All of them are optional.
type Options struct {
	// InProcess are the targets inside of this process.
	InProcess []InProcess
	// Origin returns labels of the process that owns the other end of a
	// connection, empty if the process is not known. A scrape calls it once for
	// each new connection, within its timeout. While the process is not known,
	// later scrapes call it again, ever less often. The labels come onto all series
	// of the target that do not speak of others, unless the target has such a label.
	// When they change, the old series go stale within that scrape.
	Origin func(ctx context.Context, conn net.Conn) labels.Labels
	// Subject begins to look at whom a process asks that is asked now, given the labels
	// of that process and what is requested of it. What it returns is called when the
	// answer has begun, or never if there is none in time. Each scrape calls it.
	Subject func(ctx context.Context, origin labels.Labels, request string) func() Subject
	// Own returns those labels of an origin that a target may have which says that of
	// itself, and why not the others, as a clause whose subject is the target; empty if
	// it may have all. A scrape calls it when the target says something new.
	Own func(origin labels.Labels, said Testimony) (own labels.Labels, withheld string)
	// KnownBy returns how the names of the metrics begin that the process of an origin
	// exposes of itself: an exposition without any is that of another process, and its
	// Testimony is Behind. It returns false if such names tell nothing.
	KnownBy func(origin labels.Labels) (prefixes []string, ok bool)
	// PIDLabels are the labels of exposed series that hold process ids, as
	// rules use them.
	PIDLabels []string
	// PID translates the value of such a label. The target's labels include those of
	// its origin.
	PID func(ctx context.Context, target labels.Labels, label, value string) PID
	// Dial connects to a target. The labels, which include the internal ones, tell
	// in which network namespace the target is. Nil is a plain net.Dialer.
	Dial func(ctx context.Context, target labels.Labels, network, address string) (net.Conn, error)
}

// Manager scrapes the targets of all jobs.
type Manager struct {
	pools    map[string]*pool
	inside   []*loop
	left     leftLoops // of another manager, which this one goes on for
	shared   *shared
	received chan struct{} // closed with the first target set
}

// NewManager returns a manager of the jobs, which must be valid. It commits
// what the selection takes, which is the store's, to the store.
func NewManager(jobs []*job.Config, st *store.Store, sel *store.Selection, opts Options, logger *slog.Logger, reg prometheus.Registerer) (*Manager, error) {
	m := &Manager{
		pools:    make(map[string]*pool, len(jobs)),
		received: make(chan struct{}),
		shared: &shared{
			store:     st,
			sel:       sel,
			logger:    logger,
			metrics:   newMetrics(reg),
			pids:      newPIDTranslator(opts),
			pidLabels: opts.PIDLabels,
			own:       opts.Own,
			knownBy:   opts.KnownBy,
		},
	}
	var errs []error
	for _, job := range jobs {
		if m.pools[job.JobName] != nil {
			errs = append(errs, fmt.Errorf("job %q: the name is taken", job.JobName))
			continue
		}
		m.pools[job.JobName] = newPool(job, opts, m.shared)
	}
	for _, p := range opts.InProcess {
		t, err := p.target()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		m.inside = append(m.inside, newLoop(t, newGatherer(p), request.NewQuoter(t.Job), m.shared))
	}
	if len(jobs) == 0 {
		close(m.received)
	}
	return m, errors.Join(errs...)
}

// Run scrapes until ctx is done. The target sets are by job name, each of them
// complete, as discovery.Manager sends them. It returns after all scrapes have
// ended, which a hanging one does at once. If the cause of ctx is ErrHandedOver it returns
// at once, and the manager that takes over waits for the scrapes.
func (m *Manager) Run(ctx context.Context, sets <-chan map[string][]*targetgroup.Group) error {
	var wg sync.WaitGroup
	defer func() {
		if handedOver(ctx) {
			return
		}
		for _, l := range m.left {
			l.abort()
		}
		wg.Wait()
	}()
	for _, l := range m.inside {
		l.synthetic.retarget(m.shared.store, l.target.Job, l.app.target) // the store has its selection now
		old := m.left.claim(l)
		wg.Go(func() { l.run(ctx, ctx, old) })
	}
	grace := time.NewTimer(m.endLeft(time.Now()))
	defer grace.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-grace.C:
			if next := m.endLeft(now); len(m.left) > 0 {
				grace.Reset(next)
			}
		case set, ok := <-sets:
			if !ok {
				sets = nil
				continue
			}
			for name, p := range m.pools {
				p.sync(ctx, &wg, set[name], m.left)
			}
			select {
			case <-m.received:
			default:
				close(m.received)
			}
		}
	}
}

// Ready tells whether the first set of targets came and each target was tried
// once.
func (m *Manager) Ready() bool {
	select {
	case <-m.received:
	default:
		return false
	}
	return !slices.ContainsFunc(m.Targets(), func(s TargetStatus) bool { return s.Health == HealthUnknown })
}

// Targets returns what is known of all targets, by job and instance.
func (m *Manager) Targets() []TargetStatus {
	var all []TargetStatus
	for _, l := range m.inside {
		all = append(all, l.Status())
	}
	for _, p := range m.pools {
		all = p.appendStatus(all)
	}
	slices.SortFunc(all, func(x, y TargetStatus) int {
		return cmp.Or(cmp.Compare(x.Job, y.Job), labels.Compare(x.Labels, y.Labels), cmp.Compare(x.URL, y.URL))
	})
	return all
}

// Dropped returns the discovered targets that are not scraped, at most
// keep_dropped_targets of each job.
func (m *Manager) Dropped() []job.DroppedTarget {
	var all []job.DroppedTarget
	for _, p := range m.pools {
		all = p.appendDropped(all)
	}
	slices.SortFunc(all, func(x, y job.DroppedTarget) int {
		return cmp.Or(cmp.Compare(x.Job, y.Job), labels.Compare(x.Discovered, y.Discovered))
	})
	return all
}
