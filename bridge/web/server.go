package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	toolkit "github.com/prometheus/exporter-toolkit/web"

	"github.com/promscope/promscope/bridge/connlimit"
)

// Options is what the debug server serves and where.
type Options struct {
	// ListenAddress is a TCP address, host:port.
	ListenAddress string
	// AllowedHosts are names of this server besides those of the loopback.
	AllowedHosts []string
	// ConfigFile is exporter-toolkit's web configuration file; empty for plain HTTP.
	ConfigFile string
	// Gatherer collects what /metrics shows.
	Gatherer prometheus.Gatherer
	// Healthy tells whether promscope does its job, or why not. What watches over it
	// restarts it then.
	Healthy func() error
	// Ready tells whether each target was tried too: nil, or the reason why not yet.
	Ready func() error
	// Reload loads the configuration anew. POST /-/reload calls it; nil
	// forbids that.
	Reload func() error
	// Pages serves everything that is none of the endpoints above; nil for
	// none.
	Pages http.Handler
}

// Server is the debug server. It listens from New on, so that a taken port is
// an error at start rather than a log line later.
type Server struct {
	listener net.Listener
	server   *http.Server
	config   string
	logger   *slog.Logger
}

// New checks the web configuration file and listens.
func New(opts Options, logger *slog.Logger) (*Server, error) {
	if err := toolkit.Validate(opts.ConfigFile); err != nil {
		return nil, fmt.Errorf("web configuration file %s: %w", opts.ConfigFile, err)
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", opts.ListenAddress)
	if err != nil {
		return nil, fmt.Errorf(`debug address: %w (choose another with --web.listen-address, or "" for none)`, err)
	}
	warnOpen(listener.Addr(), opts.ConfigFile, logger)
	names := newHosts(listener.Addr(), opts.ListenAddress, opts.AllowedHosts)
	return &Server{
		listener: listener,
		config:   opts.ConfigFile,
		logger:   logger,
		server: &http.Server{
			Handler:           names.check(handler(opts)),
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       10 * time.Second,
			WriteTimeout:      time.Minute,
			IdleTimeout:       2 * time.Minute,
			MaxHeaderBytes:    64 << 10,
			ConnState:         (&connlimit.Limit{Max: maxConnections}).ConnState,
			ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		},
	}, nil
}

// Address is where the server listens; the port is the real one where the
// option said 0.
func (s *Server) Address() string { return s.listener.Addr().String() }

// String names the server among promscope's tasks.
func (s *Server) String() string { return "debug server" }

// Run serves until ctx is done. Requests in flight are cut then: this is a
// page for looking, and nobody waits a minute for it at exit.
func (s *Server) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = s.server.Close() })
	defer stop()
	// The toolkit says where it listens at level info; promscope's own line
	// says that already.
	quiet := slog.New(atLeast{s.logger.Handler(), slog.LevelWarn})
	err := toolkit.Serve(s.listener, s.server, &toolkit.FlagConfig{WebConfigFile: &s.config}, quiet)
	if errors.Is(err, http.ErrServerClosed) || ctx.Err() != nil {
		return nil
	}
	return err
}

// Close ends the server where Run was never called.
func (s *Server) Close() error { return s.listener.Close() }

// atLeast drops records below a level.
type atLeast struct {
	slog.Handler
	level slog.Level
}

func (h atLeast) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= h.level && h.Handler.Enabled(ctx, level)
}

func handler(opts Options) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", limited(promhttp.HandlerFor(opts.Gatherer, promhttp.HandlerOpts{
		// One broken collector must not hide the metrics of the others.
		ErrorHandling:     promhttp.ContinueOnError,
		EnableOpenMetrics: true,
	})))
	mux.HandleFunc("GET /-/healthy", func(w http.ResponseWriter, _ *http.Request) {
		if err := opts.Healthy(); err != nil {
			http.Error(w, "promscope is not healthy: "+err.Error()+".", http.StatusServiceUnavailable)
			return
		}
		say(w, "promscope is healthy.")
	})
	mux.HandleFunc("GET /-/ready", func(w http.ResponseWriter, _ *http.Request) {
		if err := opts.Ready(); err != nil {
			http.Error(w, "promscope is not ready: "+err.Error()+".", http.StatusServiceUnavailable)
			return
		}
		say(w, "promscope is ready.")
	})
	mux.HandleFunc("POST /-/reload", func(w http.ResponseWriter, _ *http.Request) {
		if opts.Reload == nil {
			// As Prometheus says it, and with what its help would say.
			http.Error(w, "Lifecycle API is not enabled: start promscope with --web.enable-lifecycle.", http.StatusForbidden)
			return
		}
		if err := opts.Reload(); err != nil {
			http.Error(w, "reload: "+err.Error(), http.StatusInternalServerError)
			return
		}
		say(w, "reloaded.")
	})
	if opts.Pages != nil {
		mux.Handle("/", limited(opts.Pages))
		// An explanation waits for targets most of the time, and not one for another.
		explain := atMost(maxRequests, buffered(opts.Pages))
		mux.Handle("GET /explain", explain)
		mux.Handle("GET /api/v1/explain", explain)
	}
	// A page of another site that is open in the browser of somebody who
	// reaches this server must not make it load its configuration anew.
	return http.NewCrossOriginProtection().Handler(mux)
}

// say answers with a line of text.
func say(w http.ResponseWriter, line string) {
	_, _ = fmt.Fprintln(w, line) // a client that left is no error
}
