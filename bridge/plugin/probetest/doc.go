// Package probetest polls a plugin as Weave Scope's probe does, and checks on each
// poll and from poll to poll what the probe, the app and the web UI rely on without
// saying so: much of what a plugin does wrong is skipped silently, and shows only
// as a metric that is missing or a node that is drawn twice.
//
// A [Client] polls a socket and checks the exchange: status, time, length, reuse of
// the connection. A [Checker] checks a report's bytes; a Client has one.
package probetest
