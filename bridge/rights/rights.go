// Package rights knows which capabilities a configuration has a use for, and gives up all
// others.
package rights

import (
	"fmt"
	"slices"

	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
	libcap "kernel.org/pub/linux/libs/security/libcap/cap"

	"github.com/promscope/promscope/bridge/config"
)

// GiveUp gives up every capability that the configuration has no use for. No program that
// this process would execute has more (no_new_privs, prctl(2)). Both cannot be undone. It
// returns the names of the capabilities that are left, and of those that a later
// configuration may miss: what CAP_SYS_ADMIN contains it does not miss.
//
// A thread of Linux has capabilities of its own. The library changes those of all threads.
func GiveUp(cfg *config.Config) (left, gone []string, err error) {
	if _, err := libcap.Prctlw(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return nil, nil, fmt.Errorf("setting no_new_privs: %w", err)
	}
	// Linux up to 5.10 counts eBPF maps by this limit, and raising it takes CAP_SYS_RESOURCE.
	// It need not be raised twice. Where it may not be raised, a collector that it keeps from
	// starting says so.
	_ = rlimit.RemoveMemlock()

	had, kept := libcap.GetProc(), libcap.NewSet()
	has := func(value libcap.Value) bool {
		permitted, err := had.GetFlag(libcap.Permitted, value)
		return err == nil && permitted // an error is that of a capability that this kernel does not know
	}
	useful := Useful(cfg, has)
	for _, value := range useful {
		if !has(value) {
			continue
		}
		left = append(left, Name(value))
		for _, flag := range []libcap.Flag{libcap.Permitted, libcap.Effective} {
			if err := kept.SetFlag(flag, true, value); err != nil {
				return nil, nil, fmt.Errorf("keeping %s: %w", Name(value), err)
			}
		}
	}
	// Ambient capabilities go with the inheritable ones, of which none is kept.
	if err := kept.SetProc(); err != nil {
		return nil, nil, fmt.Errorf("giving up capabilities: %w", err)
	}
	for _, value := range optional() {
		contained := slices.Contains(containedInAdmin(), value) && has(libcap.SYS_ADMIN)
		if has(value) && !contained && !slices.Contains(useful, value) {
			gone = append(gone, Name(value))
		}
	}
	return left, gone, nil
}

// Missed returns those of the capabilities that were given up, as GiveUp names them, that
// a later configuration has a use for.
func Missed(cfg *config.Config, gone []string) []string {
	var missed []string
	// Nothing was given up that stood for another one.
	for _, value := range Useful(cfg, func(libcap.Value) bool { return true }) {
		if slices.Contains(gone, Name(value)) {
			missed = append(missed, Name(value))
		}
	}
	return missed
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
