package pipeline

import (
	"log/slog"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/promscope/promscope/bridge/host"
)

// HostName is what this host is called in Scope. The right name is the one that
// the probe uses; under any other, the metrics would be a second host's. Until a
// probe polls it is the best guess.
type HostName struct {
	machine *host.Machine
	logger  *slog.Logger
	info    *prometheus.GaugeVec

	mu         sync.Mutex
	configured string
	probePID   int
	candidates []host.NameCandidate
	warned     []host.NameCandidate // those that differ, as last logged
}

func newHostName(m *host.Machine, configured string, logger *slog.Logger, reg prometheus.Registerer) *HostName {
	h := &HostName{
		machine:    m,
		logger:     logger,
		configured: configured,
		info: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "promscope_host_info",
			Help: "The host name that reports use, and where it comes from. Always 1.",
		}, []string{"host", "source"}),
	}
	reg.MustRegister(h.info)
	h.resolve()
	return h
}

// configure takes over the name of a new configuration.
func (h *HostName) configure(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.configured = name
	h.resolve()
}

// askProbe asks a probe's process for the name that it uses.
func (h *HostName) askProbe(pid int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.probePID = pid
	h.resolve()
}

// resolve asks all sources and says it when the answer changes.
func (h *HostName) resolve() {
	before := h.candidates
	h.candidates = h.machine.Names(host.NameInputs{Configured: h.configured, ProbePID: h.probePID})
	winner := h.candidates[0]
	h.info.Reset()
	h.info.WithLabelValues(winner.Name, string(winner.Source)).Set(1)
	if len(before) > 0 && before[0].Name != winner.Name {
		h.logger.Info("The host has another name in Scope than was thought",
			"host", winner.Name, "host_source", string(winner.Source), "before", before[0].Name)
	}
	// A probe may contradict a name that stays the winner.
	differing := host.Disagreeing(h.candidates)
	if len(before) > 0 && before[0] == winner && slices.Equal(differing, h.warned) {
		return
	}
	h.warned = differing
	for _, other := range differing {
		h.logger.Warn("Host names differ; if Scope shows this host twice, set --scope.host",
			"host", winner.Name, "host_source", string(winner.Source), "other", other.Name, "other_source", string(other.Source))
	}
}

// Name is the winner.
func (h *HostName) Name() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.candidates[0].Name
}

// Source is where the winner comes from.
func (h *HostName) Source() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return string(h.candidates[0].Source)
}

// Candidates are the names from all sources that give one, the winner first.
func (h *HostName) Candidates() []host.NameCandidate {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.candidates)
}
