package host

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// errUnseenPeer is returned for a peer in a pid namespace that is neither ours
// nor below it, such as another container's.
var errUnseenPeer = errors.New("peer is in a pid namespace that cannot be seen from here")

// PeerPID returns the process at the other end of a unix socket, as the
// machine's procfs has it: of an accepted connection the one that connected, of
// a dialed one the one that listened.
func (m *Machine) PeerPID(conn net.Conn) (int, error) {
	pid, err := peerPID(conn)
	if err != nil {
		return 0, fmt.Errorf("reading peer credentials: %w", err)
	}
	if !m.self.native {
		var ok bool
		if pid, ok = m.pids.lookup(m.self.pidns, pid); !ok {
			return 0, fmt.Errorf("reading peer credentials: %w", errUnseenPeer)
		}
	}
	return pid, nil
}

func peerPID(conn net.Conn) (int, error) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return 0, fmt.Errorf("%T has no file descriptor", conn)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var sockErr error
	if err := raw.Control(func(fd uintptr) {
		cred, sockErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if sockErr != nil {
		return 0, sockErr
	}
	if cred.Pid <= 0 {
		return 0, errUnseenPeer
	}
	return int(cred.Pid), nil
}
