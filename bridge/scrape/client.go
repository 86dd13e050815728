package scrape

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/common/version"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/promscope/promscope/bridge/exposition"
	"github.com/promscope/promscope/bridge/scrape/job"
)

// client fetches one target. Each target has its own: a pool of connections
// that is shared knows hosts and ports only, and would mix up unix sockets,
// and the loopbacks of different network namespaces.
type client struct {
	http    *http.Client
	target  *job.Target
	request *http.Request

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
	c.http, err = config.NewClientFromConfig(t.Job.HTTPClientConfig, t.Job.JobName, config.WithDialContextFunc(c.connect))
	if err != nil {
		return nil, fmt.Errorf("creating the HTTP client: %w", err)
	}
	c.request, err = http.NewRequestWithContext(context.Background(), http.MethodGet, t.URL.String(), http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("creating the request: %w", err)
	}
	scheme, err := model.ToEscapingScheme(t.Job.MetricNameEscapingScheme)
	if err != nil {
		return nil, fmt.Errorf("creating the request: %w", err)
	}
	c.request.Header.Set("Accept", exposition.AcceptHeader(t.Job.ScrapeProtocols, scheme))
	c.request.Header.Set("Accept-Encoding", acceptEncoding(t))
	c.request.Header.Set("User-Agent", UserAgent())
	c.request.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", strconv.FormatFloat(t.Timeout.Seconds(), 'f', -1, 64))
	return c, nil
}

// UserAgent is how promscope introduces itself to exporters.
func UserAgent() string {
	if version.Version == "" {
		return "promscope"
	}
	return "promscope/" + version.Version
}

// acceptEncoding asks for gzip where bytes are dear. Bytes that stay on this machine
// cost less than packing and unpacking them.
func acceptEncoding(t *job.Target) string {
	if !t.Job.EnableCompression || t.UnixSocket() != "" || isLoopback(t.URL.Hostname()) {
		return "identity"
	}
	return "gzip"
}

func isLoopback(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().IsLoopback()
	}
	return host == "localhost"
}

// do begins a scrape, with a query added to the target's own.
func (c *client) do(ctx context.Context, query url.Values) (*http.Response, error) {
	req := c.request.WithContext(ctx)
	if len(query) > 0 {
		u := *c.request.URL
		if u.RawQuery != "" {
			u.RawQuery += "&"
		}
		u.RawQuery += query.Encode()
		req.URL = &u
	}
	return c.http.Do(req)
}

// connect dials for the transport. The transport also dials proxies and token endpoints
// that the job's HTTP settings name.
func (c *client) connect(ctx context.Context, network, address string) (net.Conn, error) {
	own := address == c.address()
	if path := c.target.UnixSocket(); path != "" && own {
		network, address = "unix", path
	}
	conn, err := c.dial(ctx, c.target.All, network, address)
	if err != nil || !own || c.origin == nil {
		return conn, err
	}
	c.newest.Store(&peer{conn: conn, labels: c.origin(ctx, conn), pause: 1})
	return conn, nil
}

// address is what the transport dials for the target itself.
func (c *client) address() string {
	port := c.target.URL.Port()
	if port == "" {
		port = "80"
		if c.target.URL.Scheme == "https" {
			port = "443"
		}
	}
	return net.JoinHostPort(c.target.URL.Hostname(), port)
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

func (c *client) close() { c.http.CloseIdleConnections() }
