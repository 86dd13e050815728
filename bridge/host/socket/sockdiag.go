package socket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/bridge/host"
)

// Sizes of struct inet_diag_req_v2 and struct inet_diag_msg
// (include/uapi/linux/inet_diag.h).
const (
	diagRequestSize = 56
	diagMessageSize = 72
)

// diagTCP returns the TCP sockets of a network namespace that are in one of the
// states, by sock_diag (sock_diag(7)). For listeners the kernel looks through its table
// of listeners only, which is some fifty times faster than /proc/net/tcp. It leaves out
// connections that nobody holds any more. Our own namespace needs no rights; others are
// entered.
func diagTCP(m *host.Machine, ns uint64, pid int, states tcpStates) (sockets []tcpSocket, err error) {
	err = diag(m, ns, pid, func(fd int) error {
		for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
			request := diagRequest(family, states, unix.NLM_F_DUMP)
			if err := diagExchange(fd, request, tcpMessages(func(s tcpSocket) { sockets = append(sockets, s) })); err != nil {
				return err
			}
		}
		return nil
	})
	return sockets, err
}

// diagConnection returns the TCP socket that has these two ends in a network namespace;
// zero if there is none. It has no inode if no process has accepted it yet.
func diagConnection(m *host.Machine, ns uint64, pid int, local, remote netip.AddrPort) (found tcpSocket, err error) {
	err = diag(m, ns, pid, func(fd int) error {
		return diagExchange(fd, diagExact(local, remote), tcpMessages(func(s tcpSocket) {
			// Without such a connection the kernel tells of the listener.
			if s.local == local && s.remote == remote {
				found = s
			}
		}))
	})
	if errors.Is(err, unix.ENOENT) {
		err = nil
	}
	return found, err
}

// diag calls fn with a netlink socket in a network namespace.
func diag(m *host.Machine, ns uint64, pid int, fn func(fd int) error) error {
	var fd int
	open := func() (err error) {
		fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
		if err != nil {
			return fmt.Errorf("opening sock_diag: %w", err)
		}
		return nil
	}
	err := m.InNetNS(ns, pid, open)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := fn(fd); err != nil {
		return fmt.Errorf("asking sock_diag: %w", err)
	}
	return nil
}

// diagRequest returns a request for the TCP sockets of a family that are in one
// of the states.
func diagRequest(family byte, states tcpStates, flags uint16) []byte {
	b := make([]byte, unix.SizeofNlMsghdr+diagRequestSize)
	binary.NativeEndian.PutUint32(b[0:], uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], unix.SOCK_DIAG_BY_FAMILY)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|flags)
	binary.NativeEndian.PutUint32(b[8:], 1) // sequence number
	b[16], b[17] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(b[20:], uint32(states))
	return b
}

// diagExact returns a request for the one socket that has these two ends.
func diagExact(local, remote netip.AddrPort) []byte {
	family := byte(unix.AF_INET)
	if local.Addr().Is6() {
		family = unix.AF_INET6
	}
	b := diagRequest(family, anyTCPState, 0)
	id := b[24:] // struct inet_diag_sockid, in network byte order
	binary.BigEndian.PutUint16(id[0:], local.Port())
	binary.BigEndian.PutUint16(id[2:], remote.Port())
	copy(id[4:20], local.Addr().AsSlice())
	copy(id[20:36], remote.Addr().AsSlice())
	for i := 40; i < 48; i++ {
		id[i] = 0xff // INET_DIAG_NOCOOKIE
	}
	return b
}

// tcpMessages returns the function that calls fn for a message about a TCP socket.
func tcpMessages(fn func(tcpSocket)) func(payload []byte) error {
	return func(payload []byte) error {
		s, err := parseDiagMessage(payload)
		if err == nil {
			fn(s)
		}
		return err
	}
}

// diagExchange sends a request and calls fn for the message about each socket in the
// answer.
func diagExchange(fd int, request []byte, fn func(payload []byte) error) error {
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	dump := binary.NativeEndian.Uint16(request[6:])&unix.NLM_F_DUMP == unix.NLM_F_DUMP
	buf := make([]byte, 32<<10)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		done, err := diagMessages(buf[:n], fn)
		if err != nil || done || !dump {
			return err
		}
	}
}

// errDiagMessage is returned for an answer that is cut or malformed.
var errDiagMessage = errors.New("malformed netlink message")

// diagMessages calls fn for the messages about sockets in one datagram; done says that it
// ends the answer.
func diagMessages(b []byte, fn func(payload []byte) error) (done bool, err error) {
	for len(b) > 0 {
		if len(b) < unix.SizeofNlMsghdr {
			return false, errDiagMessage
		}
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.SizeofNlMsghdr || size > len(b) {
			return false, errDiagMessage
		}
		payload := b[unix.SizeofNlMsghdr:size]
		switch binary.NativeEndian.Uint16(b[4:]) {
		case unix.NLMSG_DONE:
			if len(payload) >= 4 { // a dump that fails on its way says so here
				if code := int32(binary.NativeEndian.Uint32(payload)); code < 0 {
					return true, unix.Errno(-code)
				}
			}
			return true, nil
		case unix.NLMSG_ERROR:
			if len(payload) < 4 {
				return false, errDiagMessage
			}
			return true, unix.Errno(-int32(binary.NativeEndian.Uint32(payload)))
		case unix.SOCK_DIAG_BY_FAMILY:
			if err := fn(payload); err != nil {
				return false, err
			}
		}
		b = b[min(len(b), (size+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1)):]
	}
	return false, nil
}

func parseDiagMessage(b []byte) (tcpSocket, error) {
	if len(b) < diagMessageSize {
		return tcpSocket{}, errDiagMessage
	}
	length := 4
	if b[0] == unix.AF_INET6 {
		length = 16
	}
	local, _ := netip.AddrFromSlice(b[8 : 8+length])
	remote, _ := netip.AddrFromSlice(b[24 : 24+length])
	return tcpSocket{
		local:  netip.AddrPortFrom(local.Unmap(), binary.BigEndian.Uint16(b[4:])),
		remote: netip.AddrPortFrom(remote.Unmap(), binary.BigEndian.Uint16(b[6:])),
		state:  1 << b[1],
		inode:  uint64(binary.NativeEndian.Uint32(b[68:])),
	}, nil
}
