package socket

import (
	"net/netip"

	"github.com/promscope/promscope/bridge/host"
)

// tcpSocket is a row of a network namespace's table of TCP sockets.
type tcpSocket struct {
	local, remote netip.AddrPort // an IPv4 address is never IPv6-mapped
	state         tcpStates      // one of them
	inode         uint64         // 0 if no process has it, or none has accepted it yet
}

// tcpStates is a set of states, 1<<n for the n of include/net/tcp_states.h.
type tcpStates uint32

const (
	tcpEstablished tcpStates = 1 << 1  // TCP_ESTABLISHED
	tcpListening   tcpStates = 1 << 10 // TCP_LISTEN
	anyTCPState              = ^tcpStates(0)
)

// tcpSockets returns the TCP sockets of a network namespace, of which pid is a
// process, that are in one of the states.
func tcpSockets(m *host.Machine, ns uint64, pid int, states tcpStates) ([]tcpSocket, error) {
	if sockets, err := diagTCP(m, ns, pid, states); err == nil {
		return sockets, nil
	}
	return procTCP(m, pid, states)
}
