package discovery

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/common/version"

	"github.com/promscope/promscope/bridge/host"
)

// Bounds of the one request.
const (
	probeTimeout = 3 * time.Second // for all of it
	probeHeader  = 64 << 10        // bytes of the answer's header, at most
	probeBytes   = 64 << 20        // bytes of its body, at most
	probeHead    = 8 << 10         // bytes of the body that are looked at
)

// errNoExposition is wrapped by the errors of answers that tell what a listener is.
var errNoExposition = errors.New("no exposition")

// get sends the one request. The error says why the answer is no exposition.
func (p *Prober) get(e endpoint) (endpoint, probeResult, error) {
	ctx, cancel := context.WithTimeout(p.ctx, probeTimeout)
	defer cancel()
	result, err := p.exchange(ctx, &e)
	switch {
	case errors.Is(err, host.ErrNotPermitted):
		result = probeForbidden
	case err != nil && ctx.Err() != nil:
		result, err = probeTimedOut, fmt.Errorf("no complete answer within %s", probeTimeout)
	}
	return e, result, err
}

// exchange asks the endpoint and notes by which address it answered.
func (p *Prober) exchange(ctx context.Context, e *endpoint) (probeResult, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url(), nil)
	if err != nil {
		return probeFailed, err
	}
	request.Header.Set("User-Agent", strings.TrimSuffix("promscope/"+version.Version, "/")+" (listener discovery)")
	request.Header.Set("Accept", "text/plain;version=0.0.4;q=0.5,application/openmetrics-text;version=1.0.0;q=0.4,*/*;q=0.1")
	request.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", strconv.FormatFloat(probeTimeout.Seconds(), 'f', -1, 64))
	request.Close = true

	// An http.Client would follow redirects, and with that ask somebody else. Its
	// transport writes to the standard logger when a server speaks first.
	conn, err := p.contacted(ctx, e)
	if err != nil {
		return probeFailed, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := request.Write(conn); err != nil {
		return probeFailed, err
	}
	limited := &io.LimitedReader{R: conn, N: probeHeader}
	reader := bufio.NewReader(limited)
	if start, err := reader.Peek(len("HTTP/")); err == nil && string(start) != "HTTP/" {
		return probeFailed, fmt.Errorf("%w: not even HTTP", errNoExposition)
	}
	response, err := http.ReadResponse(reader, request)
	if err != nil {
		return probeFailed, err
	}
	defer response.Body.Close()
	limited.N = probeBytes
	if response.StatusCode != http.StatusOK {
		return probeOther, fmt.Errorf("HTTP status %d", response.StatusCode)
	}
	head, err := io.ReadAll(io.LimitReader(response.Body, probeHead))
	if err != nil {
		return probeFailed, err
	}
	contentType := response.Header.Get("Content-Type")
	if !isExposition(contentType, head, len(head) < probeHead) {
		return probeOther, fmt.Errorf("%w, content type %q", errNoExposition, contentType)
	}
	// The answer has to end, or each scrape would be a timeout.
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return probeFailed, err
	}
	if limited.N <= 0 {
		return probeOther, fmt.Errorf("%w: more than %d bytes", errNoExposition, probeBytes)
	}
	return probeExposition, nil
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
