// Package bridge is promscope itself: it builds the parts from a validated
// configuration, runs them as tasks, and loads the configuration anew.
//
// The data goes one way:
//
//	discovery → scrape → store → rules → report → unix socket
//
// Scrape loops commit samples to the store, which keeps only what some rule
// selects and says which rules that concerns. The schedule decides when these
// rules are evaluated; their points go into the report, which is encoded and
// published. A poll of Scope's probe is answered from the published bytes, and
// waits for none of this.
//
// What belongs to one configuration is a pipeline; what outlives it (the
// sockets, the machine, the host name) is the Bridge's. A reload builds a new
// pipeline and swaps it in, or keeps the old one.
package bridge
