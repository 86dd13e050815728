package host

import "net/netip"

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
func (m *Machine) tcpSockets(ns uint64, pid int, states tcpStates) ([]tcpSocket, error) {
	if sockets, err := m.diagTCP(ns, pid, states); err == nil {
		return sockets, nil
	}
	return m.procTCP(pid, states)
}
