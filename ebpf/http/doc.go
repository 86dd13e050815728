// Package http counts the HTTP/1.x requests that each process of the machine serves, as the
// kernel sees them: nothing is asked of the application.
//
// BPF programs look at the first bytes of what TCP sockets read and write. A state machine per
// connection pairs a request with the status line that answers it. A hash map has the counters of each
// process; a gather reads it in batches. No event is copied per request.
//
// Three sets of hooks serve, see hookSets. They share the state machine (bpf/connection.h).
//
// What is counted, and where its edges are:
//   - A request counts when it is answered. What looks like a request of HTTP, but is answered by
//     another protocol, or not at all, is none.
//   - Interim responses (1xx, but 101) do not count; after 101 or a CONNECT that succeeds, the
//     connection is left alone.
//   - A response beyond the requests seen is taken as the answer to a pipelined request, its
//     latency counted from the batch's first byte. So a body that a server writes on its own,
//     and that begins with a status line, counts as one more.
//   - Not seen: TLS, HTTP/2 and later, unix sockets, MPTCP, and status lines that go out by splice.
package http
