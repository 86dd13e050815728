package socket

import (
	"errors"
	"net"
	"net/netip"
	"os"

	"github.com/prometheus/procfs"

	"github.com/promscope/promscope/bridge/host"
)

// procTCP returns the TCP sockets of a process's network namespace that are in one
// of the states, from /proc/PID/net/tcp and tcp6. For each file the kernel walks its
// table of all connections. That takes some milliseconds even when it is empty, so
// diagTCP is tried first.
func procTCP(m *host.Machine, pid int, states tcpStates) ([]tcpSocket, error) {
	fs, err := procfs.NewFS(m.Path(pid, ""))
	if err != nil {
		return nil, err
	}
	tcp, err := fs.NetTCP() //nolint:staticcheck // netlink is asked before; this is for where it cannot be
	if err != nil {
		return nil, err
	}
	tcp6, err := fs.NetTCP6()                          //nolint:staticcheck // likewise
	if err != nil && !errors.Is(err, os.ErrNotExist) { // a kernel without IPv6 has none
		return nil, err
	}
	var sockets []tcpSocket
	for _, table := range []procfs.NetTCP{tcp, tcp6} {
		for _, row := range table {
			if s := tcpStates(1) << row.St; s&states != 0 {
				sockets = append(sockets, tcpSocket{
					local:  addrPort(row.LocalAddr, row.LocalPort),
					remote: addrPort(row.RemAddr, row.RemPort),
					state:  s,
					inode:  row.Inode,
				})
			}
		}
	}
	return sockets, nil
}

// procConnection returns the inode of the TCP socket of a process's network
// namespace that has these two ends; 0 if there is none, or no process has
// accepted it yet.
func procConnection(m *host.Machine, pid int, local, remote netip.AddrPort) (inode uint64, err error) {
	sockets, err := procTCP(m, pid, anyTCPState)
	for _, s := range sockets {
		if s.local == local && s.remote == remote {
			inode = s.inode
		}
	}
	return inode, err
}

func addrPort(ip net.IP, port uint64) netip.AddrPort {
	addr, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(addr.Unmap(), uint16(port))
}
