package host

import (
	"bufio"
	"io"
	"strings"

	"golang.org/x/sys/unix"
)

// utsName returns the host name that a process sees; "" if it may not be read. /proc
// does not tell the name of another UTS namespace: /proc/sys/kernel/hostname is always
// the reader's. So the namespace is entered. Without the right to do that, the name is
// that in the process's root file system.
func (m *Machine) utsName(pid int) string {
	inode, err := m.Namespace(pid, "uts")
	if err != nil {
		return ""
	}
	if own, err := m.Namespace(m.self.pid, "uts"); err == nil && own == inode {
		name, _ := m.hostname()
		return name
	}
	var uname unix.Utsname
	if err := m.enter(pid, utsNamespace, inode, func() error { return unix.Uname(&uname) }); err == nil {
		return unix.ByteSliceToString(uname.Nodename[:])
	}
	file, err := m.OpenInRoot(pid, "/etc/hostname", unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return ""
	}
	defer file.Close()
	return parseHostname(file)
}

// parseHostname parses the content of /etc/hostname (hostname(5)): lines that are empty or
// begin with "#" do not count.
func parseHostname(content io.Reader) string {
	lines := bufio.NewScanner(io.LimitReader(content, 1<<16))
	for lines.Scan() {
		if line := strings.TrimSpace(lines.Text()); line != "" && line[0] != '#' {
			return line
		}
	}
	return ""
}
