package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/promscope/promscope/bridge/connlimit"
)

const (
	// The probe allows 500 ms for everything. These are for clients that are no
	// probe, and for probes that were stopped in the middle of a poll.
	readTimeout  = 2 * time.Second
	writeTimeout = 5 * time.Second

	// idleTimeout outlasts the second between two polls.
	idleTimeout = time.Minute

	// maxHeaderBytes is enough for the probe's four lines.
	maxHeaderBytes = 8 << 10

	// maxConnections leaves room for some probes. A crowd's polls take turns with the
	// probe's: behind 1,000 of them it waited for 70 ms.
	maxConnections = 32

	// drainTimeout is how long the server waits for polls under way when it ends. An
	// answer takes a few milliseconds.
	drainTimeout = 50 * time.Millisecond
)

// ServerOptions are what a Server takes besides its report.
type ServerOptions struct {
	// OnProbe gets the pid of the probe when it polls for the first time, where the
	// kernel tells it. A client that gives no probe_id is none, nor is a second one
	// while the first goes on polling. The probe's first poll waits for the hook for
	// up to 150 ms, other polls do not.
	OnProbe func(pid int)
}

// Server answers the probe's polls.
type Server struct {
	report  *Report
	logger  *slog.Logger
	metrics *serverMetrics
	pollers pollers
	probe   probe
	onProbe func(pid int)
	probes  chan newProbe
}

// NewServer returns a server of the report.
func NewServer(report *Report, opts ServerOptions, logger *slog.Logger, reg prometheus.Registerer) *Server {
	return &Server{
		report:  report,
		logger:  logger,
		metrics: newServerMetrics(reg),
		onProbe: opts.OnProbe,
		probes:  make(chan newProbe, 1),
	}
}

// Run serves on the listener until ctx is done, and closes it. Polls under way are
// given a moment to end.
func (s *Server) Run(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler:           s.Handler(),
		ConnContext:       connContext,
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ConnState:         (&connlimit.Limit{Max: maxConnections}).ConnState,
		ErrorLog:          slog.NewLogLogger(s.logger.Handler(), slog.LevelWarn),
	}
	ctx, cancel := context.WithCancel(ctx)
	var hooks sync.WaitGroup
	hooks.Go(func() { s.announceProbes(ctx) })
	defer hooks.Wait()
	defer cancel()

	var failure error
	served := make(chan struct{})
	go func() {
		defer close(served)
		failure = server.Serve(listener)
	}()
	select {
	case <-served:
		return fmt.Errorf("serving reports: %w", errors.Join(failure, server.Close()))
	case <-ctx.Done():
	}

	draining, stop := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer stop()
	if err := server.Shutdown(draining); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		s.logger.Warn("Closing the plugin socket failed", "err", err)
	}
	_ = server.Close() // cuts off what has not ended by now
	<-served
	return nil
}

// announceProbes calls the hook for new probes until ctx is done: for one after
// another, and however long it takes.
func (s *Server) announceProbes(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-s.probes:
			s.onProbe(p.pid)
			close(p.done)
		}
	}
}

// announce has the hook called for a new probe, so that already its first answer has
// what the hook changes. It does not wait for longer than announceTimeout.
func (s *Server) announce(ctx context.Context, pid int) {
	p := newProbe{pid: pid, done: make(chan struct{})}
	select {
	case s.probes <- p:
	default: // one hangs, and another waits already
		s.probe.forget(pid)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, announceTimeout)
	defer cancel()
	select {
	case <-p.done:
	case <-ctx.Done():
	}
}

// Handler answers GET and HEAD of /report, and nothing else.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /report", s.serveReport)
	return mux
}

func (s *Server) serveReport(w http.ResponseWriter, r *http.Request) {
	poll := Poller{
		ProbeID:   r.URL.Query().Get("probe_id"),
		UserAgent: r.UserAgent(),
		Peer:      peerFrom(r.Context()),
	}
	if s.onProbe != nil && poll.ProbeID != "" && poll.Peer.PID > 0 && s.probe.polled(poll.Peer.PID, time.Now()) {
		s.announce(r.Context(), poll.Peer.PID)
	}

	poll.Last = time.Now()
	turn := s.pollers.turn(poll, poll.Last)
	written, err := s.report.published.Load().answer(w, r, turn)
	poll.LastDuration, poll.LastBytes = time.Since(poll.Last), written

	s.metrics.duration.Observe(poll.LastDuration.Seconds())
	if err != nil {
		// Probes reset connections in the normal course of things. A counter
		// tells of it, not the log.
		s.metrics.aborted.Inc()
	}
	s.pollers.record(poll)
}

// Pollers returns the pollers in order of their first poll.
func (s *Server) Pollers() []Poller { return s.pollers.snapshot() }
