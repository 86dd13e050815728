// Package plugin is promscope's face towards Weave Scope: a unix socket that
// Scope's probe finds, and on it GET /report, which the probe asks once a second.
//
//   - [Listen] puts the socket where probes look for plugins, and takes it away
//     again.
//   - A [Report] holds what rules have said about nodes: for each metric of each
//     node a short window of samples. Publishing it encodes what has changed and
//     splices it into what has not.
//   - A [Server] answers polls with the published bytes and remembers who polls.
//
// The probe asks its plugins one after another, holding a lock, within 500 ms for
// everything. A poll is therefore answered from bytes that are ready: it waits for
// no lock, no scrape, no rule, and encodes nothing.
package plugin
