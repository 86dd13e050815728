// Package http counts the HTTP/1.x requests that each process of the machine serves, as the
// kernel sees them: nothing is asked of the application.
//
// BPF programs look at the first bytes of what TCP sockets read and write. A state machine per
// connection pairs a request with the status line that answers it. A hash map has the counters of each
// process; a gather reads it in batches. No event is copied per request.
//
// Three sets of hooks serve, see hookSets. They share the state machine (bpf/connection.h).
//
// What is counted, and where its edges are, is in docs/collectors-http.md. In short: a request
// line begins a request, its framing tells where it ends (bpf/scan.h), and a status line
// answers the one that has waited the longest. Responses that no request waits for, and
// requests that promscope itself makes, are counted apart.
package http
