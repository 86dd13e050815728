package discovery

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// A listener that serves no exposition is asked again ever less often, and in the end
// never, as long as its owner is the same. If it answered something else, that is after
// refusedFor; if it gave no such answer, it may still be starting, and that is after
// retryFirst. Each further time is twice as long, up to retryLast. One that does not speak
// HTTP is asked maxForeign times.
const (
	retryFirst = 10 * time.Second
	refusedFor = time.Hour
	retryLast  = 12 * time.Hour
	maxForeign = 2
)

// history is what is known of a listener from asking it.
type history struct {
	owner   ownerID
	asked   int           // how often, of this owner
	spoke   bool          // HTTP, at least once
	wait    time.Duration // from the last answer to asking again
	settled bool          // it is not asked again
}

// answered notes an answer, and decides when to ask again.
func (h *history) answered(e endpoint, c *contact, err error) {
	h.asked++
	silent := c.wasSilent()
	h.spoke = h.spoke || c.spokeHTTP()
	first := retryFirst
	switch {
	case c.wasMade() && !h.spoke && !looksLikeExporter(e.Owner.Comm, e.Owner.Exe):
		// A printer has printed the request, a database has logged a warning.
		if h.asked >= maxForeign || silent && isPrintPort(e) {
			h.settled = true
			return
		}
		first = refusedFor
	case errors.Is(err, errNoExposition):
		first = refusedFor
	}
	h.wait = max(2*h.wait, first)
	h.settled = h.wait > retryLast
}

// contact is what is known of the connection over which a listener is asked.
type contact struct {
	mu    sync.Mutex
	made  bool
	start []byte // of the answer
}

// contactStart is how many bytes tell a protocol.
const contactStart = len("HTTP/")

// isTLS is the first byte of a server's answer to a TLS client: a handshake record.
const isTLS = 22

func (c *contact) wasMade() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.made
}

func (c *contact) wasSilent() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.made && len(c.start) == 0
}

// spokeHTTP reports whether the answer began as one of HTTP, or of TLS, in which it may be.
func (c *contact) spokeHTTP() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.start) == "HTTP/" || len(c.start) > 0 && c.start[0] == isTLS
}

// contacted connects to an endpoint and notes how its answer begins.
func (p *Prober) contacted(ctx context.Context, e *endpoint) (net.Conn, error) {
	conn, err := p.dial(ctx, e)
	if err != nil || e.contact == nil {
		return conn, err
	}
	e.contact.mu.Lock()
	defer e.contact.mu.Unlock()
	e.contact.made = true
	return contactConn{conn, e.contact}, nil
}

// contactConn notes how an answer begins.
type contactConn struct {
	net.Conn
	contact *contact
}

func (c contactConn) NetConn() net.Conn { return c.Conn }

func (c contactConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.contact.mu.Lock()
	defer c.contact.mu.Unlock()
	c.contact.start = append(c.contact.start, b[:min(n, contactStart-len(c.contact.start))]...)
	return n, err
}

// ownerID is the identity of the owner of a listener; zero if it is not known.
type ownerID struct {
	pid        int
	startTicks uint64
}

func ownerOf(e endpoint) ownerID { return ownerID{e.Owner.PID, e.Owner.StartTicks} }

// changed reports whether a listener has another owner now, and notes that. An owner that
// was not to be seen, or is not any more, is not another one.
func (h *history) changed(e endpoint) bool {
	now := ownerOf(e)
	if now.pid == 0 || now == h.owner {
		return false
	}
	before := h.owner
	h.owner = now
	return before.pid != 0
}

// Raw print servers (AppSocket, JetDirect) print whatever comes, and answer nothing. They
// listen on these ports, the registered ones of HP and those that p910nd and CUPS add.
const (
	firstPrintPort = 9100
	lastPrintPort  = 9107
)

func isPrintPort(e endpoint) bool {
	return e.Path == "" && e.Addr.Port() >= firstPrintPort && e.Addr.Port() <= lastPrintPort
}

// prints reports whether a request would end up on paper: the owner is known as a print
// server, or listens on one of their ports outside of containers and does not look like an
// exporter. An entry that names the port or its owners knows better.
func (p *Prober) prints(e endpoint, c *ListenerSDConfig) bool {
	if e.Owner.PID == 0 || looksLikeExporter(e.Owner.Comm, e.Owner.Exe) || c.names(e) {
		return false
	}
	if looksLikePrinter(e.Owner.Comm) {
		return true
	}
	if !isPrintPort(e) || e.Owner.Container != "" || e.Owner.Comm == "docker-proxy" {
		return false
	}
	args, _ := p.machine.CmdLine(e.Owner.PID) // of an interpreter, they name the program
	return !looksLikeExporter(args...)
}

// names reports whether an entry has been written for an endpoint: for its port alone, or
// for certain owners.
func (c *ListenerSDConfig) names(e endpoint) bool {
	if c.NamesOwners() {
		return true
	}
	if slices.Equal(c.Ports, defaultPorts()) {
		return false
	}
	for _, r := range c.Ports {
		if r.First == r.Last && r.First == e.Addr.Port() {
			return true
		}
	}
	return false
}

// looksLikeExporter goes by the words that programs which serve metrics have in their
// names.
func looksLikeExporter(names ...string) bool {
	for _, name := range names {
		name = strings.ToLower(name)
		for _, word := range []string{
			"export", "metric", "prom", "telegraf", "collectd", "statsd", "alloy", "agent", "otel", "monitor", "netdata",
			"cadvisor", "vector", "fluent", "grafana", "victoria", "thanos", "consul",
		} {
			if strings.Contains(name, word) {
				return true
			}
		}
	}
	return false
}

// looksLikePrinter goes by the names of raw print servers: p910nd, which calls itself
// p9100d and so on as well, and others that say what they are.
func looksLikePrinter(comm string) bool {
	if len(comm) == len("p910nd") && strings.HasPrefix(comm, "p910") && strings.HasSuffix(comm, "d") {
		return true
	}
	comm = strings.ToLower(comm)
	return strings.Contains(comm, "jetdirect") || strings.Contains(comm, "appsocket") || strings.Contains(comm, "print") ||
		comm == "lpd" || comm == "cups-lpd" || comm == "lprng"
}
