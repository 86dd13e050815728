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
	Held                uint64 // of the sockets, those that somebody has
	Orphaned            uint64 // 1 has adopt_open look who that is
	Counts              counts
}

// listener is a port on which a process listens.
type listener struct {
	Owner owner
	Port  uint64
}

// dropped is what the open sockets of a listener have dropped.
type dropped struct{ Generation, Drops uint64 }

// living is a process that lives, with credentials of its own or of one of its threads.
type living struct {
	Owner owner
	Cred  uint64 // their address
	Comm  [16]byte
}

// readLiving returns the processes that live, and those that have credentials, by their address.
func readLiving(p *load.Programs) (lives map[owner]*living, creds map[uint64]*living, err error) {
	var written bytes.Buffer
	if err := p.Iterate(programProcesses, &written); err != nil {
		return nil, nil, err
	}
	const size = int(unsafe.Sizeof(living{}))
	order := binary.NativeEndian
	all := make([]living, 0, written.Len()/size)
	lives, creds = make(map[owner]*living, cap(all)), make(map[uint64]*living, cap(all))
	for b := written.Bytes(); len(b) >= size; b = b[size:] {
		// By hand: binary.Read takes as long as the kernel does.
		all = append(all, living{Owner: owner(order.Uint64(b)), Cred: order.Uint64(b[8:]), Comm: [16]byte(b[16:32])})
		l := &all[len(all)-1]
		lives[l.Owner], creds[l.Cred] = l, l
	}
	return lives, creds, nil
}

// credentials keeps the map by which the programs know who accepted a connection.
type credentials struct {
	m       *ebpf.Map
	of      map[uint64]owner // by their address
	leftOut int              // for want of room
}

// update takes in the credentials that there are. What a process accepts for whose there is no
// room is the listener's while it is open.
func (c *credentials) update(all map[uint64]*living) error {
	// First those that are gone: another process may have credentials where theirs were.
	var gone []uint64
	for cred, o := range c.of {
		if l := all[cred]; l == nil || l.Owner != o {
			gone = append(gone, cred)
			delete(c.of, cred)
		}
	}
	if err := load.Drop(c.m, gone); err != nil {
		return err
	}
	c.leftOut = 0
	for cred, l := range all {
		if _, known := c.of[cred]; known {
			continue
		}
		switch err := c.m.Put(cred, l); {
		case errors.Is(err, unix.E2BIG):
			c.leftOut++
		case err != nil:
			return fmt.Errorf("noting the credentials of process %d: %w", l.Owner.tgid(), err)
		default:
			c.of[cred] = l.Owner
		}
	}
	return nil
}
