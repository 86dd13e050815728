package scrape

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"github.com/prometheus/common/version"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/bridge/scrape/request"
)

// client asks one target, and knows who answers.
type client struct {
	asks   *request.Client
	target *job.Target

	dial   func(ctx context.Context, target labels.Labels, network, address string) (net.Conn, error)
	origin func(ctx context.Context, conn net.Conn) labels.Labels
	about  func(ctx context.Context, origin labels.Labels, request string) func() Subject

	newest  atomic.Pointer[peer] // of the target's connections
	asked   atomic.Pointer[asked]
	subject Subject // of the last answer
}

// peer is the other end of a connection.
type peer struct {
	conn   net.Conn
	labels labels.Labels // of its process; empty as long as that is not known; never changed
	pause  int           // scrapes from one question for it to the next
	left   int           // scrapes of the pause that are to come
}

// maxOriginPause is the longest pause between two questions for a process that is not
// known.
const maxOriginPause = time.Minute

func newClient(t *job.Target, opts Options) (*client, error) {
	c := &client{target: t, dial: opts.Dial, origin: opts.Origin, about: opts.Subject}
	if c.dial == nil {
		var d net.Dialer
		c.dial = func(ctx context.Context, _ labels.Labels, network, address string) (net.Conn, error) {
			return d.DialContext(ctx, network, address)
		}
	}
	var err error
	if c.asks, err = request.New(t, request.Options{Dial: c.connect, UserAgent: UserAgent()}); err != nil {
		return nil, err
	}
	return c, nil
}

// UserAgent is how promscope introduces itself to exporters.
func UserAgent() string {
	if version.Version == "" {
		return "promscope"
	}
	return "promscope/" + version.Version
}

// connect dials, and asks whose the other end of a target's own connection is.
func (c *client) connect(ctx context.Context, network, address string, own bool) (net.Conn, error) {
	conn, err := c.dial(ctx, c.target.All, network, address)
	if err != nil || !own || c.origin == nil {
		return conn, err
	}
	c.newest.Store(&peer{conn: conn, labels: c.origin(ctx, conn), pause: 1})
	return conn, nil
}

// originLabels are the labels of the process that owns the other end of the
// newest connection, and of the process that it speaks of.
func (c *client) originLabels(ctx context.Context) labels.Labels {
	p := c.newest.Load()
	if p == nil {
		return labels.EmptyLabels()
	}
	if p.labels.IsEmpty() {
		p = c.ask(ctx, p)
	}
	c.subject = c.subjectOf(ctx, p.labels)
	return c.subject.Labels
}

// ask asks again for a process that was not known, when the answer has begun. Some are
// there only then: the service that a service manager starts for a connection, or who is
// behind a forwarder. One that has just started is not found at once, and its connection
// may last for days. One of another machine is never found, so the pauses become longer.
func (c *client) ask(ctx context.Context, p *peer) *peer {
	if p.left > 0 {
		p.left--
		return p
	}
	again := &peer{conn: p.conn, labels: c.origin(ctx, p.conn)}
	again.pause = max(1, min(2*p.pause, int(maxOriginPause/c.target.Interval)))
	again.left = again.pause - 1
	c.newest.CompareAndSwap(p, again)
	return again
}

func (c *client) close() { c.asks.Close() }
