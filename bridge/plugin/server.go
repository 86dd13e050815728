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

	// drainTimeout is what polls under way have left when the server ends. An
	// answer takes a millisecond or two.
	drainTimeout = 50 * time.Millisecond
)

// ServerOptions are what a Server takes besides its report.
type ServerOptions struct {
	// OnProbe is told the pid of the probe when it polls for the first time, where
	// the kernel lets it be known; a client that gives no probe_id is none, and nor
	// is a second one while the first goes on polling. The probe's poll waits for it
	// for up to 150 ms, other polls do not.
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
	probes  chan meeting
}

// NewServer returns a server of the report.
func NewServer(report *Report, opts ServerOptions, logger *slog.Logger, reg prometheus.Registerer) *Server {
	return &Server{
		report:  report,
		logger:  logger,
		metrics: newServerMetrics(reg),
		onProbe: opts.OnProbe,
		probes:  make(chan meeting, 1),
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
		case m := <-s.probes:
			s.onProbe(m.pid)
			close(m.done)
		}
	}
}

// meet has a new probe announced before it is answered, so that already its first
// report is what it makes of it; unless that takes too long.
func (s *Server) meet(ctx context.Context, pid int) {
	m := meeting{pid: pid, done: make(chan struct{})}
	select {
	case s.probes <- m:
	default: // one hangs, and another waits already
		s.probe.forget(pid)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, meetTimeout)
	defer cancel()
	select {
	case <-m.done:
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
	peer := peerFrom(r.Context())
	probeID := queryValue(r.URL.RawQuery, "probe_id")
	if s.onProbe != nil && probeID != "" && peer.PID > 0 && s.probe.polled(peer.PID, time.Now()) {
		s.meet(r.Context(), peer.PID)
	}

	start := time.Now()
	written, err := s.report.serve(w, r)
	duration := time.Since(start)

	s.metrics.duration.Observe(duration.Seconds())
	if err != nil {
		// Probes reset connections in the normal course of things. A counter
		// tells of it, not the log.
		s.metrics.aborted.Inc()
	}
	s.pollers.record(Poller{
		ProbeID:      probeID,
		UserAgent:    r.UserAgent(),
		Peer:         peer,
		Last:         start,
		LastDuration: duration,
		LastBytes:    written,
	})
}

// Pollers returns who has polled, in the order in which they came.
func (s *Server) Pollers() []Poller { return s.pollers.snapshot() }
