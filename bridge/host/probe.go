package host

import (
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
	var on, role bool
	for _, arg := range args {
		name, value, given := strings.Cut(arg, "=")
		if !strings.HasPrefix(name, "-") {
			continue
		}
		switch strings.TrimLeft(name, "-") { // of a flag that is given twice, the last counts
		case "probe.kubernetes":
			parsed, err := strconv.ParseBool(value)
			on = !given || err == nil && parsed
		case "probe.kubernetes.role":
			role = !given || value != ""
		}
	}
	return on || role
}
