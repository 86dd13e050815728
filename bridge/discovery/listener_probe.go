package discovery

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/host/socket"
)

// probesAtATime is how many listeners are asked at once.
const probesAtATime = 8

// Prober asks listeners whether they serve an exposition. One that does is asked once,
// and that is remembered for as long as it listens and has the same owner. All entries of
// listener_sd_configs share the prober. It outlives reloads, so that a listener is not
// asked because the configuration changed.
type Prober struct {
	machine *host.Machine
	sockets *socket.Table
	claimed func() []Claim
	logger  *slog.Logger
	metrics proberMetrics
	reach   error // why only our own network namespace is looked at; nil if all are
	dial    func(ctx context.Context, e *endpoint) (net.Conn, error)

	ctx    context.Context // of the requests: they are not cut short by a reload
	cancel context.CancelFunc
	asking sync.WaitGroup
	slots  chan struct{}

	mu       sync.Mutex
	askers   []*asker
	verdicts map[probeKey]*verdict
	served   map[place]served
}

// probeKey is what is asked, and how: a path of a listening socket.
type probeKey struct {
	netns uint64
	inode uint64
	path  string
	asker *asker
}

// verdict is what came of asking. All of it is guarded by the prober's lock.
type verdict struct {
	endpoint endpoint
	result   probeResult
	reason   string
	at       time.Time // when it was asked
	history  history
	again    time.Time // when it is asked again, unless that is settled
	until    time.Time // when it is forgotten, unless it is found again before
	waiting  []chan<- struct{}

	// replaces says, while the endpoint is asked, that an exposition was served at its
	// place until just now.
	replaces bool
}

// place is where an endpoint is, whichever socket listens there.
type place struct {
	netns      uint64
	addr       netip.AddrPort
	unixSocket string
	path       string // of the URL
	asker      *asker
}

func (e endpoint) place() place { return place{e.NetNS, e.Addr, e.Path, e.path, e.asker} }

// served is an exposition at a place.
type served struct {
	only6 bool
	until time.Time // when that is forgotten
}

// probeResult is the outcome of asking a listener.
type probeResult string

const (
	probeAsking     probeResult = "asking"
	probeExposition probeResult = "exposition"
	probeOther      probeResult = "other"   // it answered something else
	probeTimedOut   probeResult = "timeout" // it did not answer in time, or did not end
	probeFailed     probeResult = "error"   // no connection, or no HTTP
	probeForbidden  probeResult = "not_permitted"
)

