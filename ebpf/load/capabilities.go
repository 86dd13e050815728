package load

import (
	"fmt"
	"strings"

	libcap "kernel.org/pub/linux/libs/security/libcap/cap"
)

// needed are the capabilities that BPF programs need: to load them and their maps, and to
// trace with them.
func needed() []libcap.Value { return []libcap.Value{libcap.BPF, libcap.PERFMON} }

// Capabilities returns the names of the capabilities that BPF programs need: CAP_BPF and so
// on.
func Capabilities() (names []string) {
	for _, value := range needed() {
		names = append(names, strings.ToUpper(value.String()))
	}
	return names
}

// MissingCapabilities returns which of Capabilities this thread may not use now.
// CAP_SYS_ADMIN stands for all of them: bpf_capable and perfmon_capable of
// include/linux/capability.h.
func MissingCapabilities() ([]string, error) {
	missing, err := missingFrom(libcap.GetProc())
	if err != nil {
		return nil, fmt.Errorf("reading capabilities: %w", err)
	}
	return missing, nil
}

func missingFrom(have *libcap.Set) (missing []string, err error) {
	if admin, err := have.GetFlag(libcap.Effective, libcap.SYS_ADMIN); err != nil || admin {
		return nil, err
	}
	for i, value := range needed() {
		switch effective, err := have.GetFlag(libcap.Effective, value); {
		case err != nil:
			return nil, err
		case !effective:
			missing = append(missing, Capabilities()[i])
		}
	}
	return missing, nil
}
