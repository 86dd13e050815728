package discovery

import (
	"context"
	"log/slog"
	"maps"
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

// probesAtATime is how many listeners are asked at once, without those that have taken
// more than probeTimeout already.
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
	served   map[place]*verdict // the newest exposition at a place
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
	waiting  []chan<- struct{}

	// replaces says, while the endpoint is asked, that an exposition was served at its
	// place until just now.
	replaces bool

	finder *listenerDiscoverer // which has found the listener last
	look   int                 // at which of its looks
}

// stands reports whether the listener was found at one of its finder's last two looks. A
// finder that has ended looks no more: the next one has as much time to find the listener.
func (v *verdict) stands(now time.Time) bool {
	if ended := v.finder.ended; !ended.IsZero() {
		return now.Sub(ended) < 2*time.Duration(v.finder.Config.Interval)
	}
	return v.finder.looks-v.look < 2
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

// probeResult is the outcome of asking a listener.
type probeResult string

const (
	probeSpared     probeResult = "spared" // it is not asked
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
		served:   map[place]*verdict{},
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

// claims returns what jobs name now.
func (p *Prober) claims() claims {
	hostname, _ := os.Hostname()
	return p.newClaims(p.claimed(), hostname)
}

// serves reports whether the endpoint serves an exposition, and returns it with what
// asking it has shown. An endpoint that is new, or whose time to be asked again has
// come, is asked; answered is signaled when the answer is there. Until then it counts
// as what it replaces: an exporter that is restarted stays a target.
func (d *listenerDiscoverer) serves(e endpoint, answered chan<- struct{}) (endpoint, bool) {
	p := d.prober
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	key := probeKey{e.NetNS, e.Inode, e.path, e.asker}
	v := p.verdicts[key]
	if v == nil {
		v = &verdict{}
		p.verdicts[key] = v
	}
	if v.due(e, now) {
		asked := e
		asked.contact = new(contact)
		asked.timeout = max(probeTimeout, time.Duration(d.Scrape.ScrapeTimeout))
		v.replaces = false
		if before := p.served[e.place()]; before != nil {
			asked.only6 = before.endpoint.only6
			v.replaces = before.result == probeExposition && before.stands(now)
		}
		v.endpoint, v.result, v.reason, v.at = asked, probeAsking, "it has not answered yet", now
		p.asking.Go(func() { p.ask(v, asked) })
	}
	v.finder, v.look = d, d.looks
	e.only6 = v.endpoint.only6
	switch v.result {
	case probeAsking:
		if !slices.Contains(v.waiting, answered) {
			v.waiting = append(v.waiting, answered)
		}
		return e, v.replaces
	case probeExposition:
		p.served[e.place()] = v
		return e, true
	default:
		return e, false
	}
}

// spare notes an endpoint that the entry does not ask. What is known of it by another
// entry, which asks it, stays.
func (d *listenerDiscoverer) spare(e endpoint) {
	p := d.prober
	p.mu.Lock()
	defer p.mu.Unlock()
	key := probeKey{e.NetNS, e.Inode, e.path, e.asker}
	v := p.verdicts[key]
	if v == nil {
		v = &verdict{result: probeSpared}
		p.verdicts[key] = v
	}
	if v.result == probeSpared {
		v.endpoint, v.reason = e, e.spared
		v.finder, v.look = d, d.looks
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

// forget drops what is known of listeners that are not found any more. The inode of a
// socket that is gone does not come again.
func (p *Prober) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(p.verdicts, func(_ probeKey, v *verdict) bool { return !v.stands(now) })
	maps.DeleteFunc(p.served, func(_ place, v *verdict) bool { return !v.stands(now) })
}

// ask asks an endpoint and records the answer.
func (p *Prober) ask(v *verdict, e endpoint) {
	select {
	case p.slots <- struct{}{}:
	case <-p.ctx.Done():
		return
	}
	// A slow one gives its place up: it does not hold up the others.
	leave := sync.OnceFunc(func() { <-p.slots })
	defer leave()
	defer time.AfterFunc(probeTimeout, leave).Stop()
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
	v.endpoint, v.result, v.reason = e, result, ""
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
	Result string    // spared, asking, exposition, other, timeout, error, not_permitted
	Reason string    // why it is no target
	Asked  time.Time // when it was asked; zero if it was not

	endpoint endpoint
}

// Name is the address of the listener, or the path of its unix socket.
func (s ListenerStatus) Name() string {
	if s.Listener.Path != "" {
		return s.Listener.Path
	}
	return s.Addr.String()
}

// Listeners returns the listeners that were found, in the order of their ports.
func (p *Prober) Listeners() []ListenerStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]ListenerStatus, 0, len(p.verdicts))
	for _, v := range p.verdicts {
		all = append(all, ListenerStatus{
			Listener: v.endpoint.Listener, Path: v.endpoint.path, Result: string(v.result), Reason: v.reason, Asked: v.at, endpoint: v.endpoint,
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

// ListenersAt returns the listeners that somebody means by host:port, by an instance in
// another network namespace, or by the path of a unix socket.
func (p *Prober) ListenersAt(name string) []ListenerStatus {
	all := p.Listeners()
	var named []Claim
	for _, s := range all {
		claim := Claim{Address: name, Path: s.Path}
		if strings.HasPrefix(name, "/") {
			claim = Claim{UnixSocket: name, Path: s.Path}
		}
		if !slices.Contains(named, claim) {
			named = append(named, claim)
		}
	}
	hostname, _ := os.Hostname()
	claims := p.newClaims(named, hostname)
	return slices.DeleteFunc(all, func(s ListenerStatus) bool { return !claims.claimed(s.endpoint) && s.endpoint.instance() != name })
}
