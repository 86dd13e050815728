package host

import (
	"bytes"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// tick is the unit of times in /proc/PID/stat. USER_HZ is 100 on all platforms
// that Go runs on (see procfs).
const tick = 10 * time.Millisecond

// uptime returns the time since boot, suspended time included, to 10 ms. It is
// the clock of the start times in /proc/PID/stat; the boot time in /proc/stat,
// in whole seconds, would be too coarse to tell a process from its successor.
//
// The kernel is asked for it where that is possible: in containers of LXC the file
// is lxcfs's and says how long the container has been up. The clock has the same
// offset as the start times in a time namespace (time_namespaces(7)).
func (m *Machine) uptime() (time.Duration, error) {
	if m.self.kernel {
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
			return 0, fmt.Errorf("reading uptime: %w", err)
		}
		return time.Duration(now.Nano()), nil
	}
	content, err := os.ReadFile(m.path("uptime"))
	if err != nil {
		return 0, fmt.Errorf("reading uptime: %w", err)
	}
	up, err := parseUptime(content)
	if err != nil {
		return 0, fmt.Errorf("reading uptime: %w", err)
	}
	return up, nil
}

// parseUptime parses the content of /proc/uptime (proc_uptime(5)): "350735.47 234388.90".
func parseUptime(content []byte) (time.Duration, error) {
	first, _, _ := bytes.Cut(content, []byte(" "))
	return time.ParseDuration(string(bytes.TrimSpace(first)) + "s")
}

// startTime converts a start time in ticks since boot to wall time. It is at
// most two ticks early, never late.
func (m *Machine) startTime(ticks uint64) (time.Time, error) {
	now := m.now()
	uptime, err := m.uptime()
	if err != nil {
		return time.Time{}, err
	}
	return now.Add(time.Duration(ticks)*tick - uptime - tick), nil
}
