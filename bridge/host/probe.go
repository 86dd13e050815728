package host

import (
	"slices"
	"strconv"
	"strings"
)

// KubernetesProbe reports whether the process is a Scope probe that reports on
// Kubernetes: whether its command line has --probe.kubernetes=true, or a
// --probe.kubernetes.role (prog/main.go of Scope 1.13.2, package flag).
func (m *Machine) KubernetesProbe(pid int) (bool, error) {
	args, err := m.CmdLine(pid)
	if err != nil {
		return false, err
	}
	return kubernetesFlags(args), nil
}

func kubernetesFlags(args []string) bool {
	return slices.ContainsFunc(args, func(arg string) bool {
		name, value, given := strings.Cut(arg, "=")
		if !strings.HasPrefix(name, "-") {
			return false
		}
		switch strings.TrimLeft(name, "-") {
		case "probe.kubernetes":
			on, err := strconv.ParseBool(value)
			return !given || err == nil && on
		case "probe.kubernetes.role":
			return !given || value != ""
		}
		return false
	})
}
