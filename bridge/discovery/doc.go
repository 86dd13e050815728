// Package discovery finds out where targets are: from static lists, from files,
// over HTTP, and by looking at the listening sockets of this machine.
//
// The first three are Prometheus's own mechanisms, so that configurations mean
// here what they mean there. The fourth, listener_sd_configs, is promscope's.
package discovery
