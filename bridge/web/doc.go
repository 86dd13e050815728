// Package web is promscope's debug HTTP server: its own metrics, health and
// readiness. It stands beside the plugin's unix socket, which only Scope's
// probe talks to, and shares nothing with it: whatever happens here never
// delays a report.
//
// NewPages makes the status pages and their JSON API out of a Source, which tells
// of targets, rules and nodes in view models of this package. The pages are
// rendered on the server and need no script; the small one that they have
// refreshes them in place. Nothing that changes anything answers to GET.
//
// TLS and basic auth come from exporter-toolkit's web configuration file, as
// with every Prometheus exporter.
package web
