package plugin

import (
	"context"
	"net"

	"golang.org/x/sys/unix"
)

// Peer is the process at the other end of a connection, as the kernel recorded it
// when it connected (SO_PEERCRED, unix(7)). PID is 0 if the process is in a pid
// namespace that this process cannot see into, or the connection is no unix socket.
type Peer struct {
	PID      int
	UID, GID uint32
}

// peerOf asks the kernel who connected.
func peerOf(conn net.Conn) Peer {
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return Peer{}
	}
	raw, err := unixConn.SyscallConn()
	if err != nil {
		return Peer{}
	}
	var credentials *unix.Ucred
	if err := raw.Control(func(fd uintptr) {
		credentials, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil || credentials == nil {
		return Peer{}
	}
	return Peer{PID: int(credentials.Pid), UID: credentials.Uid, GID: credentials.Gid}
}

// peerKey is the context key of a connection's Peer.
type peerKey struct{}

// connContext is an http.Server.ConnContext: the kernel is asked once a
// connection, not once a request.
func connContext(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, peerOf(conn))
}

// peerFrom returns the peer of the connection that a request came over.
func peerFrom(ctx context.Context) Peer {
	peer, _ := ctx.Value(peerKey{}).(Peer)
	return peer
}
