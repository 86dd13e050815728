package discovery

import (
	"context"
	"errors"
	"net"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

// A listener that serves no exposition is asked again ever less often, and in the end
// never, as long as its owner is the same. If it answered something else, that is after
// refusedFor; if it gave no such answer, it may still be starting, and that is after
// retryFirst. Each further time is twice as long, up to retryLast. One that takes the
// connection and does not speak HTTP is asked maxForeign times. If it says nothing at all,
// and has the name of an exporter, that is maxSilent times, first after retrySilent.
const (
	retryFirst  = 10 * time.Second
	refusedFor  = time.Hour
	retryLast   = 12 * time.Hour
	maxForeign  = 2
	retrySilent = 30 * time.Second
	maxSilent   = 4
)

// history is what is known of a listener from asking it.
type history struct {
	owner   ownerID
	foreign int           // how often it took the connection and had not spoken HTTP yet
	spoke   bool          // HTTP, at least once
	wait    time.Duration // from the last answer to asking again
	settled bool          // it is not asked again
}

// answered notes an answer, and decides when to ask again.
func (h *history) answered(e endpoint, c *contact, err error) {
	h.spoke = h.spoke || c.spokeHTTP()
	first := retryFirst
	switch {
	case c.wasMade() && !h.spoke:
		// A printer has printed the request, a database has logged a warning.
		h.foreign++
		most := maxForeign
		first = refusedFor
		switch silent := c.wasSilent(); {
		case silent && looksLikeExporter(e.Owner.Comm, e.Owner.Exe): // it may still be starting
			most, first = maxSilent, retrySilent
		case silent && isPrintPort(e):
			most = 1
		}
		if h.foreign >= most {
			h.settled = true
			return
		}
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

// nodeExporterPort is a print port that is asked also where its owner cannot be seen.
// Otherwise promscope without rights would not find the exporter that most machines have.
const nodeExporterPort = 9100

func isPrintPort(e endpoint) bool {
	return e.Path == "" && e.Addr.Port() >= firstPrintPort && e.Addr.Port() <= lastPrintPort
}

// whySpared says why an entry does not ask an endpoint; it is empty if it does. A dormant
// one is spared, and one where a request would end up on paper: the owner is known as a
// print server, or listens on one of their ports outside of containers and does not look
// like an exporter. An entry that names the port or its owners knows better.
func (p *Prober) whySpared(e endpoint, c *ListenerSDConfig) string {
	if e.Dormant {
		return "a connection would start its service, which does not run; it is asked when the service runs"
	}
	if looksLikeExporter(e.Owner.Comm, e.Owner.Exe) || c.names(e) {
		return ""
	}
	const remedy = "; to have it asked, name its port by itself, or its owner, in listener_sd_configs"
	if looksLikePrinter(e.Owner.Comm) {
		return "its owner has the name of a raw print server, which would print the request" + remedy
	}
	if !isPrintPort(e) || e.Owner.Container != "" || e.Owner.Comm == "docker-proxy" {
		return ""
	}
	if e.Owner.PID == 0 {
		if e.Addr.Port() == nodeExporterPort {
			return ""
		}
		return "raw print servers listen on this port, and whose it is cannot be seen" + remedy
	}
	args, _ := p.machine.CmdLine(e.Owner.PID) // of an interpreter, they name the program
	if looksLikeExporter(args...) {
		return ""
	}
	return "raw print servers listen on this port, and its owner has not got the name of an exporter" + remedy
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
// names. Of a path the last element counts: a directory is not the program's. An argument
// may have several paths, as -javaagent:JAR=PORT:FILE does.
func looksLikeExporter(names ...string) bool {
	for _, name := range names {
		for part := range strings.FieldsFuncSeq(strings.ToLower(name), func(r rune) bool { return strings.ContainsRune("=:,", r) }) {
			part = path.Base(part)
			for _, word := range []string{
				"export", "metric", "prom", "telegraf", "collectd", "statsd", "alloy", "agent", "otel", "monitor", "netdata",
				"cadvisor", "vector", "fluent", "grafana", "victoria", "thanos", "consul",
			} {
				if strings.Contains(part, word) {
					return true
				}
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
