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
	about  func(ctx context.Context, origin labels.Labels) labels.Labels

	newest atomic.Pointer[peer] // of the target's connections
}

// peer is the other end of a connection.
type peer struct {
	conn   net.Conn
	labels labels.Labels // of its process; empty as long as that is not known
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
	c.asks, err = request.New(t, request.Options{Dial: c.connect, UserAgent: UserAgent()})
	return c, err
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
	c.newest.Store(&peer{conn: conn, labels: c.origin(ctx, conn), pause: 1, left: 1})
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
		c.ask(ctx, p)
	}
	if c.about == nil || p.labels.IsEmpty() {
		return p.labels
	}
	return c.about(ctx, p.labels)
}

// ask asks again for a process that was not known: one that has just started is
// not found at once, and its connection may last for days. One of another machine is
// never found, so the pauses become longer.
func (c *client) ask(ctx context.Context, p *peer) {
	if p.left > 0 {
		p.left--
		return
	}
	p.labels = c.origin(ctx, p.conn)
	p.pause = max(1, min(2*p.pause, int(maxOriginPause/c.target.Interval)))
	p.left = p.pause - 1
}

func (c *client) close() { c.asks.Close() }