// NewProber returns a prober of the machine's listeners. At each look, claimed returns
// the endpoints that jobs scrape which name them: these are neither asked nor targets.
// Close ends the prober.
func NewProber(
	m *host.Machine, sockets *socket.Table, claimed func() []Claim, logger *slog.Logger, reg prometheus.Registerer,
) (*Prober, error) {
	p := &Prober{
		machine:  m,
		sockets:  sockets,
		claimed:  claimed,
		logger:   logger,
		reach:    m.CanEnterNamespaces(),
		slots:    make(chan struct{}, probesAtATime),
		verdicts: map[probeKey]*verdict{},
		served:   map[place]served{},
	}
	p.dial = p.connect
	var err error
	if p.metrics, err = newProberMetrics(reg); err != nil {
		return nil, err
	}
	if p.reach != nil {
		logger.Info("Listeners are looked for in this network namespace only", "err", p.reach)
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p, nil
}

// Close cuts the requests short that are under way.
func (p *Prober) Close() {
	p.cancel()
	p.asking.Wait()
}

// claims returns what other jobs scrape now.
func (p *Prober) claims() claims {
	hostname, _ := os.Hostname()
	return newClaims(p.claimed(), p.sockets, hostname)
}

// serves reports whether the endpoint serves an exposition, and returns it with what
// asking it has shown. An endpoint that is new, or whose time to be asked again has
// come, is asked; answered is signaled when the answer is there. Until then it counts
// as what it replaces: an exporter that is restarted stays a target. Endpoints are
// looked for at the interval, and one that is not found twice is forgotten.
func (p *Prober) serves(e endpoint, interval time.Duration, answered chan<- struct{}) (endpoint, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	until := now.Add(2 * interval)
	key := probeKey{e.NetNS, e.Inode, e.path, e.asker}
	v := p.verdicts[key]
	if v == nil {
		v = &verdict{}
		p.verdicts[key] = v
	}
	if v.due(e, now) {
		before, asked := p.served[e.place()], e
		asked.only6, asked.contact = before.only6, new(contact)
		v.endpoint, v.result, v.reason, v.at, v.replaces = asked, probeAsking, "", now, now.Before(before.until)
		p.asking.Go(func() { p.ask(v, asked) })
	}
	if v.until.Before(until) {
		v.until = until
	}
	e.only6 = v.endpoint.only6
	switch v.result {
	case probeAsking:
		if !slices.Contains(v.waiting, answered) {
			v.waiting = append(v.waiting, answered)
		}
		return e, v.replaces
	case probeExposition:
		p.served[e.place()] = served{e.only6, v.until}
		return e, true
	default:
		return e, false
	}
}

// due reports whether to ask an endpoint now. One whose owner has changed is another one.
func (v *verdict) due(e endpoint, now time.Time) bool {
	if v.result == probeAsking {
		return false
	}
	if v.history.changed(e) {
		v.history = history{owner: ownerOf(e)}
		return true
	}
	return v.result != probeExposition && !v.history.settled && !now.Before(v.again)
}

// forget drops what is known of endpoints that have not been found for a while. The
// inode of a socket that is gone does not come again.
func (p *Prober) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for key, v := range p.verdicts {
		if !now.Before(v.until) {
			delete(p.verdicts, key)
		}
	}
	for place, s := range p.served {
		if !now.Before(s.until) {
			delete(p.served, place)
		}
	}
}

// ask asks an endpoint and records the answer.
func (p *Prober) ask(v *verdict, e endpoint) {
	select {
	case p.slots <- struct{}{}:
	case <-p.ctx.Done():
		return
	}
	defer func() { <-p.slots }()
	e, result, err := p.get(e)
	if p.ctx.Err() != nil {
		return
	}
	p.metrics.probes.WithLabelValues(string(result)).Inc()
	where := []any{"address", e.Addr, "path", e.path, "netns", e.NetNS, "unix", e.Path, "pid", e.Owner.PID, "comm", e.Owner.Comm}
	if err != nil {
		p.logger.Debug("A listener serves no exposition", append(where, "err", err)...)
	} else {
		p.logger.Info("A listener serves an exposition", where...)
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	v.endpoint, v.result = e, result
	if err != nil {
		v.reason = err.Error()
	}
	v.history.answered(e, e.contact, err)
	v.again = time.Now().Add(v.history.wait)
	for _, answered := range v.waiting {
		select {
		case answered <- struct{}{}:
		default: // it has a signal waiting
		}
	}
	v.waiting = nil
}

// ListenerStatus is what is known of a listener that was found.
type ListenerStatus struct {
	socket.Listener

	Path   string    // of the URL
	Result string    // asking, exposition, other, timeout, error, not_permitted
	Reason string    // why it is no target
	Asked  time.Time // when it was asked
}

// Listeners returns the listeners that were found, in the order of their ports.
func (p *Prober) Listeners() []ListenerStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]ListenerStatus, 0, len(p.verdicts))
	for _, v := range p.verdicts {
		all = append(all, ListenerStatus{
			Listener: v.endpoint.Listener, Path: v.endpoint.path, Result: string(v.result), Reason: v.reason, Asked: v.at,
		})
	}
	slices.SortFunc(all, func(a, b ListenerStatus) int {
		if a.Addr.Port() != b.Addr.Port() {
			return int(a.Addr.Port()) - int(b.Addr.Port())
		}
		return strings.Compare(a.Addr.String()+a.Listener.Path, b.Addr.String()+b.Listener.Path)
	})
	return all
}
