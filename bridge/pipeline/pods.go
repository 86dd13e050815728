package pipeline

import (
	"fmt"
	"log/slog"
	"sync"

	"github.com/promscope/promscope/bridge/config"
	"github.com/promscope/promscope/bridge/host"
)

// Pods decides whether presets put their metrics on pods too. Scope draws a pod that it
// does not know as a blank node, and it knows pods only from a Kubernetes probe.
type Pods struct {
	machine *host.Machine
	logger  *slog.Logger

	mu       sync.Mutex
	mode     config.PodMode
	probePID int
	on       bool
	why      string
}

func newPods(m *host.Machine, mode config.PodMode, logger *slog.Logger) *Pods {
	p := &Pods{machine: m, logger: logger, mode: mode}
	p.decide()
	return p
}

// configure takes over the mode of a new configuration.
func (p *Pods) configure(mode config.PodMode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = mode
	p.decide()
}

// AskProbe looks at the command line of a probe that polls.
func (p *Pods) AskProbe(pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.probePID = pid
	before := p.on
	p.decide()
	if p.on != before {
		p.logger.Info("What presets put on pods changes", "on", p.on, "why", p.why)
	}
}

func (p *Pods) decide() {
	switch {
	case p.mode != config.PodsAuto:
		p.on, p.why = p.mode == config.PodsOn, fmt.Sprintf("scope.pods is %s", p.mode)
	case p.probePID == 0:
		p.on, p.why = false, "no probe has polled yet"
	default:
		kubernetes, err := p.machine.KubernetesProbe(p.probePID)
		p.on = kubernetes
		switch {
		case err != nil:
			p.why = fmt.Sprintf("the command line of the probe (pid %d) cannot be read: %v", p.probePID, err)
		case kubernetes:
			p.why = fmt.Sprintf("the probe (pid %d) reports on Kubernetes", p.probePID)
		default:
			p.why = fmt.Sprintf("the probe (pid %d) has no --probe.kubernetes=true and no --probe.kubernetes.role", p.probePID)
		}
	}
}

// On tells whether presets put their metrics on pods, and why.
func (p *Pods) On() (on bool, why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.on, p.why
}
