package discovery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/common/version"

	"github.com/promscope/promscope/bridge/host"
	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/bridge/scrape/request"
)

// Bounds of the one request.
const (
	probeTimeout = 3 * time.Second // for all of it, or the job's scrape timeout if that is longer
	probeHeader  = 64 << 10        // bytes of the answer's header, at most
	probeBytes   = 64 << 20        // bytes of its body, at most
)

// errNoExposition is wrapped by the errors of answers that tell what a listener is.
var errNoExposition = errors.New("no exposition")

// get sends the one request. The error says why the answer is no exposition.
func (p *Prober) get(e endpoint) (endpoint, probeResult, error) {
	ctx, cancel := context.WithTimeout(p.ctx, e.timeout)
	defer cancel()
	result, err := p.exchange(ctx, &e)
	switch {
	case errors.Is(err, host.ErrNotPermitted), errors.Is(err, fs.ErrPermission):
		result = probeForbidden
	case err != nil && ctx.Err() != nil:
		result, err = probeTimedOut, fmt.Errorf("no complete answer within %s", e.timeout)
	}
	if err != nil {
		err = told{err, request.NewQuoter(&e.asker.job).Error(err)}
	}
	return e, result, err
}

// told is an error in words that people may read.
type told struct {
	error
	text string
}

func (t told) Error() string { return t.text }
func (t told) Unwrap() error { return t.error }

func userAgent() string {
	return strings.TrimSuffix("promscope/"+version.Version, "/") + " (listener discovery)"
}

// exchange asks the endpoint and notes by which address it answered.
func (p *Prober) exchange(ctx context.Context, e *endpoint) (probeResult, error) {
	target, err := e.asker.target(e.labels(p.machine))
	if err != nil {
		return probeOther, err
	}
	target.Timeout = e.timeout
	x := &exchange{prober: p, endpoint: *e, target: target}
	x.budget.left.Store(probeHeader)
	x.only6.Store(e.only6)
	client, err := request.New(target, request.Options{Dial: x.dial, UserAgent: userAgent(), Once: true})
	if err != nil {
		return probeFailed, err
	}
	defer client.Close()
	defer func() { e.only6 = x.only6.Load() }()
	response, err := client.Do(ctx, nil)
	switch {
	case err == nil:
	case x.foreign.Load():
		return probeFailed, fmt.Errorf("%w: not even HTTP", errNoExposition)
	case request.Reason(err) != "":
		return probeOther, err
	default:
		return probeFailed, err
	}
	defer response.Body.Close()
	x.budget.left.Store(probeBytes)
	answer, err := client.Read(response)
	switch reason := request.Reason(err); {
	case err == nil:
	case reason == "":
		return probeFailed, err
	case reason == "content_type":
		return probeOther, fmt.Errorf("%w: %w", errNoExposition, err)
	default:
		return probeOther, err
	}
	switch err := answer.Judge(); {
	case request.Reason(err) != "", errors.Is(err, errTooMuch):
		return probeOther, fmt.Errorf("%w: %w", errNoExposition, err)
	case err != nil:
		return probeFailed, err
	}
	// The answer has to end, or each scrape would be a timeout.
	if _, err := io.Copy(io.Discard, answer.Body); errors.Is(err, errTooMuch) {
		return probeOther, fmt.Errorf("%w: %w", errNoExposition, err)
	} else if err != nil {
		return probeFailed, err
	}
	return probeExposition, nil
}

// exchange is one request to an endpoint, and what connecting to it shows.
type exchange struct {
	prober   *Prober
	endpoint endpoint
	target   *job.Target
	budget   probeBudget
	only6    atomic.Bool // as the endpoint's
	foreign  atomic.Bool // it answers by something else than HTTP
}

// dial connects for the request: to the endpoint as it listens, and to what else
// relabelling, a redirect or the job's HTTP settings may name as a scrape would.
func (x *exchange) dial(ctx context.Context, network, address string, own bool) (conn net.Conn, err error) {
	p, e := x.prober, x.endpoint
	place := e.address()
	if e.Path != "" {
		place = e.socketPath(p.machine)
	}
	switch {
	case own && address == place:
		conn, err = p.contacted(ctx, &e)
		x.only6.Store(e.only6)
	case network == "unix": // the path leads to the socket, whatever its namespace
		conn, err = p.sockets.DialContext(ctx, 0, network, address)
	default:
		conn, err = p.sockets.DialContext(ctx, netnsOf(x.target), network, address)
	}
	if err != nil {
		return nil, err
	}
	begin := func([]byte) {}
	if own && x.target.URL.Scheme == "http" {
		begin = func(b []byte) {
			const start = "HTTP/"
			n := min(len(b), len(start))
			x.foreign.Store(string(b[:n]) != start[:n])
		}
	}
	return newProbeConn(conn, &x.budget, begin), nil
}

// connect connects to an endpoint. Only one on all IPv6 addresses is tried twice.
func (p *Prober) connect(ctx context.Context, e *endpoint) (net.Conn, error) {
	if e.Path != "" {
		return p.sockets.DialContext(ctx, 0, "unix", e.socketPath(p.machine))
	}
	conn, err := p.sockets.DialContext(ctx, e.NetNS, "tcp", e.address())
	if errors.Is(err, syscall.ECONNREFUSED) && e.Addr.Addr() == netip.IPv6Unspecified() {
		e.only6 = true
		return p.sockets.DialContext(ctx, e.NetNS, "tcp", e.address())
	}
	return conn, err
}
