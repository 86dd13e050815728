package rights

import (
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	promdiscovery "github.com/prometheus/prometheus/discovery"
	libcap "kernel.org/pub/linux/libs/security/libcap/cap"

	"github.com/promscope/promscope/bridge/collectors"
	"github.com/promscope/promscope/bridge/config"
	"github.com/promscope/promscope/bridge/scrape/job"
)

// Useful returns the capabilities that a configuration has a use for; has tells those that
// promscope was granted. docs/rights.md says what each of them is for.
//
// CAP_SYS_RESOURCE is never among them: GiveUp has used it before.
func Useful(cfg *config.Config, has func(libcap.Value) bool) []libcap.Value {
	// These are for parts that are always on: the owners of sockets, and whose connection
	// one is in another network namespace; the host name that a probe has.
	useful := []libcap.Value{libcap.SYS_PTRACE, libcap.DAC_READ_SEARCH, libcap.SYS_ADMIN}
	// It contains CAP_DAC_READ_SEARCH.
	if !has(libcap.DAC_READ_SEARCH) || slices.ContainsFunc(cfg.Jobs, reachesUnixSockets) {
		useful = append(useful, libcap.DAC_OVERRIDE)
	}
	for _, value := range containedInAdmin() {
		if slices.ContainsFunc(cfg.Collectors, func(c collectors.Settings) bool {
			return c.Enabled && slices.Contains(c.Capabilities, Name(value))
		}) {
			useful = append(useful, value)
		}
	}
	return useful
}

// containedInAdmin are the capabilities of eBPF, which CAP_SYS_ADMIN contains: bpf_capable and
// perfmon_capable of include/linux/capability.h.
func containedInAdmin() []libcap.Value { return []libcap.Value{libcap.BPF, libcap.PERFMON} }

// optional are the capabilities that some configurations have a use for, and others not.
func optional() []libcap.Value { return append(containedInAdmin(), libcap.DAC_OVERRIDE) }

// reachesUnixSockets reports whether a target of the job can be on a unix socket. Of targets
// that come from files, over HTTP, or out of relabelling, nobody knows before.
func reachesUnixSockets(j config.Job) bool {
	if len(j.Scrape.RelabelConfigs) > 0 {
		return true
	}
	for _, l := range j.Discovery.Listeners {
		// Credentials go only to unix sockets whose owners the entry names.
		if l.NamesOwners() || j.Scrape.Credentials() == "" {
			return true
		}
	}
	return slices.ContainsFunc(j.Discovery.Configs, func(c promdiscovery.Config) bool {
		static, ok := c.(promdiscovery.StaticConfig)
		return !ok || namesUnixSocket(static)
	})
}

func namesUnixSocket(groups promdiscovery.StaticConfig) bool {
	for _, group := range groups {
		for _, labels := range append([]model.LabelSet{group.Labels}, group.Targets...) {
			if labels[job.LabelUnixSocket] != "" {
				return true
			}
		}
	}
	return false
}

// Name returns a capability's name as people and configurations write it: CAP_SYS_PTRACE.
func Name(value libcap.Value) string { return strings.ToUpper(value.String()) }
