// Package web is promscope's debug HTTP server: its own metrics, health, readiness, the
// status pages and their API. It stands beside the plugin's unix socket. Polls,
// publications and rules do not wait for it. A page that reads the store lets the commits
// of scrapes in after each 256 series; explain evaluates a rule as the rule is evaluated.
//
// NewPages makes the status pages and their JSON API out of a Source, which tells
// of targets, rules and nodes in the values of package view. The pages are
// rendered on the server and need no script; the small one that they have
// refreshes them in place. Nothing that changes anything answers to GET.
//
// TLS and basic auth come from exporter-toolkit's web configuration file, as
// with every Prometheus exporter.
package web
