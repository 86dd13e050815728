package host

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"

	"github.com/prometheus/procfs"
)

// tcpListen is TCP_LISTEN of include/net/tcp_states.h.
const tcpListen = 10

// procListeners returns the listening TCP sockets of a process's network
// namespace from /proc/PID/net/tcp and tcp6. For each the kernel walks its table
// of all connections, some milliseconds even when it is empty, which is why
// diagListeners comes first.
func (m *Machine) procListeners(pid int) ([]socket, error) {
	var sockets []socket
	err := m.eachTCP(pid, func(local, _ netip.AddrPort, state, inode uint64) {
		if state == tcpListen {
			sockets = append(sockets, socket{addr: local, inode: inode})
		}
	})
	return sockets, err
}

// procConnection returns the inode of the TCP socket of a process's network
// namespace that has these two ends; 0 if there is none, or no process has
// accepted it yet.
func (m *Machine) procConnection(pid int, local, remote netip.AddrPort) (inode uint64, err error) {
	err = m.eachTCP(pid, func(l, r netip.AddrPort, _, i uint64) {
		if l == local && r == remote {
			inode = i
		}
	})
	return inode, err
}

// eachTCP calls fn for the rows of /proc/PID/net/tcp and tcp6.
func (m *Machine) eachTCP(pid int, fn func(local, remote netip.AddrPort, state, inode uint64)) error {
	fs, err := procfs.NewFS(m.path(strconv.Itoa(pid)))
	if err != nil {
		return processError(pid, err)
	}
	tcp, err := fs.NetTCP() //nolint:staticcheck // netlink is asked before; this is for where it cannot be
	if err != nil {
		return processError(pid, err)
	}
	tcp6, err := fs.NetTCP6()                          //nolint:staticcheck // likewise
	if err != nil && !errors.Is(err, os.ErrNotExist) { // a kernel without IPv6 has none
		return processError(pid, err)
	}
	for _, table := range []procfs.NetTCP{tcp, tcp6} {
		for _, row := range table {
			fn(addrPort(row.LocalAddr, row.LocalPort), addrPort(row.RemAddr, row.RemPort), row.St, row.Inode)
		}
	}
	return nil
}

func addrPort(ip net.IP, port uint64) netip.AddrPort {
	addr, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(addr.Unmap(), uint16(port))
}
