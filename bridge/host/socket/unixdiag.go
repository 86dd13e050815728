package socket

import (
	"bytes"
	"encoding/binary"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/bridge/host"
)

// Sizes of struct unix_diag_req and struct unix_diag_msg, and what of
// include/uapi/linux/unix_diag.h is used.
const (
	unixRequestSize = 24
	unixMessageSize = 16

	unixShowName = 1 << 0 // UDIAG_SHOW_NAME
	unixShowPeer = 1 << 2 // UDIAG_SHOW_PEER
	unixName     = 0      // UNIX_DIAG_NAME
	unixPeer     = 2      // UNIX_DIAG_PEER
)

// unixSocket is a unix socket as sock_diag tells of it.
type unixSocket struct {
	kind  byte // SOCK_STREAM or another one
	inode uint64
	path  string // that it is bound to; an accepted socket has that of its listener
	peer  uint64 // inode of the other end; 0 if it is not connected
}

// diagUnix returns the unix socket of a network namespace that has the inode.
func diagUnix(m *host.Machine, ns uint64, pid int, inode uint64) (s unixSocket, err error) {
	request := unixRequest(inode, anyTCPState, unixShowName|unixShowPeer, 0)
	err = diag(m, ns, pid, func(fd int) error {
		return diagExchange(fd, request, func(payload []byte) (err error) {
			s, err = parseUnixMessage(payload)
			return err
		})
	})
	return s, err
}

// diagUnixListeners returns the listening unix stream sockets of a network namespace that
// are bound to a file.
func diagUnixListeners(m *host.Machine, ns uint64, pid int) (sockets []socket, err error) {
	request := unixRequest(0, tcpListening, unixShowName, unix.NLM_F_DUMP)
	err = diag(m, ns, pid, func(fd int) error {
		return diagExchange(fd, request, func(payload []byte) error {
			s, err := parseUnixMessage(payload)
			if err == nil && s.kind == unix.SOCK_STREAM && strings.HasPrefix(s.path, "/") {
				sockets = append(sockets, socket{path: s.path, inode: s.inode})
			}
			return err
		})
	})
	return sockets, err
}

// unixRequest returns a request for the unix sockets that are in one of the states, which
// are those of TCP, or for that with the inode.
func unixRequest(inode uint64, states tcpStates, show uint32, flags uint16) []byte {
	b := make([]byte, unix.SizeofNlMsghdr+unixRequestSize)
	binary.NativeEndian.PutUint32(b[0:], uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], unix.SOCK_DIAG_BY_FAMILY)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|flags)
	binary.NativeEndian.PutUint32(b[8:], 1) // sequence number
	b[16] = unix.AF_UNIX
	binary.NativeEndian.PutUint32(b[20:], uint32(states))
	binary.NativeEndian.PutUint32(b[24:], uint32(inode))
	binary.NativeEndian.PutUint32(b[28:], show)
	for i := 32; i < 40; i++ {
		b[i] = 0xff // UNIX_DIAG_NOCOOKIE
	}
	return b
}

// diagUnixPath returns the path that a unix socket of a network namespace is bound to.
func diagUnixPath(m *host.Machine, ns uint64, pid int, inode uint64) (string, error) {
	s, err := diagUnix(m, ns, pid, inode)
	return s.path, err
}

// parseUnixMessage parses a struct unix_diag_msg and the attributes behind it.
func parseUnixMessage(b []byte) (s unixSocket, err error) {
	if len(b) < unixMessageSize {
		return s, errDiagMessage
	}
	s.kind, s.inode = b[1], uint64(binary.NativeEndian.Uint32(b[4:]))
	for b = b[unixMessageSize:]; len(b) >= unix.SizeofNlAttr; {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofNlAttr || size > len(b) {
			return s, errDiagMessage
		}
		value := b[unix.SizeofNlAttr:size]
		switch binary.NativeEndian.Uint16(b[2:]) {
		case unixName:
			s.path = string(bytes.TrimRight(value, "\x00"))
			if strings.HasPrefix(s.path, "\x00") {
				s.path = "@" + s.path[1:] // an abstract one, as /proc/net/unix writes it
			}
		case unixPeer:
			if len(value) < 4 {
				return s, errDiagMessage
			}
			s.peer = uint64(binary.NativeEndian.Uint32(value))
		}
		b = b[min(len(b), (size+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1)):]
	}
	return s, nil
}
