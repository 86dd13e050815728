// Package request asks a target for an exposition over HTTP, in the way that its job
// says, and judges the answer: the scheme, TLS, credentials, headers, redirects,
// encoding and format are decided here and nowhere else. Discovery asks a listener by
// it as scraping does later, so that what the one finds the other can scrape.
package request

import (
	"bufio"
	"compress/gzip"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"sync/atomic"

	"github.com/prometheus/common/config"
	"github.com/prometheus/common/model"

	"github.com/promscope/promscope/bridge/exposition"
	"github.com/promscope/promscope/bridge/scrape/job"
)

// Options of a Client.
type Options struct {
	// Dial connects. The address is the target's own, or that of what the job's HTTP
	// settings name: a proxy, or the server of a token. The network of a unix socket is
	// "unix", and the address its path.
	Dial func(ctx context.Context, network, address string, own bool) (net.Conn, error)
	// UserAgent is the header of that name.
	UserAgent string
	// Once closes the connection after each request.
	Once bool
}

// Client asks one target. Each target has its own: a pool of connections
// that is shared knows hosts and ports only, and would mix up unix sockets,
// and the loopbacks of different network namespaces. It is for one request at a time.
type Client struct {
	target  *job.Target
	dial    func(ctx context.Context, network, address string, own bool) (net.Conn, error)
	http    *http.Client
	request *http.Request
	left    atomic.Int64 // bytes that may still come before the body

	// What unpacks, from one answer to the next.
	packed *bufio.Reader
	gzip   *gzip.Reader
}

// New returns a client of a target. The error is about the job's settings, mostly files
// that cannot be read.
func New(t *job.Target, opts Options) (*Client, error) {
	c := &Client{target: t, dial: opts.Dial}
	var err error
	c.http, err = config.NewClientFromConfig(t.Job.HTTPClientConfig, t.Job.JobName, config.WithDialContextFunc(c.connect))
	if err != nil {
		return nil, fmt.Errorf("creating the HTTP client: %w", err)
	}
	if t.Job.HTTPClientConfig.FollowRedirects {
		c.http.CheckRedirect = c.checkRedirect
	}
	c.request, err = http.NewRequestWithContext(context.Background(), http.MethodGet, t.URL.String(), http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("creating the request: %w", err)
	}
	scheme, err := model.ToEscapingScheme(t.Job.MetricNameEscapingScheme)
	if err != nil {
		return nil, fmt.Errorf("creating the request: %w", err)
	}
	c.request.Close = opts.Once
	c.request.Header.Set("Accept", exposition.AcceptHeader(t.Job.ScrapeProtocols, scheme))
	c.request.Header.Set("Accept-Encoding", acceptEncoding(t))
	c.request.Header.Set("User-Agent", opts.UserAgent)
	c.request.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", strconv.FormatFloat(t.Timeout.Seconds(), 'f', -1, 64))
	return c, nil
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

// Do asks, with a query added to the target's own. The caller closes the body.
func (c *Client) Do(ctx context.Context, query url.Values) (*http.Response, error) {
	req := c.request.WithContext(ctx)
	if len(query) > 0 {
		u := *c.request.URL
		if u.RawQuery != "" {
			u.RawQuery += "&"
		}
		u.RawQuery += query.Encode()
		req.URL = &u
	}
	c.left.Store(maxHeader)
	defer c.left.Store(unbounded)
	return c.http.Do(req)
}

// connect dials for the transport. The transport also dials proxies and token endpoints
// that the job's HTTP settings name, and where the job lets it, other hosts that the
// target redirects to.
func (c *Client) connect(ctx context.Context, network, address string) (net.Conn, error) {
	own := address == hostPort(c.target.URL)
	if path := c.target.UnixSocket(); path != "" && own {
		network, address = "unix", path
	}
	conn, err := c.dial(ctx, network, address, own)
	if err != nil {
		return nil, err
	}
	if !own && c.target.Job.FollowRedirectsElsewhere {
		if err := c.checkPeer(conn); err != nil {
			_ = conn.Close()
			return nil, err
		}
	}
	return c.boundHeader(conn), nil
}

// hostPort is what the transport dials for a URL.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "80"
		if u.Scheme == "https" {
			port = "443"
		}
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// Close closes the connections that wait for the next request.
func (c *Client) Close() { c.http.CloseIdleConnections() }
