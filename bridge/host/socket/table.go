package socket

import "github.com/promscope/promscope/bridge/host"

// Table knows the sockets of a machine. It is safe for concurrent use.
type Table struct {
	machine   *host.Machine
	listeners *listenerTable
	addresses *addressTable
	upstreams *upstreamTable
}

// New returns the table of the machine's sockets.
func New(m *host.Machine) *Table {
	listeners := newListenerTable(m)
	return &Table{
		machine:   m,
		listeners: listeners,
		addresses: &addressTable{machine: m, listeners: listeners},
		upstreams: &upstreamTable{known: map[host.ProcessID]*exporter{}},
	}
}
