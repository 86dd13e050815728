// Package socket knows the listening sockets of a machine: in which network
// namespace they are, which process owns each, how to dial them, and which
// process is at the other end of a connection.
//
// Everything about processes comes from package host. The kernel is asked directly
// (sock_diag, setns) where the rights allow it; elsewhere the tables in /proc/PID/net
// have to do.
package socket
