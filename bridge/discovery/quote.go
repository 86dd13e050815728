package discovery

import (
	"context"
	"errors"
	"log/slog"
	"net/url"

	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/http"

	"github.com/promscope/promscope/bridge/scrape/job"
	"github.com/promscope/promscope/bridge/scrape/request"
)

// loggerOf returns the logger of an entry's discoverer.
func loggerOf(logger *slog.Logger, jobName string, c discovery.Config) *slog.Logger {
	logger = logger.With("discovery", c.Name(), "job", jobName)
	var j job.Config
	sd, asks := c.(*http.SDConfig)
	if asks {
		j.HTTPClientConfig = sd.HTTPClientConfig
	}
	quoter := request.NewQuoter(&j)
	if asks {
		u, _ := url.Parse(sd.URL) // it was checked
		logger = logger.With("url", quoter.Secrets().URL(u))
	}
	return slog.New(quotingHandler{logger.Handler(), quoter})
}

// quotingHandler puts the errors that a discoverer logs into words that people may read. They
// quote what a server sent.
type quotingHandler struct {
	slog.Handler
	quoter *request.Quoter
}

// Handle implements slog.Handler.
func (h quotingHandler) Handle(ctx context.Context, r slog.Record) error {
	quoted := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "err" {
			err, ok := a.Value.Any().(error)
			if !ok { // Prometheus logs some as text
				err = errors.New(a.Value.String())
			}
			a = slog.String(a.Key, h.quoter.Error(err))
		}
		quoted.AddAttrs(a)
		return true
	})
	return h.Handler.Handle(ctx, quoted)
}

// WithAttrs implements slog.Handler.
func (h quotingHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quotingHandler{h.Handler.WithAttrs(attrs), h.quoter}
}

// WithGroup implements slog.Handler.
func (h quotingHandler) WithGroup(name string) slog.Handler {
	return quotingHandler{h.Handler.WithGroup(name), h.quoter}
}
