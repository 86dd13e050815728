package bridge

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/promscope/promscope/mapping/document"
)

// reloads remembers what became of loading the configuration: for the pages, and
// as metrics that are named as Prometheus names its own.
type reloads struct {
	successful prometheus.Gauge
	last       prometheus.Gauge

	mu   sync.Mutex
	kept reloadState
}

// reloadState is what the last attempts to load the configuration came to.
type reloadState struct {
	loaded   time.Time     // when the configuration in force was loaded
	warnings document.List // about it
	tried    time.Time     // when a reload was last tried; zero if never
	err      error         // why that one was refused; nil if it was not
}

// newReloads begins with the configuration that was loaded at the start.
func newReloads(warnings document.List, reg prometheus.Registerer) *reloads {
	r := &reloads{
		successful: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "promscope_config_last_reload_successful",
			Help: "Whether the last attempt to load the configuration succeeded.",
		}),
		last: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "promscope_config_last_reload_success_timestamp_seconds",
			Help: "When the configuration in force was loaded.",
		}),
	}
	reg.MustRegister(r.successful, r.last)
	r.successful.Set(1)
	r.last.SetToCurrentTime()
	r.kept = reloadState{loaded: time.Now(), warnings: warnings}
	return r
}

// done takes note of a reload. The warnings are those about the new configuration.
func (r *reloads) done(warnings document.List, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept.tried, r.kept.err = time.Now(), err
	if err != nil {
		r.successful.Set(0)
		return
	}
	r.successful.Set(1)
	r.last.SetToCurrentTime()
	r.kept.loaded, r.kept.warnings = r.kept.tried, warnings
}

func (r *reloads) state() reloadState {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.kept
}
