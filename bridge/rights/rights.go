// Package rights knows which capabilities promscope has a use for, and gives up all others.
package rights

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
	libcap "kernel.org/pub/linux/libs/security/libcap/cap"
)

// useful are the capabilities that some feature of promscope needs. docs/rights.md says
// which feature needs which.
func useful() []libcap.Value {
	return []libcap.Value{
		libcap.SYS_PTRACE, libcap.DAC_READ_SEARCH, libcap.DAC_OVERRIDE, libcap.SYS_ADMIN,
		libcap.BPF, libcap.PERFMON, libcap.SYS_RESOURCE,
	}
}

// GiveUp gives up every capability that is not useful, and returns the names of those that
// are left. No program that this process would execute has more (no_new_privs, prctl(2)).
// Both cannot be undone.
//
// A thread of Linux has capabilities of its own. The library changes those of all threads.
func GiveUp() (left []string, err error) {
	if _, err := libcap.Prctlw(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("setting no_new_privs: %w", err)
	}
	had, kept := libcap.GetProc(), libcap.NewSet()
	for _, value := range useful() {
		permitted, err := had.GetFlag(libcap.Permitted, value)
		if err != nil {
			return nil, fmt.Errorf("reading capabilities: %w", err)
		}
		if !permitted {
			continue
		}
		left = append(left, Name(value))
		for _, flag := range []libcap.Flag{libcap.Permitted, libcap.Effective} {
			if err := kept.SetFlag(flag, true, value); err != nil {
				return nil, fmt.Errorf("keeping %s: %w", Name(value), err)
			}
		}
	}
	// Ambient capabilities go with the inheritable ones, of which none is kept.
	if err := kept.SetProc(); err != nil {
		return nil, fmt.Errorf("giving up capabilities: %w", err)
	}
	return left, nil
}

// Missing returns the names of those capabilities that this thread may not use now.
func Missing(values ...libcap.Value) ([]string, error) {
	have := libcap.GetProc()
	var missing []string
	for _, value := range values {
		effective, err := have.GetFlag(libcap.Effective, value)
		if err != nil {
			return nil, fmt.Errorf("reading capabilities: %w", err)
		}
		if !effective {
			missing = append(missing, Name(value))
		}
	}
	return missing, nil
}

// Name returns a capability's name as people and configurations write it: CAP_SYS_PTRACE.
func Name(value libcap.Value) string { return strings.ToUpper(value.String()) }
