package tcp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/promscope/promscope/ebpf/load"
)

// The layout of what the BPF programs write: bpf/tcp.bpf.c.

// What is counted of a process.
const (
	connectionsIn = iota
	connectionsOut
	failedRefused
	failedTimeout
	failedUnreachable
	failedAbandoned
	failedOther
	resetsReceived
	resetsSent
	retransmits
	listenDrops
	bytesReceived
	bytesSent
	roundTrips
	roundTripMicroseconds
	counters
)

type counts [counters]uint64

func (c *counts) add(other *counts) {
	for i, n := range other {
		c[i] += n
	}
}

// owner names a process: its tgid and when it began.
type owner uint64

// nobody is the owner of what has none.
const nobody owner = 0

func (o owner) tgid() uint64 { return uint64(o) & (1<<22 - 1) }

// counted is what the programs have counted of a process.
type counted struct {
	Counts counts
	Comm   [16]byte
}

// sum is what the open sockets of a process have counted.
type sum struct {
	Generation, Sockets uint64
	Counts              counts
}

// listener is a port on which a process listens.
type listener struct {
	Owner owner
	Port  uint64
}

// dropped is what the open sockets of a listener have dropped.
type dropped struct{ Generation, Drops uint64 }

// living is a process that lives.
type living struct {
	Owner owner
	Cred  uint64 // the address of its credentials
	Comm  [16]byte
}

// readLiving returns the processes that live.
func readLiving(p *load.Programs) (map[owner]*living, error) {
	var written bytes.Buffer
	if err := p.Iterate(programProcesses, &written); err != nil {
		return nil, err
	}
	const size = int(unsafe.Sizeof(living{}))
	order := binary.NativeEndian
	all := make([]living, 0, written.Len()/size)
	lives := make(map[owner]*living, cap(all))
	for b := written.Bytes(); len(b) >= size; b = b[size:] {
		// By hand: binary.Read takes as long as the kernel does.
		l := living{Owner: owner(order.Uint64(b)), Cred: order.Uint64(b[8:]), Comm: [16]byte(b[16:32])}
		all = append(all, l)
		lives[l.Owner] = &all[len(all)-1]
	}
	return lives, nil
}

// credentials keeps the map by which the programs know who accepted a connection.
type credentials struct {
	m  *ebpf.Map
	of map[owner]uint64
}

// update takes in the processes that live. One that there is no room for owns what it accepts
// only once it closes that.
func (c *credentials) update(all map[owner]*living) error {
	// First those that are gone: another process may have credentials where theirs were.
	var gone []uint64
	for o, cred := range c.of {
		if l := all[o]; l == nil || l.Cred != cred {
			gone = append(gone, cred)
			delete(c.of, o)
		}
	}
	if err := load.Drop(c.m, gone); err != nil {
		return err
	}
	for o, l := range all {
		if _, known := c.of[o]; known {
			continue
		}
		switch err := c.m.Put(l.Cred, l); {
		case errors.Is(err, unix.E2BIG):
		case err != nil:
			return fmt.Errorf("noting the credentials of process %d: %w", o.tgid(), err)
		default:
			c.of[o] = l.Cred
		}
	}
	return nil
}
