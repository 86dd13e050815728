package load

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Capabilities that BPF programs need: to load them and their maps, and to trace with them.
func Capabilities() []string { return []string{"CAP_BPF", "CAP_PERFMON"} }

// MissingCapabilities returns which of Capabilities this thread does not have.
// CAP_SYS_ADMIN stands for all of them.
func MissingCapabilities() ([]string, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return nil, fmt.Errorf("reading capabilities: %w", err)
	}
	return missingFrom(uint64(data[0].Effective) | uint64(data[1].Effective)<<32), nil
}

func missingFrom(effective uint64) []string {
	has := func(bit uint) bool { return effective&(1<<bit) != 0 }
	if has(unix.CAP_SYS_ADMIN) {
		return nil
	}
	var missing []string
	for i, bit := range []uint{unix.CAP_BPF, unix.CAP_PERFMON} {
		if !has(bit) {
			missing = append(missing, Capabilities()[i])
		}
	}
	return missing
}
