package bridge

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/promscope/promscope/bridge/status"
	"github.com/promscope/promscope/mapping/document"
)

// loads remembers what became of loading the configuration, for the pages and as
// metrics. The metrics have the names of Prometheus's own.
type loads struct {
	successful prometheus.Gauge
	last       prometheus.Gauge

	mu   sync.Mutex
	kept status.Loaded
}

// newLoads begins with the configuration that was loaded at the start.
func newLoads(warnings document.List, reg prometheus.Registerer) *loads {
	l := &loads{
		successful: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "promscope_config_last_reload_successful",
			Help: "Whether the last attempt to load the configuration succeeded.",
		}),
		last: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "promscope_config_last_reload_success_timestamp_seconds",
			Help: "When the configuration in force was loaded.",
		}),
	}
	reg.MustRegister(l.successful, l.last)
	l.successful.Set(1)
	l.last.SetToCurrentTime()
	l.kept = status.Loaded{At: time.Now(), Warnings: warnings}
	return l
}

// done takes note of a reload. The warnings are those about the new configuration.
func (l *loads) done(warnings document.List, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept.Tried, l.kept.Err = time.Now(), err
	if err != nil {
		l.successful.Set(0)
		return
	}
	l.successful.Set(1)
	l.last.SetToCurrentTime()
	l.kept.At, l.kept.Warnings = l.kept.Tried, warnings
}

func (l *loads) state() status.Loaded {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.kept
}

// watchFiles loads the configuration anew when its files have changed, once for each
// change.
func (b *Bridge) watchFiles(ctx context.Context) error {
	ticker := time.NewTicker(b.opts.AutoReload)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			b.reloadChanged()
		}
	}
}

// reloadChanged loads the configuration anew if its files are not as they were when they
// were read for the last time.
func (b *Bridge) reloadChanged() {
	b.reload.Lock()
	defer b.reload.Unlock()
	if b.runtime.Pipeline().Config.Checksum() == b.loaded {
		return
	}
	b.logger.Info("The configuration's files have changed")
	_ = b.loadAnew() // it is logged
}
