// Package tcp says what TCP does for each process: the connections that it makes and accepts,
// those that fail, resets, retransmissions, and bytes.
//
// The kernel counts for each socket what it sends, receives and retransmits. A program adds
// that up where a socket is closed, and an iterator reads it of those that are open. So what is
// sent and received costs nothing. bpf/tcp.bpf.c has how, and whose a socket is.
package tcp
